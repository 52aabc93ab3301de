"""Whether a challenger is worse than its champion: five checks, each with numbers, looked at as often as one likes.

The rate of false rollbacks is spent evenly over the checks. Four of them are bets (see `evidence`), valid whenever one looks;
the population stability index is looked at whenever the pairs have doubled, and each look spends a part of its rate.
Requests are assigned by a hash of what they ask, so that whatever else slows or breaks requests (load, pauses, a slow
store) strikes both variants by their shares and speaks against neither.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ray_mlops.contract import Frozen
from ray_mlops.monitoring.drift import psi
from ray_mlops.serving.rollouts import evidence
from ray_mlops.serving.rollouts.plan import Judging
from ray_mlops.serving.rollouts.tally import Lane, Pairs, Tally

Verdict = Literal["ok", "bad", "unknown", "failed"]
CHECKS = ("errors", "latency", "agreement", "score_psi", "alerts")
_TO_LEARN_LATENCY = 200  # requests of the champion
_FIRST_LOOK = 128  # pairs
_SCORE_BINS = 10


class Check(Frozen):
    """One look at one question. `evidence` is the capital of a bet against "not worse" (for `score_psi`: the index over what it
    may be at this look, times `needed`); from `needed` on the challenger is bad. `failed`: the check itself broke."""

    name: str
    verdict: Verdict
    numbers: Mapping[str, float] = {}
    evidence: float = 1.0
    needed: float = 0.0
    reason: str = ""


class Step(Frozen):
    """What was counted while the challenger had a share of the requests; a share of 0 is a shadow."""

    share: float
    tally: Tally

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """Champion's and challenger's requests that can be compared."""
        tally = self.tally
        return (tally.champion, tally.challenger) if self.share else (tally.beside_champion, tally.beside_challenger)

    @property
    def odds(self) -> float:
        """The chance that an event that strikes both alike is the challenger's."""
        return self.share or 0.5


