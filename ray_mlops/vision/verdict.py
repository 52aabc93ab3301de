"""Is a network needed? From what candidates get right to `use_ml | no_ml | collect_more | redefine`, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.vision.candidates import NETWORK, SIMPLE, Candidate

Answer = Literal["use_ml", "no_ml", "collect_more", "redefine"]


class Bar(Frozen):
    """When a gain counts.

    A network is worth having when it names more images right than the best simple candidate, beyond doubt (the interval
    of the gain lies above 0) and by at least `min_gain` of them. An interval wider than `max_width` says that the data
    cannot tell. Every class needs `min_images`, `min_judged` of which are judged by; when more than `max_conflicting`
    of the images have a twin with another label, the label itself is in question.
    """

    min_gain: float = Field(default=0.005, ge=0, lt=1)
    max_width: float = Field(default=0.1, gt=0)
    min_images: int = Field(default=20, ge=2)
    min_judged: int = Field(default=5, ge=1)
    max_conflicting: float = Field(default=0.05, ge=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class Estimate(Frozen):
    """A value with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """What a candidate told of the judged images: which of them it got right, `(rows,)` bool."""

    candidate: Candidate
    right: np.ndarray
    figures: Mapping[str, float]

    @property
    def kind(self) -> str:
        return self.candidate.kind


@dataclass(frozen=True)
class Judgement:
    """The answer with its reasons and hints; `gain` of the network over `simple`, where a contest was held."""

    answer: Answer
    reasons: tuple[str, ...]
    hints: tuple[str, ...] = ()
    simple: str = ""
    gain: Estimate | None = None


class Draws:
    """Units drawn with replacement, the same for all values: images that belong together are drawn together."""

    def __init__(self, units: np.ndarray, replicates: int, seed: int) -> None:
        self._places = np.unique(units, return_inverse=True)[1]
        count = int(self._places.max(initial=-1)) + 1
        generator = np.random.default_rng(seed)
        self._weights = generator.multinomial(count, np.full(count, 1 / max(count, 1)), size=replicates)

    def mean(self, values: np.ndarray, confidence: float) -> Estimate:
        """The mean of a value per row with its percentile interval; a single unit leaves it all open."""
        value = float(values.mean())
        if self._weights.shape[1] < 2:
            return Estimate(value=value, low=min(value, -1.0), high=max(value, 1.0))
        sums, sizes = (np.bincount(self._places, weights) for weights in (values, np.ones(len(values))))
        means = (self._weights @ sums) / (self._weights @ sizes)
        low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Estimate(value=value, low=float(min(low, value)), high=float(max(high, value)))


def before_contest(
    bar: Bar, *, images: Mapping[str, int], judged: Mapping[str, int], conflicting: float
) -> Judgement | None:
    """The answer where it does not take a contest: labelled `images` and those `judged` by class, and the share of
    images with a twin of another class; None when a contest has to decide."""
    if conflicting > bar.max_conflicting:
        reason = f"{conflicting:.1%} of the images also occur with another label: nobody could tell them apart."
        return Judgement(
            "redefine", (reason,), ("Settle the labels of the duplicates (see clean.json), or the classes.",)
        )
    few = [name for name, count in images.items() if count < bar.min_images or judged.get(name, 0) < bar.min_judged]
    if not few:
        return None
    least = min(few, key=lambda name: images[name])
    reason = (
        f"{_names(few)}: at least {bar.min_images} labelled images of a class are needed, {bar.min_judged} of them to "
        f"judge by; {least} has {images[least]} and {judged.get(least, 0)}."
    )
    factor = max(bar.min_images / max(images[least], 1), bar.min_judged / max(judged.get(least, 0), 1))
    hints = (f"Collect about {factor:.1f} times as many images of {least}, or leave the class out.",)
    return Judgement("collect_more", (reason,), hints)


def _names(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return f"Too few images of {', '.join(classes[:5])}{more}"


def after_contest(standings: Mapping[str, Standing], draws: Draws, bar: Bar) -> Judgement:
    """The answer that the standings give, of all simple candidates and the network."""
    constant, network = standings["constant"], standings[NETWORK.kind]
    simple = max((standings[kind] for kind in SIMPLE), key=lambda one: one.figures["accuracy"])
    gain = _gain(network, simple, draws, bar)
    best = max((network, simple), key=lambda one: one.figures["accuracy"])
    if best is constant or _gain(best, constant, draws, bar).low <= 0:
        reason = (
            f"Nothing beats always naming the most frequent class ({constant.figures['accuracy']:.1%} right): the best "
            f"candidate ({best.kind}) gets {best.figures['accuracy']:.1%} right."
        )
        return Judgement("redefine", (reason,), _REDEFINE, simple.kind, gain)
    answer = _answer(gain, bar)
    reasons = (_SUMMARY[answer].format(simple=simple.candidate.about), _measured(network, simple, gain, bar))
    return Judgement(answer, reasons, _hints(answer, simple, gain, bar), simple.kind, gain)


def _gain(one: Standing, other: Standing, draws: Draws, bar: Bar) -> Estimate:
    return draws.mean(one.right.astype(float) - other.right.astype(float), bar.confidence)


def _answer(gain: Estimate, bar: Bar) -> Answer:
    if gain.low > 0 and gain.value >= bar.min_gain:
        return "use_ml"
    return "no_ml" if gain.high < bar.min_gain or gain.high - gain.low <= bar.max_width else "collect_more"


_REDEFINE = (
    "Check with a few images by eye that the label can be seen in them at all.",
    "Use a larger size in features.transform when what matters is small.",
)
_SUMMARY = {
    "use_ml": "A network clearly beats the best simple candidate.",
    "no_ml": "No network is needed: as good is {simple}.",
    "collect_more": "The data cannot tell: the interval of the gain is too wide.",
}


def _measured(network: Standing, simple: Standing, gain: Estimate, bar: Bar) -> str:
    return (
        f"Accuracy: the network gets {network.figures['accuracy']:.1%} right, {simple.kind} "
        f"{simple.figures['accuracy']:.1%}; gain {gain.value:+.1%}, {bar.confidence:.0%} interval "
        f"[{gain.low:+.1%}, {gain.high:+.1%}]; at least {bar.min_gain:.1%} counts."
    )


def _hints(answer: Answer, simple: Standing, gain: Estimate, bar: Bar) -> tuple[str, ...]:
    if answer == "collect_more":
        need = ((gain.high - gain.low) / bar.max_width) ** 2
        return (f"About {need:.1f} times as many labelled images would narrow the interval enough.",)
    if answer == "no_ml":
        return (f"Use {simple.candidate.about}; a longer training on larger images may still tell another story.",)
    return ()
