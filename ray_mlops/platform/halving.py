"""Successive halving of trials, with verdicts that depend on the trials' numbers and not on who came first."""

import sys
from collections.abc import Sequence

import numpy as np


class Halving:
    """Stops the trials that fall behind: the stopping rule of ASHA, judged in the order of the trials' numbers.

    After `grace`, `grace * factor`, `grace * factor^2` ... reports a trial must be among the best `1/factor` of the
    trials *with lower numbers* that came as far. A trial that overtakes such a one runs on until the verdict is known;
    so the verdicts, hence the winner, are the same whatever the number of processes, their speed and interruptions.
    `grace=None` never stops a trial.
    """

    def __init__(self, grace: int | None = 2, factor: int = 3) -> None:
        self.curves: list[list[float]] = []
        self._grace, self._factor = grace, factor
        self._ended: set[int] = set()
        self._known: dict[tuple[int, int], bool] = {}

    def start(self, curve: Sequence[float] = ()) -> int:
        """Number the next trial, from 0; `curve` are the values of the trial that it goes on from."""
        self.curves.append([*curve])
        return len(self.curves) - 1

    def record(self, trial: int, report: int, value: float) -> None:
        """Note the value of a trial's report, counted from 1; a report repeated after a retry changes nothing."""
        if report == len(self.curves[trial]) + 1:
            self.curves[trial].append(value)

    def end(self, trial: int) -> None:
        """Note that a trial will not report any more."""
        self._ended.add(trial)

    @property
    def running(self) -> set[int]:
        """The trials that have started and not ended."""
        return set(range(len(self.curves))) - self._ended

    def stopped_after(self, trial: int) -> int | None:
        """The number of reports after which a trial is stopped; None while it goes on or the verdict is open."""
        rung = 0
        while self._reached(trial, rung):
            if self._survived(trial, rung) is False:
                return self._reports(rung)
            rung += 1
        return None

    def _reports(self, rung: int) -> int:
        return sys.maxsize if self._grace is None else self._grace * self._factor**rung

    def _reached(self, trial: int, rung: int) -> bool | None:
        """Whether a trial comes as far as a rung; None while that is open."""
        if (trial, rung) not in self._known:
            found = self._survived(trial, rung - 1) if rung else True
            if found and len(self.curves[trial]) < self._reports(rung):
                found = False if trial in self._ended or self._grace is None else None
            if found is None:
                return None
            self._known[trial, rung] = found
        return self._known[trial, rung]

    def _survived(self, trial: int, rung: int) -> bool | None:
        """Whether a trial comes as far as a rung and goes on from there; None while that is open."""
        reached = self._reached(trial, rung)
        rivals = [self._reached(other, rung) for other in range(trial)] if reached else []
        if not reached or None in rivals:
            return None if reached else reached
        report = self._reports(rung) - 1
        values = [self.curves[other][report] for other, came in enumerate(rivals) if came]
        limit = np.percentile(values, 100 * (1 - 1 / self._factor)) if values else -np.inf
        return bool(self.curves[trial][report] >= limit)
