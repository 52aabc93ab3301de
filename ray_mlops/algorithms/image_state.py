"""All that a fit of an image classifier changes: weights, optimizer, average, position. And its checkpoint."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ray_mlops.algorithms import networks
from ray_mlops.algorithms.devices import dtype_of
from ray_mlops.algorithms.image_model import ImageModel, Plan, write_tensors
from ray_mlops.algorithms.optimization import RunningAverage, optimizer_of
from ray_mlops.algorithms.own_module import OwnModule, is_own
from ray_mlops.algorithms.standard import summed
from ray_mlops.algorithms.together import joined
from ray_mlops.contract import Data, Worker
from ray_mlops.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ray_mlops.algorithms.image_classifier import ImageClassifier

_NETWORK, _OPTIMIZER, _AVERAGE, _BEST = (f"{name}.safetensors" for name in ("network", "optimizer", "average", "best"))
_PLACE = "place.json"
_MEASURED = 4096  # training rows of a worker from which mean and deviation are measured


class ImageState:
    """A network on its way, with everything that a checkpoint has to hold.

    `epoch` and the `share` of it that is done are the position: together with the seed they fix the learning rate, the
    order of the rows and every later draw. `losses` are the sum and the number of the epoch's training losses so far.
    """

    def __init__(self, network: nn.Module, plan: Plan, config: "ImageClassifier", worker: Worker) -> None:
        device = torch.device(worker.device)
        self.plan, self.dtype = plan, dtype_of(config.precision, device)
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network = network.to(device, memory_format=self._layout)  # pyright: ignore[reportCallIssue]
        self.epoch, self.share, self.losses = 0, 0.0, (0.0, 0.0)
        self._optimizer = optimizer_of(config.optimizer, self.network, weight_decay=config.weight_decay)
        self._average = RunningAverage(self.network, config.ema) if config.ema else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self._best: dict[str, Tensor] = {}
        self._worker, self._compile = worker, config.compile
        self._frozen: bool | None = None
        self.trained = self.network

    @classmethod
    def begin(cls, config: "ImageClassifier", data: Data, worker: Worker) -> "ImageState":
        """The state at the start of a fit, or that of the checkpoint which the worker goes on from."""
        plan = _plan(config, data, worker)
        torch.manual_seed(worker.seed)  # the same first weights on every worker
        state = cls(_network(config, plan), plan, config, worker)
        if worker.resume:
            state._resume(worker.resume)
        return state

    @property
    def kept(self) -> nn.Module:
        """The network that is judged and kept: the average where there is one."""
        return self._average.network if self._average else self.network

    def laid_out(self, images: Tensor) -> Tensor:
        """The pictures in the order of memory that the network wants."""
        return images.contiguous(memory_format=self._layout)

    def prepare(self, config: "ImageClassifier") -> None:
        """Make the network ready for an epoch of training: what is frozen in it neither learns nor counts."""
        frozen = self.epoch < config.freeze_epochs
        head = networks.head_of(self.network)
        if frozen != self._frozen:
            for name, parameter in self.network.named_parameters():
                parameter.requires_grad_(not frozen or name.startswith(f"{head}."))
            trained = joined(self.network, self._worker)
            self.trained = torch.compile(trained) if self._compile else trained
            self._frozen = frozen
        self.network.train()
        if frozen:
            self.network.eval()
            self.network.get_submodule(head).train()

    def pace(self, learning_rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate

    def gradient(self) -> Tensor:
        """The length of the gradient over all weights."""
        gradients = [value.grad for value in self.network.parameters() if value.grad is not None]
        return torch.nn.utils.get_total_norm(gradients) / self.scaler.get_scale()

    def length(self) -> Tensor:
        """The length of all weights."""
        return torch.nn.utils.get_total_norm([value.detach() for value in self.network.parameters()])

    def advance(self, step: int) -> None:
        """Move the weights by their gradients and forget those; `step` is counted over the whole fit."""
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad()
        if self._average:
            self._average.update(self.network, step)

    def keep_best(self) -> None:
        """Remember the network as it is now as the best."""
        self._best = {name: value.detach().clone() for name, value in self.kept.state_dict().items()}

    def model(self) -> ImageModel:
        """The network that is kept, or the best one where that was remembered."""
        if self._best:
            self.kept.load_state_dict(self._best)
        return ImageModel(self.kept, self.plan)

    def save(self, folder: str) -> None:
        """Write all that `_resume` needs into a folder."""
        write_tensors(self.network.state_dict(), os.path.join(folder, _NETWORK))
        slots = self._optimizer.state_dict()["state"]
        tensors = {f"{place}.{name}": value for place, slot in slots.items() for name, value in slot.items()}
        filled = {name: value for name, value in tensors.items() if value is not None}
        write_tensors(filled, os.path.join(folder, _OPTIMIZER))
        if self._average:
            write_tensors(self._average.network.state_dict(), os.path.join(folder, _AVERAGE))
        if self._best:
            write_tensors(self._best, os.path.join(folder, _BEST))
        place = {"epoch": self.epoch, "share": self.share, "losses": self.losses, "scaler": self.scaler.state_dict()}
        (Path(folder) / _PLACE).write_text(json.dumps(place))

    def _resume(self, folder: str) -> None:
        from safetensors.torch import load_file

        self.network.load_state_dict(load_file(os.path.join(folder, _NETWORK)))
        self._resume_optimizer(load_file(os.path.join(folder, _OPTIMIZER)))
        if self._average:
            self._average.network.load_state_dict(load_file(os.path.join(folder, _AVERAGE)))
        if os.path.exists(best := os.path.join(folder, _BEST)):
            self._best = load_file(best, device=self._worker.device)
        place = json.loads((Path(folder) / _PLACE).read_text())
        self.epoch, self.share, self.losses = place["epoch"], place["share"], tuple(place["losses"])
        self.scaler.load_state_dict(place["scaler"])

    def _resume_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = [value for group in self._optimizer.param_groups for value in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            place, _, name = key.partition(".")
            like = parameters[int(place)]
            fits = value.shape == like.shape  # the same order in memory as the weight, or sums come out otherwise
            slots.setdefault(int(place), {})[name] = torch.empty_like(like).copy_(value) if fits else value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": slots})


def _plan(config: "ImageClassifier", data: Data, worker: Worker) -> Plan:
    images, _ = next(data.validation.batches(1))
    height, width, channels = images.shape[1:]
    mean, std = (config.mean, config.std) if config.mean and config.std else _measured(data, worker, channels)
    if not len(mean) == len(std) == channels:
        raise ConfigError(f"mean and std have {len(mean)} and {len(std)} values; the pictures have {channels} channels")
    shape = (height, width, channels)
    return Plan(str(config.network), config.widths, data.names, shape, mean, std, config.blocks, config.both_ways)


def _measured(data: Data, worker: Worker, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over training rows of all workers, of shares of 255."""
    sums, rows = np.zeros((3, channels)), 0  # a worker may have no rows of a stream
    for images, _ in data.train.batches(256):
        pixels = images.reshape(-1, channels).astype(np.float64) / 255
        sums += [np.full(channels, len(pixels)), pixels.sum(axis=0), (pixels**2).sum(axis=0)]
        rows += len(images)
        if rows >= _MEASURED:
            break
    count, first, second = summed(sums, worker)
    if not count.all():
        raise DataError("no worker has a training image")
    mean = first / count
    deviation = np.sqrt(np.maximum(second / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(deviation < 1e-6, 1.0, deviation).tolist())


def _network(config: "ImageClassifier", plan: Plan) -> nn.Module:
    height, width, channels = plan.shape
    classes = len(plan.names)
    if isinstance(config.network, OwnModule):
        network = config.network(torch.zeros(2, channels, height, width), classes)
    elif is_own(config.network):
        raise ConfigError(f"{config.network} is an object of the recipe that it came from: run that recipe")
    elif networks.known(config.network):
        network = networks.build(config.network, plan.shape, classes, config.widths, config.blocks)
    else:
        raise ConfigError(
            f"there is no network {config.network!r}: small_residual, or torchvision's{_near(config.network)}"
        )
    if config.weights:
        networks.load_weights(network, config.weights)
    return network


def _near(name: str) -> str:
    import difflib

    from torchvision import models

    found = difflib.get_close_matches(name, models.list_models(module=models), n=1)
    return f"; did you mean {found[0]}?" if found else " (see torchvision.models)"
