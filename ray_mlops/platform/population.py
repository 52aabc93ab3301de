"""Population based training on Ray Tune, turn by turn, with an outcome that does not depend on timing.

The members of a population fit for a turn; then the worst quarter goes on from checkpoints of the best, with other values
of the hyperparameters that may change during a fit. All of a turn is planned from the turn before, so a search that was
killed repeats its plans and replays what it has noted. Import this module only where Ray is at hand.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from ray.tune.search import Searcher

from ray_mlops.contract import Space
from ray_mlops.platform.perturbation import perturbed, successors
from ray_mlops.platform.search import Board, decoded, distribution

Planned = tuple[Mapping[str, Any], int | None]


def members(space: Space, sampler: optuna.samplers.BaseSampler, size: int) -> list[Mapping[str, Any]]:
    """Settings of the first turn: the algorithm as it is, and draws from its space."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {name: distribution(space, name) for name in space}
    return [{}, *(decoded(space, study.ask(distributions).params) for _ in range(size - 1))]


class Population(Searcher):
    """Suggests the trials of the members, at most `slots` at a time; each goes on from one of the turn before.

    `own` are the hyperparameters of the algorithm as it is, `first` the settings with which the members begin.
    """

    def __init__(
        self,
        board: Board,
        space: Space,
        own: Mapping[str, Any],
        first: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        slots: int,
    ) -> None:
        super().__init__(metric="value", mode="max")
        self._board, self._space, self._own = board, space, own
        self._seed, self._slots = seed, slots
        self._planned: list[Planned] = [(settings, None) for settings in first]
        self._turn: list[int] = []
        self._turns = 1

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while a slot or the end of the turn has to be waited for; `FINISHED` when all are over."""
        running = self._board.halving.running
        if len(running) >= self._slots or (running and not self._planned):
            return None
        if not self._planned:
            self._planned = self._next()
        if not self._planned:
            return Searcher.FINISHED
        settings, parent = self._planned.pop(0)
        told = self._board.start(trial_id, settings, parent)
        self._turn.append(told["number"])
        return told

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Note the end of a trial, however it came."""
        self._board.end(trial_id, died=error)

    def _next(self) -> list[Planned]:
        """The plan of a turn: the members whose fit is not over, the worst of them as offspring of the best."""
        records = [self._board.records[number] for number in self._turn]
        going = [record for record in records if not (record.over or record.error or record.value is None)]
        self._turn, self._turns = [], self._turns + 1
        random = np.random.default_rng((self._seed, self._turns))
        chosen = successors([record.value or 0.0 for record in going], random)
        planned: list[Planned] = []
        for member, parent in enumerate(chosen):
            settings = going[parent].settings
            if parent != member:
                settings = perturbed({**self._own, **settings}, self._space, random)
            planned.append((settings, going[parent].number))
        return planned
