"""Is a model needed? From evidence to `use_ml | no_ml | collect_more | redefine`, with reasons and hints."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.fraud.candidates import MODELS, SIMPLE
from ray_mlops.fraud.contest import Contest, Standing
from ray_mlops.fraud.intervals import Estimate, Metric, estimate, minus

Answer = Literal["use_ml", "no_ml", "collect_more", "redefine"]


class Bar(Frozen):
    """When a gain counts.

    A model is worth having when the interval of its gain over the best simple candidate lies above `min_gain_ap`
    (average precision) or `min_gain_money` (share of the money lost to fraud). An interval wider than `max_width` (AP)
    says that the data cannot tell. `min_lift` is how many times the average precision of a constant the best
    candidate must reach for the features to say anything of the label.
    """

    min_gain_ap: float = Field(default=0.01, ge=0)
    min_gain_money: float = Field(default=0.02, ge=0)
    max_width: float = Field(default=0.2, gt=0)
    min_lift: float = Field(default=1.25, ge=1)
    min_positives: int = Field(default=50, ge=2)
    min_positives_judged: int = Field(default=20, ge=1)
    max_prevalence: float = Field(default=0.5, gt=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


@dataclass(frozen=True)
class Gain:
    """The distance of a model from a simple candidate, paired on the same days."""

    model: Standing
    simple: Standing
    interval: Estimate


@dataclass(frozen=True)
class Judgement:
    """The answer with its reasons and hints; the gains are None where no contest was held."""

    answer: Answer
    reasons: tuple[str, ...]
    hints: tuple[str, ...] = ()
    ap: Gain | None = None
    money: Gain | None = None


def before_contest(
    bar: Bar, *, rows: int, positives: int, leaks: Sequence[str], earlier: int = -1, later: int = -1
) -> Judgement | None:
    """The answer where it does not take a contest: `rows` and `positives` of the whole table, positives in the
    `earlier` and `later` part (-1: not counted yet); None when a contest has to decide."""
    share = positives / max(rows, 1)
    if positives in (0, rows):
        one = "negative" if positives == 0 else "positive"
        hint = "Check the label column and how the source maps to it."
        return Judgement("redefine", (f"All {rows:,} rows are {one}: there is nothing to tell apart.",), (hint,))
    if share > bar.max_prevalence:
        reason = f"{share:.1%} of the rows are positive, more than {bar.max_prevalence:.0%}: that is not a rare event."
        return Judgement("redefine", (reason,), ("Check whether the label is inverted or the rows are a selection.",))
    if leaks:
        reason = f"{', '.join(leaks)} alone gives the label away, so it is known only afterwards or is the label."
        return Judgement("redefine", (reason,), ("Drop the column, or take its value as of the event time.",))
    if 0 <= earlier < bar.min_positives or 0 <= later < bar.min_positives_judged:
        reason = (
            f"{earlier} positives to learn from and {later} to judge by; "
            f"at least {bar.min_positives} and {bar.min_positives_judged} are needed."
        )
        return Judgement("collect_more", (reason,), _more_data(earlier, later, bar))
    return None


def _more_data(earlier: int, later: int, bar: Bar) -> tuple[str, ...]:
    need = max(bar.min_positives / max(earlier, 1), bar.min_positives_judged / max(later, 1))
    longer = f"Collect about {need:.1f} times as many labelled positives, or lengthen the parts of the split."
    return (longer, "Until then, review by hand and record every outcome: those labels are the data.")


def after_contest(contest: Contest, draws: np.ndarray, bar: Bar) -> Judgement:
    """The answer that the standings give; `draws` are the day multiplicities of the bootstrap."""
    models = contest.of(MODELS)
    best_model = max(models, key=lambda standing: standing.held_out)
    ap = _gain(contest, best_model, lambda standing: standing.average_precision, draws, bar)
    money = _gain(contest, best_model, lambda standing: _share(standing.savings, contest.stolen), draws, bar)
    if (hopeless := _nothing_beats_a_constant(contest, draws, bar)) is not None:
        return Judgement("redefine", (hopeless,), _REDEFINE, ap, money)
    answer = _answer(ap.interval, money.interval, bar)
    return Judgement(answer, _reasons(answer, ap, money, bar), _hints(answer, contest, ap, bar), ap, money)


def _share(savings: Metric, stolen: float) -> Metric:
    return lambda weights: savings(weights) / max(stolen, 1e-9)


def _gain(contest: Contest, model: Standing, metric: Callable[[Standing], Metric], draws: np.ndarray, bar: Bar) -> Gain:
    """Against the simple candidate that did best on the judged rows themselves: the doubt is the model's."""
    once = np.ones((1, contest.days))
    simple = max(contest.of(SIMPLE), key=lambda standing: float(metric(standing)(once)[0]))
    return Gain(model, simple, estimate(minus(metric(model), metric(simple)), draws, bar.confidence))