class Judge:
    """Judges one rollout, look by look: it remembers which latency is slow, and when it has looked at the scores."""

    def __init__(self, judging: Judging) -> None:
        self._judging = judging
        self._needed = len(CHECKS) / judging.false_rollback_rate
        self._slow_s = math.nan
        self._before: list[Step] = []
        self._next, self._looks = _FIRST_LOOK, 0
        self._scores = Check(name="score_psi", verdict="unknown")

    def look(self, steps: Sequence[Step]) -> list[Check]:
        """The checks on all that has been counted; `steps` only ever grow."""
        whole = Tally()
        for step in steps:
            whole = whole.plus(step.tally)
        pairs = whole.pairs
        return [
            self._errors(steps),
            self._latency(steps),
            self._agreement(whole),
            self._psi(pairs),
            self._alerts(pairs),
        ]

    def _bet(self, name: str, log_capital: float, numbers: Mapping[str, float], reason: str, *, known: bool) -> Check:
        capital = math.exp(min(log_capital, 700.0))
        bad = capital >= self._needed
        verdict = "bad" if bad else "ok" if known else "unknown"
        rounded = {key: round(value, 6) for key, value in numbers.items() if math.isfinite(value)}
        return Check(
            name=name,
            verdict=verdict,
            numbers=rounded,
            evidence=float(f"{capital:.4g}"),
            needed=self._needed,
            reason=reason if bad else "",
        )

    def _errors(self, steps: Sequence[Step]) -> Check:
        games = [[(1 - s.odds, s.lanes[1].errors), (-s.odds, s.lanes[0].errors)] for s in steps]
        champion, challenger = _both(steps)
        numbers = {
            "champion_requests": champion.requests,
            "champion_errors": champion.errors,
            "challenger_requests": challenger.requests,
            "challenger_errors": challenger.errors,
        }
        told = f"it failed {challenger.errors} of {challenger.requests} requests, the champion {champion.errors} of {champion.requests}"
        known = challenger.requests >= self._judging.min_requests
        return self._bet("errors", evidence.capital(*games), numbers, told, known=known)

    def _latency(self, steps: Sequence[Step]) -> Check:
        champion, challenger = _both(steps)
        p95 = (1000 * champion.quantile_s(0.95), 1000 * challenger.quantile_s(0.95))
        numbers = {"champion_p95_ms": p95[0], "challenger_p95_ms": p95[1], "slow_ms": 1000 * self._slow_s}
        if math.isnan(self._slow_s):
            if champion.requests - champion.errors >= _TO_LEARN_LATENCY:
                self._learn(champion, steps)
            return self._bet("latency", 0.0, numbers, "", known=False)
        slow, hits, misses = [], 0, 0
        for step, before in zip(steps, [*self._before, *[None] * len(steps)], strict=False):
            (kept, new), old = step.lanes, before.lanes if before else (Lane(), Lane())
            late = [
                lane.beyond(self._slow_s) - was.beyond(self._slow_s) for lane, was in ((kept, old[0]), (new, old[1]))
            ]
            slow.append([(1 - step.odds, late[1]), (-step.odds, late[0])])
            hits, misses = hits + late[1], misses + sum(new.latency) - sum(old[1].latency) - late[1]
        # Both must be plain: that more than 5 % of its requests are slow, and that more are than of the champion's meanwhile.
        log_capital = min(evidence.capital(*slow), evidence.share_above(0.05, hits, misses))
        told = f"in 95 % of its requests its work takes up to {p95[1]:.3g} ms, the champion's {p95[0]:.3g} ms"
        return self._bet("latency", log_capital, numbers, told, known=hits + misses >= self._judging.min_requests)

    def _learn(self, champion: Lane, steps: Sequence[Step]) -> None:
        """From now on it is known what is slow, and only what comes from now on is judged by it."""
        usual, judging = champion.quantile_s(0.95), self._judging
        self._slow_s = max(usual * (1 + judging.latency_tolerance), usual + judging.latency_slack_ms / 1000)
        self._before = list(steps)

    def _agreement(self, whole: Tally) -> Check:
        pairs = whole.pairs
        apart, limit = pairs.count - pairs.alike, self._judging.min_agreement
        share = pairs.alike / pairs.count if pairs.count else math.nan
        numbers = {"pairs": pairs.count, "agreement": share, "copies_dropped": whole.dropped}
        told = f"it decides {apart} of {pairs.count} requests otherwise than the champion; at least {limit:.3g} should be alike"
        known = pairs.count >= self._judging.min_requests
        return self._bet("agreement", evidence.share_above(1 - limit, apart, pairs.alike), numbers, told, known=known)

    def _alerts(self, pairs: Pairs) -> Check:
        before, now = pairs.both + pairs.only_champion, pairs.both + pairs.only_challenger
        numbers = {"pairs": pairs.count, "champion_alerts": before, "challenger_alerts": now}
        tolerance = self._judging.alert_tolerance
        log_capital = evidence.ratio_beyond(tolerance, pairs.both, pairs.only_champion, pairs.only_challenger)
        told = f"it raises {now} alerts where the champion raises {before}; {100 * tolerance:.0f} % more or fewer are tolerated"
        return self._bet("alerts", log_capital, numbers, told, known=pairs.count >= self._judging.min_requests)

    def _psi(self, pairs: Pairs) -> Check:
        if pairs.count < self._next:
            return self._scores
        self._looks, self._next = self._looks + 1, 2 * pairs.count
        spent = self._judging.false_rollback_rate / len(CHECKS) * 6 / (math.pi * self._looks) ** 2
        before, now = _grouped(np.array(pairs.champion_scores), np.array(pairs.challenger_scores))
        found, limit = psi(before, now), self._judging.max_psi
        most = _largest_psi(len(before), pairs.count, limit, spent)
        bad = found > most
        self._scores = Check(
            name="score_psi",
            verdict="bad" if bad else "ok",
            numbers={"pairs": pairs.count, "psi": round(found, 6), "most": round(most, 6), "look": self._looks},
            evidence=float(f"{self._needed * found / most:.4g}"),
            needed=self._needed,
            reason=f"its scores are shifted: PSI {found:.3g} over {pairs.count} requests, {limit:.3g} is tolerated"
            if bad
            else "",
        )
        return self._scores


def _both(steps: Sequence[Step]) -> tuple[Lane, Lane]:
    champion = challenger = Lane()
    for step in steps:
        champion, challenger = champion.plus(step.lanes[0]), challenger.plus(step.lanes[1])
    return champion, challenger


def _grouped(before: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring bins put together until each holds about a tenth of both samples together."""
    shares = np.cumsum(before + now) / max(1, (before + now).sum())
    places = np.minimum((shares * _SCORE_BINS * (1 - 1e-12)).astype(int), _SCORE_BINS - 1)
    groups = [(before[places == group].sum(), now[places == group].sum()) for group in np.unique(places)]
    kept = np.array([group for group in groups if sum(group)], float).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


def _largest_psi(bins: int, pairs: int, limit: float, probability: float) -> float:
    """What the index of so many pairs exceeds with at most `probability` when the true one is `limit`; as if the samples were
    independent, which those of the same questions are not, to the challenger's favour."""
    from scipy.special import chndtrix, ndtri  # `scipy.stats` takes a second to import

    scale, freedom = 2 / pairs, max(1, bins - 1)
    centre = limit / scale
    if centre > 1000:
        return scale * (freedom + centre - ndtri(probability) * math.sqrt(2 * (freedom + 2 * centre)))
    return scale * float(chndtrix(1 - probability, freedom, centre))
