"""Rules that stop a hopeless fit, each with the reason and what to do: they are told figures and know no network."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.errors import TrainingError

_SEEN = "debug.json"
_SURE = 0.01  # a log loss below which a fit is sure of every row, and a multiple of it says nothing


class DebugRules(Frozen):
    """When a fit counts as hopeless; None turns a rule off. NaN and infinite losses always stop it.

    `exploding` and `vanishing` bound the length of the gradient relative to that of the weights, over `patience` looks
    in a row. `stalled` is the share of training after which the training loss must have fallen by 1 %, or the validation
    loss be less than half of the first: a network that knew its task before has little to learn. `overfitting` is
    the factor by which the validation loss may exceed its best while the training loss goes on falling. `dead` is the
    share of units that may be silent on every validation row looked at.
    """

    exploding: float | None = Field(default=1e3, gt=0)
    vanishing: float | None = Field(default=1e-9, gt=0)
    stalled: float | None = Field(default=0.5, gt=0, le=1)
    overfitting: float | None = Field(default=3.0, gt=1)
    dead: float | None = Field(default=0.95, gt=0, le=1)
    patience: int = Field(default=3, ge=1)


@dataclass
class Debugger:
    """Follows one fit by its rules. Each method raises `TrainingError` when a rule finds the fit hopeless."""

    rules: DebugRules
    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    _start: float | None = None
    _gradients: list[float] = field(default_factory=list)

    def save(self, folder: str) -> None:
        """Write what has been seen so far beside a checkpoint."""
        seen = {"start": self._start, "losses": self.losses, "validation": self.validation}
        (Path(folder) / _SEEN).write_text(json.dumps(seen))

    @classmethod
    def begin(cls, rules: DebugRules, resume: str | None) -> "Debugger":
        """One that has seen nothing, or what the fit had seen whose checkpoint is gone on from."""
        if resume is None:
            return cls(rules)
        seen = json.loads((Path(resume) / _SEEN).read_text())
        return cls(rules, seen["losses"], seen["validation"], seen["start"])

    def inputs(self, low: float, high: float) -> None:
        """Judge the smallest and the largest input of the first batch."""
        if low == high:
            what = "0, which is black" if low == 0 else f"{low:g}"
            raise TrainingError(f"all inputs of the first batch are {what}: look at the data and its transform")

    def step(self, loss: float, *, gradient: float, weights: float) -> None:
        """Judge a training loss and the lengths of the gradient and of all weights at some step."""
        if not math.isfinite(loss) or not math.isfinite(gradient):
            what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient became {gradient}"
            raise TrainingError(f"{what}: lower learning_rate, or use precision fp32")
        self._start = loss if self._start is None else self._start
        self._gradients = [*self._gradients, gradient / max(weights, 1e-12)][-self.rules.patience :]
        if len(self._gradients) < self.rules.patience:
            return
        low, high = min(self._gradients), max(self._gradients)
        if self.rules.exploding is not None and low > self.rules.exploding:
            raise TrainingError(f"the gradient explodes: {low:.2g} times the weights; lower learning_rate")
        if self.rules.vanishing is not None and high < self.rules.vanishing:
            raise TrainingError(
                f"the gradient vanishes: {high:.2g} times the weights; raise learning_rate, or use a network with "
                "normalisation and residual connections"
            )

    def judged(self, loss: float, validation: float, *, done: float) -> None:
        """Judge the mean training loss and the validation loss after the share `done` of the fit."""
        if not math.isfinite(validation):
            raise TrainingError(f"the validation loss became {validation}: lower learning_rate, or use precision fp32")
        self.losses.append(loss)
        self.validation.append(validation)
        self._not_stalled(done)
        self._not_overfitted()

    def units(self, silent: Sequence[float]) -> None:
        """Judge the share of units, layer by layer, that are silent on every row looked at."""
        worst = max(silent, default=0.0)
        if self.rules.dead is not None and worst >= self.rules.dead:
            raise TrainingError(
                f"{worst:.0%} of the units of layer {list(silent).index(worst) + 1} are dead, they answer 0 to every "
                "input: lower learning_rate"
            )

    def _not_stalled(self, done: float) -> None:
        first, best = self._start or 0.0, min(self.losses)
        late = self.rules.stalled is not None and done >= self.rules.stalled
        knew = min(self.validation) < first / 2
        if late and not knew and best > 0.99 * first and first > 1e-3:
            raise TrainingError(
                f"the loss does not decrease: {first:.4g} at first, {best:.4g} at best after {done:.0%} of the fit; "
                "change learning_rate, or look at the labels"
            )

    def _not_overfitted(self) -> None:
        rising, patience = self.validation[-1], self.rules.patience
        if self.rules.overfitting is None or len(self.validation) <= patience:
            return
        best = max(min(self.validation), _SURE)
        recent = self.validation[-patience - 1 :]
        worsening = all(later > earlier for earlier, later in pairwise(recent))
        if worsening and rising > self.rules.overfitting * best and self.losses[-1] < self.losses[-patience - 1]:
            raise TrainingError(
                f"the fit memorises its rows: the validation loss rose from {best:.4g} to {rising:.4g} while the training "
                f"loss fell to {self.losses[-1]:.4g}; use fewer epochs, patience, more augmentation or weight_decay"
            )
