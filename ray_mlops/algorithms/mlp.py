"""A multi-layer perceptron: torch trains it, on the CPU or a GPU, on one worker or many; numpy alone answers."""

import math
import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from ray_mlops.algorithms.debug_rules import Debugger, DebugRules
from ray_mlops.algorithms.standard import Standard, summed
from ray_mlops.algorithms.worker import Watch, sigmoid
from ray_mlops.contract import Backend, Choice, Data, Frozen, Space, Uniform, Worker

if TYPE_CHECKING:
    from torch import Tensor

_WARM_UP = 0.1
_LOOK = 10  # steps between two looks at loss and gradient, for which a GPU is waited for
_SAMPLE = 1024  # validation rows in which a unit has to answer once
_OPTIMIZER = "optimizer.safetensors"
_BEST = "best"


class MLP(Frozen):
    """Fully connected ReLU layers on standardised features; AdamW, warm-up and cosine decay.

    `batch_size` counts the rows of all workers together, so their number does not change what a step learns.
    `patience` stops after that many epochs without a better validation AP and keeps the best epoch; `debug` says when a
    fit is hopeless.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = Field(default=(128, 64), min_length=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    batch_size: int = Field(default=256, ge=1)
    epochs: int = Field(default=20, ge=1)
    patience: int | None = Field(default=None, ge=1)
    debug: DebugRules = DebugRules()

    backend: ClassVar[Backend] = "torch"

    def space(self) -> Space:
        """What a search may vary; the epochs are what it spends."""
        return {
            "hidden": Choice(values=((64,), (128, 64), (256, 128), (256, 128, 64))),
            "dropout": Uniform(low=0.0, high=0.4, live=True),
            "learning_rate": Uniform(low=5e-4, high=1e-2, log=True, live=True),
            "weight_decay": Uniform(low=1e-5, high=1e-1, log=True, live=True),
        }

    def fit(self, data: Data, worker: Worker) -> "MLPModel":
        """Train for `epochs`, going on from `worker.resume` when it is given.

        Raises `TrainingError` with the reason when a debug rule finds the fit hopeless.
        """
        judged, truth = data.validation.arrays()
        watch = Watch(worker, truth, self.epochs, patience=self.patience)
        fit = _Fit(self, data, worker)
        best = MLPModel.read(os.path.join(worker.resume, _BEST)) if worker.resume else fit.model()
        while not watch.stopped:
            for epoch in range(watch.done, watch.due):
                fit.epoch(epoch)
            model = fit.model()
            scores = model.predict(judged)
            fit.judge(log_loss(truth, scores), model.silent(judged[:_SAMPLE]), done=watch.due / self.epochs)
            best = model if watch.judge(scores) else best
            watch.report(partial(fit.save, best=best))
        return best if self.patience else fit.model()

    def load(self, path: str) -> "MLPModel":
        """Read what the model saved."""
        return MLPModel.read(path)


class _Fit:
    """The state of a fit: network, optimizer and the rows of this worker, all on its device."""

    def __init__(self, config: MLP, data: Data, worker: Worker) -> None:
        import torch

        torch.set_num_threads(worker.threads)
        features, labels = data.train.arrays()
        self.config, self.worker = config, worker
        self.debugger = Debugger.begin(config.debug, worker.resume)
        self._losses: list[Tensor] = []  # of the steps of an epoch, each the mean of all workers
        self.standard = Standard.fit(features, worker)
        self.features = torch.as_tensor(self.standard.apply(features), dtype=torch.float32, device=worker.device)
        self.labels = torch.as_tensor(labels, dtype=torch.float32, device=worker.device)
        rows = int(summed(np.array([len(labels)]), worker)[0])
        self.steps = math.ceil(rows / config.batch_size)
        torch.manual_seed(worker.seed)  # the same first weights on every worker
        self.network = _network((features.shape[1], *config.hidden), config.dropout).to(worker.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        if worker.resume:
            self._resume(worker.resume)
        else:
            self._debug_inputs()

    def epoch(self, number: int) -> None:
        """Go through the rows of this worker once, for the `number`th time, counted from 0.

        Every worker divides its own rows into the same number of steps, so none waits for a step another has not got.
        """
        import torch

        self._losses = []
        # Order and dropout depend on (seed, epoch, rank) only: a resumed fit repeats what the whole fit did.
        seeds = np.random.SeedSequence((self.worker.seed, number, self.worker.rank))
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        order = torch.randperm(len(self.labels)).to(self.worker.device)
        self.network.train()
        for step, chosen in enumerate(order.tensor_split(self.steps)):
            done = (number * self.steps + step) / (self.config.epochs * self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * schedule(done)
            self.optimizer.zero_grad(set_to_none=False)
            margin = self.network(self.features[chosen]).squeeze(1)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(margin, self.labels[chosen], reduction="sum")
            loss.backward()
            self._average(len(chosen), loss.detach())
            if step % _LOOK == 0:
                self._look()
            self.optimizer.step()

    def judge(self, validation: float, silent: list[float], *, done: float) -> None:
        """Judge the last epoch by its mean training loss, the validation loss and the share of silent units per layer."""
        import torch

        self.debugger.judged(torch.stack(self._losses).mean().item(), validation, done=done)
        self.debugger.units(silent)

    def _debug_inputs(self) -> None:
        from ray_mlops.algorithms.together import most

        low, high = map(float, self.features.aminmax()) if self.features.numel() else (math.inf, -math.inf)
        self.debugger.inputs(-most(-low, self.worker), most(high, self.worker))

    def _look(self) -> None:
        """Judge the last step, which no worker has taken yet."""
        from torch.nn.utils import get_total_norm

        weights = [parameter.detach() for parameter in self.network.parameters()]
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        gradient, length = (get_total_norm(tensors).item() for tensors in (gradients, weights))
        self.debugger.step(self._losses[-1].item(), gradient=gradient, weights=length)

    def _average(self, rows: int, loss: "Tensor") -> None:
        """Turn summed gradients and loss into the mean over the rows of all workers."""
        import torch

        from ray_mlops.algorithms.together import added

        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        flat = [gradient.flatten() for gradient in gradients]
        total = added(torch.cat([*flat, loss.view(1), loss.new_full((1,), rows)]), self.worker)
        *means, loss = (total[:-1] / total[-1]).split([*map(len, flat), 1])
        self._losses.append(loss)
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def model(self) -> "MLPModel":
        """The network as it is now, in numpy."""
        arrays = [parameter.detach().cpu().numpy().copy() for parameter in self.network.parameters()]
        return MLPModel(self.standard, arrays[0::2], arrays[1::2])

    def save(self, folder: str, best: "MLPModel") -> None:
        """Write all that `_resume` needs, weights and optimizer, and the best model so far."""
        from safetensors.torch import save_file

        state = self.optimizer.state_dict()["state"]
        tensors = {f"{index}.{name}": value for index, slot in state.items() for name, value in slot.items()}
        save_file(tensors, os.path.join(folder, _OPTIMIZER))
        self.debugger.save(folder)
        self.model().save(folder)
        best.save(os.path.join(folder, _BEST))

    def _resume(self, folder: str) -> None:
        import torch
        from safetensors.torch import load_file

        model = MLPModel.read(folder)
        arrays = [array for layer in zip(model.weights, model.biases, strict=True) for array in layer]
        with torch.no_grad():
            for parameter, array in zip(self.network.parameters(), arrays, strict=True):
                parameter.copy_(torch.as_tensor(array))
        state: dict[int, dict] = {}
        for key, value in load_file(os.path.join(folder, _OPTIMIZER)).items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def _network(widths: tuple[int, ...], dropout: float):
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean log loss of scores `(rows,)` in [0, 1] for labels 0/1; NaN where a score is."""
    return float(-np.log(np.clip(np.where(labels > 0, scores, 1 - scores), 1e-12, 1)).mean())


