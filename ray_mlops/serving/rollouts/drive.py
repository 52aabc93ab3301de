"""Drives a rollout: a step, a bake, a look at the evidence; to promotion, or back to the champion.

However it ends, the replicas end with the champion alone, and the record says why. Only a kill leaves them as they are: then
they stop asking the challenger by themselves once nobody watches, and the next `deploy` or `rollback` tidies up.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ray_mlops.contract import ModelVersion
from ray_mlops.errors import EndpointError
from ray_mlops.serving.rollouts import metric
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.judge import Check, Judge, Step
from ray_mlops.serving.rollouts.records import BEAT_S, Records, Rollout
from ray_mlops.serving.rollouts.replicas import Replicas, Status
from ray_mlops.serving.rollouts.tally import Tally

LOOK_S = 0.5
SILENT_S = 60.0
Tell = Callable[[str], None]


class Ended(Exception):
    """The rollout is over before its plan is; the message says why."""


class Driver:
    """One rollout of one endpoint."""

    def __init__(
        self, rollout: Rollout, version: ModelVersion, replicas: Replicas, records: Records, tell: Tell
    ) -> None:
        self.rollout, self._version, self._replicas, self._records = rollout, version, replicas, records
        self._tell = tell
        self._metric = metric.load(rollout.plan.metric) if rollout.plan.metric else None
        self._judge = Judge(rollout.plan.judging)
        self._steps: list[Step] = []
        self._checks: list[Check] = []
        self._beat = time.monotonic()

    def drive(self) -> Rollout:
        """Go through all steps; the record, still `running` where nothing speaks against the challenger, else `rolled_back`.

        When the command is stopped, the champion answers alone again and the record is `interrupted`.
        """
        self._write(self.rollout)
        try:
            for number, share in enumerate(self.rollout.plan.shares, start=1):
                self._step(number, share)
            return self.rollout
        except Ended as ended:
            return self._back("rolled_back", str(ended))
        except EndpointError as error:
            return self._back("rolled_back", f"the endpoint failed: {error}")
        except BaseException as error:
            self.stopped(error)
            raise

    @property
    def checks(self) -> Sequence[Check]:
        """What was found last."""
        return self._checks

    def promoted(self, reason: str) -> Rollout:
        """Note that the challenger answers alone."""
        self._write(self.rollout.then("promoted", reason=reason, checks=self._checks))
        return self.rollout

    def give_up(self, reason: str) -> Rollout:
        """Have the champion answer alone, for a reason that the checks do not know."""
        return self._back("rolled_back", reason)

    def stopped(self, error: BaseException) -> None:
        """Have the champion answer alone, for the command ends here."""
        self._back("interrupted", f"the command was stopped ({type(error).__name__}); the champion answers alone")

    def _step(self, number: int, share: float) -> None:
        plan = self.rollout.plan
        self._still_ours()
        setting = Setting(
            rollout=self.rollout.id,
            step=number,
            mode=plan.mode,
            share=share,
            bundle=self._version.uri,
            digest=self._version.digest,
            version=self._version.version,
        )
        self._problems(self._replicas.turn(setting))
        self._write(self.rollout.then("step", share=share))
        what = "shadow" if plan.mode == "shadow" else f"{100 * share:g} %"
        self._tell(f"{what}: baking for {plan.bake_s:g} s")
        self._bake(number, share)
        self._write(self.rollout.then("looked", share=share, checks=self._checks))
        self._tell(f"{what}: " + ", ".join(f"{check.name} {check.verdict}" for check in self._checks))

    def _bake(self, number: int, share: float) -> None:
        plan, began = self.rollout.plan, time.monotonic()
        seen: dict[str, Tally] = {}
        shown, heard = 2 * BEAT_S, began
        self._steps.append(Step(share=share, tally=Tally()))
        while True:
            time.sleep(LOOK_S)
            found = self._replicas.status()
            heard = time.monotonic() if found else heard
            if time.monotonic() - heard > SILENT_S:
                raise Ended(f"no replica has been heard of for {SILENT_S:.0f} s")
            self._problems(found)
            if found and all(one.step != number for one in found):
                self._still_ours()
            # What a replica has counted stays counted when it is gone.
            seen |= {one.replica: one.tally for one in found if one.tally and one.step == number and self._ours(one)}
            self._steps[-1] = Step(share=share, tally=_sum(list(seen.values())))
            self._look()
            elapsed = time.monotonic() - began
            if elapsed >= plan.bake_s and self._enough():
                return
            if elapsed >= plan.bake_s * plan.judging.patience:
                raise Ended(f"undecided after {elapsed:.0f} s: {self._missing()}")
            if time.monotonic() - self._beat > BEAT_S:
                self._still_ours()
                self._write(self.rollout.beating())
            if elapsed > shown:
                shown *= 2  # a long bake has few entries
                self._write(self.rollout.then("looked", share=share, checks=self._checks))

    def _look(self) -> None:
        self._checks = self._judge.look(self._steps)
        if self._metric and self._answered() >= self.rollout.plan.judging.min_requests:
            self._checks.append(metric.check(self.rollout.plan.metric, self._metric, self._steps))
        if worse := [check for check in self._checks if check.verdict == "bad"]:
            raise Ended("; ".join(f"{check.name}: {check.reason}" for check in worse))

    def _answered(self) -> int:
        return self._steps[-1].lanes[1].requests

    def _enough(self) -> bool:
        """Whether all checks know something, and this step has seen enough requests."""
        least = self.rollout.plan.judging.min_requests
        known = all(check.verdict == "ok" for check in self._checks)
        return least == 0 or (self._answered() >= least and known)

    def _missing(self) -> str:
        least = self.rollout.plan.judging.min_requests
        open_ = [f"{c.name} {c.verdict} {c.reason}".strip() for c in self._checks if c.verdict != "ok"]
        told = f"the challenger answered {self._answered()} requests of at least {least} in this step"
        return f"{told}; {', '.join(open_)}" if open_ else told

    def _ours(self, one: Status) -> bool:
        return one.rollout == self.rollout.id

    def _problems(self, found: Sequence[Status]) -> None:
        if problem := next((one.problem for one in found if self._ours(one) and one.problem), ""):
            raise Ended(f"the challenger does not work: {problem}")
        if found and not any(self._ours(one) for one in found):
            self._still_ours()
            raise Ended("the endpoint was deployed anew meanwhile")

    def _still_ours(self) -> None:
        """Raises `Ended` when another command has ended the rollout meanwhile."""
        written = self._records.read(self.rollout.id)
        if written.status != "running":
            self.rollout = written
            raise Ended(written.reason)

    def _write(self, rollout: Rollout) -> None:
        self.rollout, self._beat = self._records.write(rollout), time.monotonic()

    def _back(self, what: Any, reason: str) -> Rollout:
        if self.rollout.status == "running":
            began = time.monotonic()
            try:
                self._replicas.turn(Setting(rollout=self.rollout.id))
            except EndpointError as error:
                reason = f"{reason}. The replicas have not confirmed it: {error}"
            took = time.monotonic() - began
            self._tell(f"the champion answers alone again after {took:.2f} s")
            self._write(self.rollout.then(what, reason=reason, checks=self._checks))
        return self.rollout


def _sum(tallies: Sequence[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.plus(tally)
    return total
