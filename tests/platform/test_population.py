"""Population based training, played without Tune: plans and outcomes do not depend on timing, and survive a kill."""

import json
import random
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from ray_mlops.contract import Choice, Space, Uniform
from ray_mlops.platform.halving import Halving
from ray_mlops.platform.population import Population, members
from ray_mlops.platform.search import Board, Record, sampler

SPACE: Space = {"rate": Uniform(low=0.01, high=1.0, log=True, live=True), "shape": Choice(values=("a", "b"))}
OWN = {"rate": 0.9, "shape": "a"}
TURN, STEPS, SIZE = 2, 7, 6  # turns of 2, 2, 2 and 1 reports


def gain(settings: dict[str, Any]) -> float:
    """What a step is worth: the nearer the rate to 0.1, the more."""
    rate = settings.get("rate", OWN["rate"])
    return 1 / (1 + abs(rate - 0.1))


def lived(folder: Path, *, slots: int, seed: int, die_after: int | None = None) -> list[Record]:
    """The trials of a population in which any running trial may be the next to report; killed after so many ends."""
    luck = random.Random(seed)
    board = Board(str(folder), Halving(None), 0, lambda *told: None)
    found = Population(board, SPACE, OWN, members(SPACE, sampler("random", 3, 1), SIZE), seed=3, slots=slots)
    running: dict[str, dict[str, Any]] = {}
    started = ended = 0
    while True:
        trial = found.suggest(f"t{started}")
        if trial == Searcher.FINISHED and not running:
            return board.judged()
        if isinstance(trial, dict):
            running[f"t{started}"] = {**trial, "done": 0}
            started += 1
            assert len(running) <= slots
            continue
        name = luck.choice(list(running))
        trial = running[name]
        settings, done = json.loads(trial["settings"]), trial["before"] + trial["done"]
        result = {"seconds": 1.0, "error": "", "final": False, "over": True, "report": done + 1}
        over, pause = done == STEPS, trial["done"] == TURN
        if over or pause:
            value = board.records[trial["number"]].curve[-1]
            board.record(name, {**result, "final": True, "over": over, "value": value})
            found.on_trial_complete(name)
            del running[name]
            ended += 1
            if ended == die_after:
                return board.judged()
            continue
        before = [0.0, *board.halving.curves[trial["number"]]]
        board.record(name, {**result, "value": before[-1] + gain(settings)})
        trial["done"] += 1


def outcome(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(record.settings, record.parent, record.status, record.value, record.curve) for record in records]


def test_slots_and_speed_change_nothing(tmp_path: Path) -> None:
    reference = outcome(lived(tmp_path / "one", slots=1, seed=0))
    for seed in range(3):
        assert outcome(lived(tmp_path / f"{seed}", slots=4, seed=seed)) == reference


def test_members_fit_turn_by_turn_to_the_end(tmp_path: Path) -> None:
    records = lived(tmp_path, slots=3, seed=0)
    assert len(records) == 4 * SIZE
    assert [record.status for record in records] == ["paused"] * 3 * SIZE + ["complete"] * SIZE
    assert [len(record.curve) for record in records[::SIZE]] == [2, 4, 6, 7]
    for record in records[SIZE:]:
        assert record.parent is not None
        parent = records[record.parent]
        assert record.parent // SIZE == record.number // SIZE - 1
        assert record.curve[: len(parent.curve)] == parent.curve


def test_the_worst_go_on_from_the_best_with_a_rate_that_moved(tmp_path: Path) -> None:
    records = lived(tmp_path, slots=2, seed=0)
    first = records[:SIZE]
    best = max(first, key=lambda record: record.value or 0)
    worst = min(first, key=lambda record: record.value or 0)
    heir = records[SIZE + worst.number]
    assert heir.parent == best.number
    assert heir.settings["rate"] != best.settings["rate"]
    assert heir.settings["shape"] == best.settings["shape"]
    assert [record.parent for record in records[SIZE : 2 * SIZE]].count(best.number) == 2
    undisturbed = STEPS * gain({**OWN, **dict(worst.settings)})
    assert (records[3 * SIZE + worst.number].value or 0) > undisturbed


def test_the_journal_of_a_killed_search_holds_every_turn_that_ended(tmp_path: Path) -> None:
    whole = lived(tmp_path / "whole", slots=2, seed=0)
    lived(tmp_path / "killed", slots=2, seed=1, die_after=9)
    journal = Board(str(tmp_path / "killed"), Halving(None), 0, lambda *told: None).journal()
    assert len(journal) == 9
    again = Board(str(tmp_path / "whole"), Halving(None), 0, lambda *told: None).journal()
    assert len(again) == len(whole)
    assert all(again[key] == noted for key, noted in journal.items())