def schedule(done: float) -> float:
    """The share of the learning rate after the share `done` of all steps: linear warm-up, then a half cosine to 0."""
    if done < _WARM_UP:
        return max(done / _WARM_UP, 0.01)
    return (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2


class MLPModel:
    """A fitted network with its standardisation inside.

    `weights` are `(outputs, inputs)` and `biases` `(outputs,)` per layer, float32. Plain numpy answers a single row in
    microseconds, and an endpoint need not load torch.
    """

    FILE = "model.safetensors"

    def __init__(self, standard: Standard, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
        self.standard, self.weights, self.biases = standard, weights, biases

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Scores `(rows,)` of features `(rows, features)`."""
        return sigmoid(self._layers(batch)[-1][:, 0])

    def silent(self, batch: np.ndarray) -> list[float]:
        """The share of units of each hidden layer that answer 0 to every row."""
        return [float((layer.max(axis=0) <= 0).mean()) for layer in self._layers(batch)[:-1]]

    def explain(self, batch: np.ndarray) -> np.ndarray:
        """DeepLIFT contributions (rescale rule) to the log-odds, `(rows, features)`, against the mean training row.

        They sum exactly to the difference between the log-odds of the row and those of the mean row.
        """
        inputs = self.standard.apply(batch)
        reference = self._layers(self.standard.mean[None])
        layers = self._layers(batch)
        multipliers = np.repeat(self.weights[-1], len(inputs), axis=0)
        for layer in reversed(range(len(self.weights) - 1)):
            change = layers[layer] - reference[layer]
            answer = np.maximum(layers[layer], 0) - np.maximum(reference[layer], 0)
            slope = np.divide(answer, change, out=(layers[layer] > 0).astype(change.dtype), where=np.abs(change) > 1e-6)
            multipliers = (multipliers * slope) @ self.weights[layer]
        return multipliers * inputs

    def _layers(self, batch: np.ndarray) -> list[np.ndarray]:
        """What each layer gives before its ReLU, `(rows, outputs)` each."""
        values, found = self.standard.apply(batch).astype(np.float32), []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found.append(values @ weight.T + bias)
            values = np.maximum(found[-1], 0)
        return found

    def save(self, path: str) -> None:
        """Write weights and standardisation into folder `path` as safetensors."""
        from safetensors.numpy import save_file

        os.makedirs(path, exist_ok=True)
        tensors = {"mean": self.standard.mean, "scale": self.standard.scale}
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors |= {f"weight.{layer}": weight, f"bias.{layer}": bias}
        save_file(tensors, str(Path(path) / self.FILE))

    @classmethod
    def read(cls, path: str) -> "MLPModel":
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(str(Path(path) / cls.FILE))
        layers = range(sum(name.startswith("weight.") for name in tensors))
        weights, biases = ([tensors[f"{name}.{layer}"] for layer in layers] for name in ("weight", "bias"))
        return cls(Standard(tensors["mean"], tensors["scale"]), weights, biases)