def _nothing_beats_a_constant(contest: Contest, draws: np.ndarray, bar: Bar) -> str | None:
    constant = contest.by_kind["constant"]
    base = float(constant.average_precision(np.ones((1, contest.days)))[0])
    best, reached = "", 0.0
    for standing in contest.standings:
        ap = estimate(standing.average_precision, draws, bar.confidence)
        over = estimate(minus(standing.average_precision, constant.average_precision), draws, bar.confidence)
        # With one day there is no interval; then the lift alone speaks.
        if ap.value >= bar.min_lift * base and not over.low <= 0:
            return None
        if ap.value > reached:
            best, reached = standing.kind, ap.value
    return (
        f"Nothing beats the constant: the best candidate ({best}) has an average precision of {reached:.4f}, "
        f"reviewing at random has {base:.4f}."
    )


_REDEFINE = (
    "Look for features that exist at event time and that differ between the classes.",
    "Check that the label says what should be predicted, and that its delay is right.",
)


def _answer(ap: Estimate, money: Estimate, bar: Bar) -> Answer:
    loses_money = money.high < 0
    if money.low > bar.min_gain_money or (ap.low > bar.min_gain_ap and not loses_money):
        return "use_ml"
    # NaN bounds (a single judged day) compare as False and end here as unclear. A width of 0 is no alert on any side.
    cannot_save = money.high <= bar.min_gain_money and money.width > 0
    equal = ap.high <= bar.min_gain_ap or ap.width <= bar.max_width or cannot_save
    return "no_ml" if equal else "collect_more"


def _reasons(answer: Answer, ap: Gain, money: Gain, bar: Bar) -> tuple[str, ...]:
    level = f"{bar.confidence:.0%}"
    ranking = (
        f"Average precision: {ap.model.kind} gains {ap.interval.value:+.3f} over {ap.simple.kind} "
        f"({ap.simple.candidate.about}), {level} interval [{ap.interval.low:+.3f}, {ap.interval.high:+.3f}]."
    )
    saved = (
        f"Money: {money.model.kind} saves {money.interval.value:+.1%} of the fraud loss more than {money.simple.kind}, "
        f"{level} interval [{money.interval.low:+.1%}, {money.interval.high:+.1%}]."
    )
    summary = {
        "use_ml": "A model clearly beats the best simple candidate.",
        "no_ml": f"{ap.simple.kind} ({ap.simple.candidate.about}) is as good as a model.",
        "collect_more": f"The data cannot tell: the interval of the gain is {_wide(ap.interval)}.",
    }
    return (summary[answer], ranking, saved)


def _wide(interval: Estimate) -> str:
    return "unknown, with one day to judge by" if math.isnan(interval.width) else f"{interval.width:.2f} wide"


def _hints(answer: Answer, contest: Contest, ap: Gain, bar: Bar) -> tuple[str, ...]:
    if answer == "collect_more":
        if math.isnan(ap.interval.width):
            return ("Judge on more than one day: lengthen validation and test of the split.",)
        need = (ap.interval.width / bar.max_width) ** 2
        return (f"About {need:.1f} times as many days with labels would narrow the interval enough.",)
    if answer == "no_ml":
        rule = contest.by_kind.get("rule")
        return (f"Review by the rule: {rule.candidate.about}.",) if rule else ("Review by the single feature.",)
    linear, boosting = (contest.by_kind[kind] for kind in MODELS)
    if linear.held_out >= boosting.held_out - bar.min_gain_ap:
        return ("Logistic regression is as good as boosting here: prefer it, it is easier to explain.",)
    return ("Boosting is ahead of a linear model: start with it.",)
