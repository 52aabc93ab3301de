"""Is a model needed to tell images apart? From the candidates to `use_ml | no_ml | collect_more | redefine`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.vision import metrics
from ray_mlops.vision.candidates import MODELS, SIMPLE, Candidate

Verdict = Literal["use_ml", "no_ml", "collect_more", "redefine"]


class Bar(Frozen):
    """When a gain in accuracy counts.

    A model is worth having when the interval of its gain over the best simple candidate lies above `min_gain`. A wider
    interval than `max_width` says that the data cannot tell. `min_per_class` is how many labelled images each class needs.
    """

    min_gain: float = Field(default=0.01, ge=0)
    max_width: float = Field(default=0.1, gt=0)
    min_per_class: int = Field(default=10, ge=3)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


@dataclass(frozen=True)
class Gain:
    """By how much one candidate is right more often than another on the same rows."""

    model: Candidate
    simple: Candidate
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, model: Candidate, other: Candidate, labels: np.ndarray, *, bar: Bar, seed: int) -> "Gain":
        """The gain with its interval over rows."""
        gain = (model.predicted == labels).astype(np.float64) - (other.predicted == labels)
        low, high = metrics.interval(gain, seed=seed, confidence=bar.confidence)
        return cls(model, other, float(gain.mean()), low, high)

    def __str__(self) -> str:
        span = f"[{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.model.kind} is right {self.value:+.3f} more often than {self.simple.kind}, interval {span}."


@dataclass(frozen=True)
class Judgement:
    """The answer with its reasons and hints; `gain` is None where no contest was held."""

    answer: Verdict
    reasons: tuple[str, ...]
    hints: tuple[str, ...] = ()
    gain: Gain | None = None


def before_contest(bar: Bar, classes: Sequence[str], labels: np.ndarray) -> Judgement | None:
    """The answer where it does not take a contest; None when a contest has to decide."""
    if len(classes) < 2:
        told = f"all labelled images are {classes[0]!r}" if classes else "no image has a label"
        hint = "Check how the source gives the label."
        return Judgement("redefine", (f"There is nothing to tell apart: {told}.",), (hint,))
    counts = np.bincount(labels, minlength=len(classes))
    rarest = int(counts.argmin())
    if counts[rarest] < bar.min_per_class:
        reason = f"Class {classes[rarest]!r} has {counts[rarest]} labelled images; each needs {bar.min_per_class}."
        return Judgement("collect_more", (reason,), ("Collect more of it, or leave it out (ingest.data.classes).",))
    return None


def after_contest(candidates: Sequence[Candidate], labels: np.ndarray, bar: Bar, *, seed: int) -> Judgement:
    """The answer that the candidates give on the judged rows."""

    def best(kinds: Sequence[str]) -> Candidate:
        chosen = [candidate for candidate in candidates if candidate.kind in kinds]
        return max(chosen, key=lambda candidate: float((candidate.predicted == labels).mean()))

    constant = next(candidate for candidate in candidates if candidate.kind == "majority")
    winner = best((*SIMPLE, *MODELS))
    if Gain.of(winner, constant, labels, bar=bar, seed=seed).low <= 0:
        reason = f"Nothing beats always saying the most frequent class: {winner.kind} is the best, and not better."
        return Judgement(
            "redefine", (reason,), ("Check that the label can be seen in the picture, and that it is right.",)
        )
    gain = Gain.of(best(MODELS), best(SIMPLE), labels, bar=bar, seed=seed)
    answer = _answer(gain, bar)
    return Judgement(answer, (_summary(answer, gain), str(gain)), _hints(answer, candidates, labels, gain), gain)


def _answer(gain: Gain, bar: Bar) -> Verdict:
    if gain.low > bar.min_gain:
        return "use_ml"
    if gain.high <= bar.min_gain or gain.high - gain.low <= bar.max_width:
        return "no_ml"
    return "collect_more"


def _summary(answer: Verdict, gain: Gain) -> str:
    if answer == "use_ml":
        return "A model clearly beats the best simple candidate."
    if answer == "no_ml":
        return f"{gain.simple.kind} ({gain.simple.about}) is as good as a model."
    return f"The data cannot tell: the interval of the gain is {gain.high - gain.low:.2f} wide."


def _hints(answer: Verdict, candidates: Sequence[Candidate], labels: np.ndarray, gain: Gain) -> tuple[str, ...]:
    if answer == "collect_more":
        return ("Label more images: four times as many halve the interval.",)
    if answer == "no_ml":
        return (f"Answer by {gain.simple.about}.",)
    right = {candidate.kind: float((candidate.predicted == labels).mean()) for candidate in candidates}
    if right["linear"] >= right["network"]:
        return ("Logistic regression on the pixels is as good as the quick network here: a small network will do.",)
    return ("The quick network is ahead of a linear model: start with a network.",)
