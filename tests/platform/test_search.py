"""The search behind Tune, played without Tune: suggestions, verdicts and the journal do not depend on timing."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ray_mlops.contract import Choice, Space, Uniform
from ray_mlops.platform.halving import Halving
from ray_mlops.platform.search import Board, OptunaGenerations, Record, decoded, distribution, sampler

SPACE: Space = {
    "rate": Uniform(low=0.01, high=1.0, log=True),
    "depth": Uniform(low=2, high=9, integer=True),
    "shape": Choice(values=((8,), (16, 8))),
}
REPORTS = 6


def value_of(settings: dict[str, Any], report: int) -> float:
    """A trial's curve, as a fit would give it: a function of its settings alone."""
    rate, depth = settings.get("rate", 0.1), settings.get("depth", 6)
    return 1 - abs(rate - 0.2) - abs(depth - 5) / 20 - 0.3 / report


def searched(folder: Path, *, slots: int, seed: int, total: int = 12, kind: str = "optuna") -> list[Record]:
    """The trials of a search in which any running trial may be the next to report."""
    luck, told = random.Random(seed), []
    board = Board(str(folder), Halving(2, 3), total, lambda done, total, unit: told.append((done, total, unit)))
    suggestions = OptunaGenerations(board, SPACE, sampler(kind, 7, 4), size=4, slots=slots)
    running: dict[str, tuple[dict[str, Any], int]] = {}
    while len(board.records) < total or running:
        name = f"t{len(board.records)}"
        if len(board.records) < total and (trial := suggestions.suggest(name)):
            running[name] = (json.loads(trial["settings"]), 0)
            assert len(running) <= slots
            continue
        name = luck.choice(list(running))
        settings, done = running[name]
        final = done == REPORTS
        result = {"value": value_of(settings, min(done + 1, REPORTS)), "report": done + 1, "final": final, "over": True}
        stop = board.record(name, {**result, "seconds": 1.0, "error": ""})
        running[name] = (settings, done + 1)
        if stop or final:
            del running[name]
            suggestions.on_trial_complete(name)
    assert told[-1] == (total, total, "trials")
    return board.judged()


def outcome(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(record.settings, record.status, record.value, record.curve) for record in records]


@pytest.mark.parametrize("kind", ["optuna", "random"])
def test_slots_and_speed_change_nothing(tmp_path: Path, kind: str) -> None:
    reference = outcome(searched(tmp_path / "one", slots=1, seed=0, kind=kind))
    for seed in range(4):
        assert outcome(searched(tmp_path / f"{seed}", slots=3, seed=seed, kind=kind)) == reference


def test_the_first_trial_is_the_algorithm_as_it_is_and_some_others_are_stopped(tmp_path: Path) -> None:
    records = searched(tmp_path, slots=2, seed=0)
    assert (records[0].settings, records[0].status) == ({}, "complete")
    assert {record.status for record in records} == {"complete", "stopped"}
    assert all(set(record.settings) == set(SPACE) for record in records[1:])
    assert all((record.value is None) == (record.status == "stopped") for record in records)


def test_the_journal_holds_what_has_ended(tmp_path: Path) -> None:
    records = searched(tmp_path, slots=2, seed=0)
    journal = Board(str(tmp_path), Halving(), 1, lambda *told: None).journal()
    assert len(journal) == len(records)
    for record in records:
        noted = journal[json.dumps(record.settings, sort_keys=True)]
        assert noted["curve"][: len(record.curve)] == pytest.approx(record.curve)


def test_what_earlier_searches_found_is_tried_after_the_algorithm_as_it_is(tmp_path: Path) -> None:
    known = [{"rate": 0.2, "depth": 5, "shape": (16, 8)}, {"rate": 0.01, "depth": 9, "shape": (8,)}]
    board = Board(str(tmp_path), Halving(), 4, lambda *told: None)
    found = OptunaGenerations(board, SPACE, sampler("optuna", 7, 4), 4, 4, known)
    asked = [json.loads(found.suggest(f"t{number}")["settings"]) for number in range(4)]  # type: ignore[index]
    assert asked[0] == {}
    assert asked[1:3] == [{**settings, "shape": list(settings["shape"])} for settings in known]
    assert asked[3] not in asked[:3]


def test_the_table_of_the_trials_is_shown_as_they_report(tmp_path: Path) -> None:
    shown: list[list[tuple[str, ...]]] = []
    board = Board(str(tmp_path), Halving(), 2, lambda *told: None, lambda columns, rows: shown.append(list(rows)))
    board.start("one", {"rate": 0.1})
    result = {"value": 0.5, "report": 1, "final": False, "over": True, "seconds": 0.1, "error": ""}
    board.record("one", result)
    board.record("one", {**result, "final": True})
    board.end("one", died=False)
    assert [[row[:4] for row in rows] for rows in shown] == [
        [("0", "running", "1", "0.5000")],
        [("0", "ended", "1", "0.5000")],
    ]


def test_failed_and_dead_trials_are_tried_again(tmp_path: Path) -> None:
    board = Board(str(tmp_path), Halving(), 2, lambda *told: None)
    for name, died in (("failing", False), ("dying", True)):
        board.start(name, {"rate": 0.1 if died else 0.2})
        error = "" if died else "ValueError: no"
        board.record(name, {"value": 0.0, "report": 0, "final": False, "seconds": 0.1, "error": error})
        board.end(name, died=died)
    assert [record.status for record in board.judged()] == ["failed", "failed"]
    assert Board(str(tmp_path), Halving(), 2, lambda *told: None).journal() == {}


def test_points_become_hyperparameters() -> None:
    assert decoded(SPACE, {"rate": 0.5, "shape": 1}) == {"rate": 0.5, "shape": (16, 8)}
    assert distribution(SPACE, "rate").to_internal_repr(0.5) == 0.5
    assert distribution(SPACE, "depth").single() is False
