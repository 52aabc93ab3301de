"""One fit of an image classifier on one worker of any number: steps, verdicts and checkpoints in the middle of an epoch.

All that is random in a step depends on (seed, epoch, step, rank) alone, so a fit that goes on from a checkpoint does
what the undisturbed one would have done. Figures leave the device once in a number of steps.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ray_mlops.algorithms.augmentation import mixing
from ray_mlops.algorithms.debug_rules import Debugger
from ray_mlops.algorithms.devices import Sent, autocast, brought
from ray_mlops.algorithms.image_model import ImageModel
from ray_mlops.algorithms.image_state import ImageState
from ray_mlops.algorithms.networks import logits_of
from ray_mlops.algorithms.optimization import one_cycle
from ray_mlops.algorithms.silence import silent_units
from ray_mlops.algorithms.together import added, most, share_buffers, total
from ray_mlops.algorithms.worker import ACCURACY, LOSS, Watch
from ray_mlops.contract import Data, Part, Worker

if TYPE_CHECKING:
    from ray_mlops.algorithms.image_classifier import ImageClassifier

_LOOK = 20  # steps between two looks at loss and gradient
_ASK = 1.0  # seconds between two questions whether a checkpoint is due, which several workers have to agree on
_JUDGED = 256


@dataclass
class Times:
    """Where the time of this worker went, in seconds, and how many pictures it has learnt from."""

    data: float = 0.0
    compute: float = 0.0
    samples: int = 0

    def figures(self, worker: Worker) -> dict[str, float]:
        """What is reported, of all workers together: `samples_per_second`, `data_wait_s`, `compute_s`, `device_mb`."""
        seconds = max(self.data + self.compute, 1e-9)
        found = torch.tensor([self.samples / seconds], dtype=torch.float64, device=worker.device)
        figures = {"samples_per_second": total(found, worker)[0]}
        figures |= {"data_wait_s": self.data, "compute_s": self.compute}
        if worker.device != "cpu":
            figures["device_mb"] = torch.cuda.max_memory_allocated(worker.device) / 2**20
        return figures


class ImageFit:
    """The course of a fit; what it changes is its `ImageState`."""

    def __init__(self, config: "ImageClassifier", data: Data, worker: Worker) -> None:
        torch.set_num_threads(worker.threads)
        _keep_freed_memory()
        self._config, self._data, self._worker = config, data, worker
        self._state = ImageState.begin(config, data, worker)
        self._watch = Watch(worker, None, config.epochs, patience=config.patience)
        self._debugger, self._times = Debugger.begin(config.debug, worker.resume), Times()
        self._generator = torch.Generator(device=worker.device)
        self._normalised = self._state.plan.normaliser(worker.device)
        self._train, self._judged = (
            brought(part, torch.device(worker.device)) for part in (data.train, data.validation)
        )
        rows = data.train.rows
        # Batches of equal size, so that none is tiny; as many on every worker, so that none waits for another.
        self._steps = int(most(max(1, -(-rows // max(1, config.batch_size // worker.size))), worker))
        self._size = max(1, -(-rows // self._steps))
        self._losses: list[Tensor] = []
        self._sent: Sent | None = None
        self._loss, self._asked = 0.0, -_ASK

    def run(self) -> ImageModel:
        """Go through the epochs that are left; the model, on every worker the same."""
        state, watch = self._state, self._watch
        while not watch.stopped:
            while state.epoch < watch.due:
                self._epoch()
            metrics = self._validated()
            self._debugger.judged(self._loss, metrics[LOSS], done=watch.due / self._config.epochs)
            if watch.take(metrics, **self._times.figures(self._worker)) and self._config.patience:
                state.keep_best()
            watch.report(self._save)
        return state.model()

    def _save(self, folder: str) -> None:
        self._state.save(folder)
        self._debugger.save(folder)

    def _epoch(self) -> None:
        """Learn from every row of this worker once, or from those that are left of an epoch begun before."""
        state, started, waited = self._state, time.perf_counter(), self._times.data
        state.prepare(self._config)
        for step, (images, labels), weight in self._batches(skip=round(state.share * self._steps)):
            looking = step % _LOOK == 0
            gradient = self._step(images, labels, step=step, weight=weight, looking=looking)
            if looking or step + 1 == self._steps:
                self._look(gradient)
                self._perhaps_keep((step + 1) / self._steps)
        if self._losses:
            self._look(None)
        self._judge()
        self._loss = state.losses[0] / max(state.losses[1], 1)
        self._times.compute += time.perf_counter() - started - (self._times.data - waited)
        state.epoch, state.share, state.losses = state.epoch + 1, 0.0, (0.0, 0.0)

    def _batches(self, skip: int) -> Iterator[tuple[int, tuple[Tensor, Tensor], float]]:
        """The steps of an epoch; a worker that has run out before the others repeats its last batch with weight 0."""
        part, batches = self._data.train, islice(self._train(self._size, self._seed()), skip, None)
        last = self._blank()
        for step in count(skip):
            started = time.perf_counter()
            found = next(batches, None)
            self._times.data += time.perf_counter() - started
            if not self._goes_on(part, step, found is not None):
                return
            last = found or last
            self._times.samples += len(last[1]) if found else 0
            yield step, last, float(found is not None)

    def _goes_on(self, part: Part, step: int, has_rows: bool) -> bool:
        return most(float(has_rows), self._worker) > 0 if part.streams else step < self._steps

    def _blank(self) -> tuple[Tensor, Tensor]:
        labels = torch.zeros(2, dtype=torch.int64, device=self._worker.device)
        return torch.zeros(2, *self._state.plan.shape, dtype=torch.uint8, device=self._worker.device), labels

    def _seed(self, *place: int) -> int:
        seeds = np.random.SeedSequence((self._worker.seed, self._state.epoch, self._worker.rank, *place))
        return int(seeds.generate_state(1)[0])

    def _step(self, images: Tensor, labels: Tensor, *, step: int, weight: float, looking: bool) -> Tensor | None:
        """One step of the optimizer; the length of the gradient when it is looked at."""
        state, config = self._state, self._config
        if state.epoch == step == 0:
            low, high = (float(value) for value in images.aminmax())
            self._debugger.inputs(-most(-low, self._worker), most(high, self._worker))
        seed = self._seed(step)
        self._seed_all(seed)
        state.pace(config.learning_rate * one_cycle(self._done(step / self._steps), config.warm_up))
        loss = self._training_loss(images, labels)
        self._losses.append(loss.detach())
        state.scaler.scale(loss * weight if weight != 1 else loss).backward()
        gradient = state.gradient() if looking else None
        state.advance(state.epoch * self._steps + step)
        return gradient

    def _seed_all(self, seed: int) -> None:
        """Fix what a step draws: by its own generator, and by torch's, which layers such as dropout use.

        `torch.manual_seed` does more, and where CUDA is not in use it stores a traceback with every call, for ever.
        """
        self._generator.manual_seed(seed)
        torch.default_generator.manual_seed(seed)
        if self._generator.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def _done(self, share: float) -> float:
        return (self._state.epoch + min(share, 1.0)) / self._config.epochs

    def _training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        config = self._config
        if len(labels) == 1:  # normalisation over a batch needs two pictures
            images, labels = images.repeat(2, 1, 1, 1), labels.repeat(2)
        values = self._normalised(config.augment.apply(images, self._generator))
        partner = share = None
        if config.mixup or config.cutmix:
            values, partner, share = mixing(values, self._generator, mixup=config.mixup, cutmix=config.cutmix)
        values = self._state.laid_out(values)
        with autocast(values.device, self._state.dtype):
            logits = logits_of(self._state.trained(values)).float()
        if share is None or partner is None:
            return functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        own, other = (
            functional.cross_entropy(logits, given, label_smoothing=config.label_smoothing, reduction="none")
            for given in (labels, labels[partner])
        )
        return (share * own + (1 - share) * other).mean()

    def _look(self, gradient: Tensor | None) -> None:
        """Send off what is known of the steps since the last look, and judge what was sent then: a GPU goes on meanwhile."""
        self._judge()
        losses = torch.stack(self._losses).double()
        self._losses.clear()
        steps = added(torch.stack([losses.sum(), losses.new_tensor(len(losses))]), self._worker)
        lengths = [] if gradient is None else [gradient.double(), self._state.length().double()]
        self._sent = Sent(torch.cat([steps, *(length.view(1) for length in lengths)]))

    def _judge(self) -> None:
        """Count the losses that were sent, of all workers, and judge the gradient where it was looked at."""
        if self._sent is None:
            return
        (loss, steps, *lengths), self._sent = self._sent.arrived(), None
        self._state.losses = (self._state.losses[0] + loss, self._state.losses[1] + steps)
        # A gradient too large for fp16 is none yet: the scaler leaves the step out and takes a smaller factor.
        if lengths and (math.isfinite(lengths[0]) or not self._state.scaler.is_enabled()):
            self._debugger.step(loss / steps, gradient=lengths[0], weights=lengths[1])

    def _perhaps_keep(self, share: float) -> None:
        """Make a checkpoint in the middle of an epoch when one is due; all workers agree on it."""
        worker = self._worker
        overdue = time.monotonic() - self._asked > _ASK if worker.rank == 0 else False
        if share < 1 and most(float(overdue), worker) and most(float(worker.wants_checkpoint()), worker):
            self._judge()
            self._state.share = share
            self._watch.keep(self._save, steps=self._state.epoch + share)
        if overdue:
            self._asked = time.monotonic()

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        """Accuracy and log loss of what would be kept; the workers share the batches among them."""
        state, worker = self._state, self._worker
        network = state.kept
        share_buffers(network, worker, rows=self._times.samples)
        network.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=worker.device)
        for images, labels in islice(self._judged(_JUDGED), worker.rank, None, worker.size):
            with autocast(images.device, state.dtype):
                logits = logits_of(network(state.laid_out(self._normalised(images)))).float()
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([(logits.argmax(1) == labels).sum(), loss, loss.new_tensor(len(labels))])
        self._debugger.units(silent_units(network, self._sample()))
        correct, loss, rows = total(sums, worker)
        return {ACCURACY: correct / max(rows, 1), LOSS: loss / max(rows, 1)}

    def _sample(self) -> Tensor:
        images, _ = next(self._data.validation.batches(_JUDGED))
        return self._state.laid_out(self._normalised(torch.from_numpy(images).to(self._worker.device)))


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one, as it does once it has seen a large block freed.

    Until then it returns activations to the system after each step and faults them in again: a quarter of the time of
    the first epoch. 32 MiB is the most it learns from.
    """
    np.empty(31 << 20, np.uint8)
