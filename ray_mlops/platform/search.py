"""A search on Ray Tune whose result does not depend on timing: what Tune needs of ours, and what we note of it.

Trial 0 takes the algorithm as it is, so that a search never ends below it. The others are suggested by Optuna, a
generation at a time: all trials of a generation are suggested from the results of the generations before. Every trial
that ends is noted in a file of its own; a search that is started again replays what it finds there instead of fitting,
and so goes on where it was killed, whatever Tune itself still knew. Import this module only where Ray is at hand.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ray_mlops.contract import Choice, Progress, Show, Space, show_nothing
from ray_mlops.platform import files
from ray_mlops.platform.halving import Halving
from ray_mlops.platform.standings import COLUMNS, standings
from ray_mlops.platform.studies import place_of

JOURNAL = "trials"


@dataclass
class Record:
    """One trial: `curve` are the values it reported, `value` that of its model, None unless it ran to the end.

    A trial of a population goes on from `parent`, whose values its curve begins with, and runs to the end of a turn; its
    fit is `over` or not.
    """

    number: int
    settings: Mapping[str, Any]
    curve: list[float] = field(default_factory=list)
    value: float | None = None
    status: str = "running"
    error: str = ""
    seconds: float = 0.0
    parent: int | None = None
    over: bool = True


def key_of(settings: Mapping[str, Any], parent: int | None) -> str:
    """What a trial is: its settings, and the trial that it goes on from."""
    return json.dumps(settings, sort_keys=True) + ("" if parent is None else f" from {parent}")


class Board:
    """All that is known of the trials of one search, in the driver."""

    def __init__(self, uri: str, halving: Halving, total: int, progress: Progress, show: Show = show_nothing) -> None:
        self.records: list[Record] = []
        self.halving = halving
        self._uri, self._total, self._progress, self._show = files.join(uri, JOURNAL), total, progress, show
        self._numbers: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher now and then, but what has to outlive this process is in the journal."""
        return {}

    def journal(self) -> dict[str, dict[str, Any]]:
        """The records that an earlier, killed attempt left, by what was tried (`key_of`)."""
        names = [name for name in files.listing(self._uri) if name.endswith(".json")]
        found = [files.read_json(files.join(self._uri, name)) for name in names]
        return {key_of(record["settings"], record["parent"]): record for record in found if not record["error"]}

    def start(self, trial_id: str, settings: Mapping[str, Any], parent: int | None = None) -> dict[str, Any]:
        """Note a new trial, perhaps one that goes on from another; what the process that fits it has to know."""
        before = [] if parent is None else self.halving.curves[parent]
        record = Record(self.halving.start(before), settings, parent=parent)
        self._numbers[trial_id] = record.number
        self.records.append(record)
        told = {"number": record.number, "settings": json.dumps(settings, sort_keys=True), "before": len(before)}
        return {**told, "key": key_of(settings, parent), "parent": parent}

    def record(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Note what a trial reported; whether it has to stop here."""
        record = self.records[self._numbers[trial_id]]
        record.seconds, record.error = result["seconds"], result["error"]
        if result["final"]:
            record.value, record.over = result["value"], result["over"]
        elif not record.error:
            self.halving.record(record.number, result["report"], result["value"])
            self._tell()
        return self.halving.stopped_after(record.number) is not None

    def end(self, trial_id: str, *, died: bool) -> None:
        """Note that a trial is over, and write it down."""
        record = self.records[self._numbers[trial_id]]
        self.halving.end(record.number)
        record.curve = self.halving.curves[record.number]
        if died:
            record.error = "the process of the trial died"
        if record.error or record.value is not None or self.halving.stopped_after(record.number):
            files.write_json(files.join(self._uri, f"{record.number:05d}.json"), asdict(record))
        self._progress(len(self.records) - len(self.halving.running), self._total, "trials")
        self._tell()

    def _tell(self) -> None:
        for record in self.records:
            record.curve = self.halving.curves[record.number]
        self._show(COLUMNS, standings(self.records, self.halving.running))

    def judged(self) -> list[Record]:
        """All trials with their verdicts: `complete`, `paused` (at the end of a turn), `stopped` (by halving), `failed`
        or `unfinished` (out of time).

        The value of a stopped trial is dropped and its curve cut off where it was stopped, so that no trace is left of
        reports that only came because the verdict was late.
        """
        for record in self.records:
            stopped = self.halving.stopped_after(record.number)
            record.curve = self.halving.curves[record.number][:stopped]
            record.value = None if stopped else record.value
            ended = "complete" if record.over else "paused"
            done = ended if record.value is not None else "unfinished"
            record.status = "failed" if record.error else "stopped" if stopped else done
        return self.records


class OptunaGenerations(Searcher):
    """Suggests trials from an Optuna study, generation by generation, at most `slots` at a time.

    After the algorithm as it is come the settings that earlier searches found (`known`).
    """

    def __init__(
        self,
        board: Board,
        space: Space,
        sampler: optuna.samplers.BaseSampler,
        size: int,
        slots: int,
        known: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(metric="value", mode="max")
        self._board, self._space, self._size, self._slots = board, space, size, slots
        self._distributions = {name: distribution(space, name) for name in space}
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        for settings in known:
            self._study.enqueue_trial(encoded(space, settings))
        self._asked: dict[int, optuna.Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial; None while a slot or the end of the generation has to be waited for."""
        number, running = len(self._board.records), len(self._board.halving.running)
        if running >= self._slots or (running and number % self._size == 0):
            return None
        return self._board.start(trial_id, self._ask(number) if number else {})

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Note the end of a trial, however it came."""
        self._board.end(trial_id, died=error)

    def _ask(self, number: int) -> dict[str, Any]:
        if number % self._size == 0:
            records = self._board.judged()
            for earlier, trial in sorted(self._asked.items()):
                value = records[earlier].value
                state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
                self._study.tell(trial, value, state=state)
            self._asked.clear()
        self._asked[number] = self._study.ask(self._distributions)
        return decoded(self._space, self._asked[number].params)


class HalvingScheduler(FIFOScheduler):
    """Starts trials in turn and stops those that the board's halving has given up."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        """Stop or continue after a report."""
        return TrialScheduler.STOP if self._board.record(trial.trial_id, result) else TrialScheduler.CONTINUE


def distribution(space: Space, name: str) -> optuna.distributions.BaseDistribution:
    """Optuna's distribution of one hyperparameter; a choice is searched by the position of its value."""
    spread = space[name]
    if isinstance(spread, Choice):
        return CategoricalDistribution(range(len(spread.values)))
    if spread.integer:
        return IntDistribution(int(spread.low), int(spread.high), log=spread.log)
    return FloatDistribution(spread.low, spread.high, log=spread.log)


def decoded(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters at a point of Optuna's."""
    spreads = {name: space[name] for name in point}
    return {
        name: spread.values[point[name]] if isinstance(spread, Choice) else point[name]
        for name, spread in spreads.items()
    }


def encoded(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The point of Optuna's at which these hyperparameters are."""
    spreads = {name: space[name] for name in settings}
    return {
        name: place_of(spread, settings[name]) if isinstance(spread, Choice) else settings[name]
        for name, spread in spreads.items()
    }


def sampler(search: str, seed: int, startup: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler: `random`, or `optuna`, its tree-structured Parzen estimator after `startup` random trials."""
    if search == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)


def silence() -> None:
    """Turn off what Tune would print, log and write beside our journal."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # Tune would swallow the first Ctrl-C and return what it has.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
