"""Tune on Ray: the same winner every time, also after a kill; failures that are told; nothing against the decision."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import ray

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import Decision, Features, Run, Trials
from ray_mlops.errors import ConfigError, DecisionError, TrainingError
from ray_mlops.platform.cores import cores
from ray_mlops.platform.parts import Source
from ray_mlops.platform.search import Record
from ray_mlops.stages import features as features_stage
from ray_mlops.stages import tune
from ray_mlops.stages.tune import TuneConfig
from tests.own_algorithm import LargeAmounts
from tests.planted import FEATURES, a_run, by_many_causes, clean_table, events
from tests.stages.stepwise import Stepwise, steps

YES = Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("it pays",))
NO = Decision(uri="", fingerprint="d", verdict="no_ml", reasons=("a rule does it",))
CONFIG = TuneConfig(trials=6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Features:
    root = tmp_path_factory.mktemp("tune")
    return features_stage.run(FEATURES, a_run(root, "features"), table=clean_table(events(by_many_causes), root))


def tuned(made: Features, root: Path, algorithm: Any, config: TuneConfig = CONFIG, **other: Any) -> Trials:
    run = Run(**{**vars(a_run(root, "tune", seed=3)), **other})
    return tune.run(config, run, features=made, decision=YES, algorithm=algorithm)


def log(trials: Trials) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(trials.log).read_text().splitlines()]


def test_a_search_that_was_killed_goes_on_and_ends_the_same(made: Features, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    algorithm = Stepwise(diary=str(tmp_path))
    first = tuned(made, tmp_path, algorithm, progress=lambda *step: told.append(step))
    lines = log(first)
    assert told == [(number, 6, "trials") for number in range(1, 7)]
    assert [line["trial"] for line in lines] == list(range(6))
    assert lines[0]["settings"] == {"rate": algorithm.rate}
    assert {line["status"] for line in lines} == {"complete", "stopped"}
    best = max((line for line in lines if line["value"] is not None), key=lambda line: line["value"])
    assert (first.best, first.value, first.trials) == (best["settings"], best["value"], 6)
    assert sorted(path.name for path in Path(first.uri).iterdir()) == ["report.html", "trials", "trials.jsonl"]

    # What a kill leaves behind: the journal of the trials that had ended, here all but two, and half a Tune folder.
    for number in (2, 5):
        (Path(first.uri) / "trials" / f"{number:05d}.json").unlink()
    Path(first.log).unlink()
    (Path(first.uri) / "tune").mkdir()
    (Path(first.uri) / "tune" / "tuner.pkl").write_bytes(b"half a file")
    (tmp_path / "steps").unlink()
    again = tuned(made, tmp_path, algorithm)
    assert again == first
    for new, old in zip(log(again), lines, strict=True):
        assert {**new, "seconds": 0} == {**old, "seconds": 0}
    redone = {rate for rate, _, _ in steps(tmp_path)}
    assert redone == {f"{lines[number]['settings']['rate']:.6f}" for number in (2, 5)}


def test_a_boosting_search_ends_not_below_the_algorithm_as_it_is(made: Features, tmp_path: Path) -> None:
    algorithm = XGBoost(rounds=20)
    trials = tuned(made, tmp_path, algorithm, TuneConfig(trials=4, search="random", scheduler="none", metric="roc_auc"))
    lines = log(trials)
    assert [line["status"] for line in lines] == ["complete"] * 4
    assert trials.value == max(line["value"] for line in lines) >= lines[0]["value"]
    assert set(trials.best) == set(algorithm.space())
    assert len(lines[0]["curve"]) == 10


def test_a_population_fits_turn_by_turn_and_no_step_twice(made: Features, tmp_path: Path) -> None:
    config = TuneConfig(trials=4, scheduler="pbt", grace=5)  # Stepwise reports 12 times: turns of 5, 5 and 2
    algorithm = Stepwise(diary=str(tmp_path))
    first = tuned(made, tmp_path, algorithm, config)
    lines = log(first)
    assert [line["status"] for line in lines] == ["paused"] * 8 + ["complete"] * 4
    assert [len(line["curve"]) for line in lines] == [5] * 4 + [10] * 4 + [12] * 4
    assert first.value == max(line["value"] for line in lines[8:])
    moved = [line for line in lines[4:] if line["settings"] != lines[line["parent"]]["settings"]]
    assert len(moved) == 2
    assert len(steps(tmp_path)) == 4 * 12
    assert not (Path(first.uri) / "population").exists()


def test_a_population_needs_something_that_may_change(made: Features, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="large_amounts has no hyperparameter that may change during a fit"):
        tuned(made, tmp_path, LargeAmounts(), TuneConfig(trials=4, scheduler="pbt"))


def test_a_warm_start_tries_first_what_an_earlier_search_found(made: Features, tmp_path: Path) -> None:
    algorithm = Stepwise(diary=str(tmp_path))
    first = tuned(made, tmp_path, algorithm)
    run = Run(**{**vars(a_run(tmp_path, "second", seed=9)), "recipe": "test"})
    config = TuneConfig(trials=3, scheduler="none", search="random", warm_start=True)
    second = tune.run(config, run, features=made, decision=YES, algorithm=algorithm)
    assert [line["settings"] for line in log(second)][1] == first.best
    assert second.value >= first.value


def test_a_search_ends_with_its_time_and_keeps_what_it_found(made: Features, tmp_path: Path) -> None:
    config = TuneConfig(trials=100_000, minutes=0.1, scheduler="none", search="random")
    found = tuned(made, tmp_path, Stepwise(diary=str(tmp_path)), config)
    values = [line["value"] for line in log(found) if line["value"] is not None]
    assert len(values) < 100_000
    assert found.value == max(values)


def test_as_many_trials_run_at_once_as_there_are_cores_each_on_one(made: Features) -> None:
    """Ray counts more CPUs than there are cores, for what mostly waits; trials do not."""
    assert ray.cluster_resources()["CPU"] > cores()
    assert tune._slots() == cores()


def test_a_search_without_a_single_value_says_why(made: Features, tmp_path: Path) -> None:
    algorithm = Stepwise(fatal=2, fate="always", diary=str(tmp_path))
    with pytest.raises(TrainingError, match="none of 2 trials came to a value: ValueError: the stars were not right"):
        tuned(made, tmp_path, algorithm, TuneConfig(trials=2))


def test_no_trials_keep_the_algorithm_as_it_is(made: Features, tmp_path: Path) -> None:
    trials = tuned(made, tmp_path, XGBoost(), TuneConfig(trials=0))
    assert (trials.algorithm, trials.best, trials.trials, trials.log) == ("xgboost", {}, 0, "")
    assert not (tmp_path / "runs" / "tune").exists()


def test_nothing_starts_against_the_decision(made: Features, tmp_path: Path) -> None:
    run = a_run(tmp_path, "tune")
    with pytest.raises(DecisionError, match='a rule does it.*--override "reason"'):
        tune.run(CONFIG, run, features=made, decision=NO, algorithm=XGBoost())
    assert not (tmp_path / "runs").exists()


def test_an_override_is_recorded(made: Features, tmp_path: Path) -> None:
    run = Run(**{**vars(a_run(tmp_path, "tune")), "override": "for the demo"})
    tune.run(TuneConfig(trials=0), run, features=made, decision=NO, algorithm=XGBoost())
    assert json.loads((tmp_path / "runs" / "tune" / "override.json").read_text())["override"] == "for the demo"


def record(number: int, value: float | None, curve: list[float], error: str = "") -> Record:
    return Record(number, {}, curve, value, error=error)


def test_the_earlier_of_equals_wins_and_out_of_time_the_one_that_came_furthest() -> None:
    assert tune._best([record(0, 0.4, []), record(1, 0.5, []), record(2, 0.5, [])], CONFIG).number == 1
    assert (
        tune._best([record(0, None, [0.9]), record(1, None, [0.1, 0.2]), record(2, None, [0.1, 0.3])], CONFIG).number
        == 2
    )
    with pytest.raises(TrainingError, match="nothing was reported within 30 minutes"):
        tune._best([record(0, None, [])], CONFIG)


def test_training_rows_are_thinned_evenly_in_time(made: Features) -> None:
    source = Source.of(made)
    whole, validation = tune._parts(source, 1_000_000)
    thinned, same = tune._parts(source, 1000)
    assert len(whole.labels) == made.rows["train"]
    assert len(thinned.labels) == 1000
    assert len(same.labels) == len(validation.labels) == made.rows["validation"]
    assert math.isclose(thinned.features.mean(), whole.features.mean(), rel_tol=0.1)
