"""Train on Ray: the same model as in one process, on one worker or several, through failures, for anyone's algorithm."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from pydantic import ValidationError

from ray_mlops.algorithms import describe, restore
from ray_mlops.algorithms.boosting import LightGBM, XGBoost
from ray_mlops.algorithms.mlp import MLP
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Algorithm, Data, Decision, Features, Trained, Trials
from ray_mlops.errors import ConfigError, DataError, DecisionError, TrainingError
from ray_mlops.platform.parts import Source
from ray_mlops.stages import features as features_stage
from ray_mlops.stages import train
from ray_mlops.stages.train import TrainConfig, fits_here, placement
from tests.own_algorithm import LargeAmounts
from tests.planted import FEATURES, a_run, by_many_causes, clean_table, events
from tests.stages.row_noter import RowNoter
from tests.stages.stepwise import Stepwise, steps

YES = Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("it pays",))
NO = Decision(uri="", fingerprint="d", verdict="no_ml", reasons=("a rule does it",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Features:
    root = tmp_path_factory.mktemp("train")
    return features_stage.run(FEATURES, a_run(root, "features"), table=clean_table(events(by_many_causes), root))


def data_of(made: Features) -> Data:
    source = Source.of(made)
    return Data(source.read("train"), source.read("validation"), made.names)


def trained(
    made: Features, root: Path, algorithm: Algorithm, config: TrainConfig | None = None, **other: Any
) -> Trained:
    given = {"features": made, "decision": YES, "algorithm": algorithm, **other}
    return train.run(config or TrainConfig(), a_run(root, "train", seed=3), **given)


def scores(result: Trained, algorithm: Algorithm, made: Features) -> np.ndarray:
    return algorithm.load(f"{result.uri}/model").predict(data_of(made).validation.arrays()[0])


@pytest.mark.parametrize("in_process_rows", [0, 500_000])
def test_one_worker_ends_with_the_model_of_a_plain_fit(in_process_rows: int, made: Features, tmp_path: Path) -> None:
    algorithm = XGBoost(rounds=20, subsample=0.8)
    result = trained(made, tmp_path, algorithm, TrainConfig(in_process_rows=in_process_rows))
    plain = algorithm.fit(data_of(made), LocalWorker(seed=3))
    batch, labels = data_of(made).validation.arrays()
    assert np.array_equal(scores(result, algorithm, made), plain.predict(batch))
    assert result.metrics == pytest.approx(validation_metrics(labels, plain.predict(batch)))
    assert (result.workers, result.rows) == (1, made.rows["train"])
    assert restore(result.algorithm) == algorithm
    assert [path.name for path in Path(result.uri).iterdir()] == ["model"]


@pytest.mark.parametrize(
    "algorithm",
    [XGBoost(rounds=20), LightGBM(rounds=20), MLP(hidden=(16,), epochs=4)],
    ids=lambda algorithm: algorithm.kind,
)
def test_two_workers_end_with_a_model_as_good(algorithm: Any, made: Features, tmp_path: Path) -> None:
    result = trained(made, tmp_path, algorithm, TrainConfig(workers=2))
    batch, labels = data_of(made).validation.arrays()
    plain = validation_metrics(labels, algorithm.fit(data_of(made), LocalWorker(seed=3)).predict(batch))
    assert result.metrics == pytest.approx(plain, abs=0.03)
    assert validation_metrics(labels, scores(result, algorithm, made)) == pytest.approx(result.metrics)


def test_a_users_own_algorithm_travels_by_value(made: Features, tmp_path: Path) -> None:
    tuned = Trials(
        uri="", fingerprint="t", algorithm="large_amounts", best={"steepness": 4.0}, value=0.5, trials=3, log=""
    )
    result = trained(made, tmp_path, LargeAmounts(), trials=tuned)
    assert result.algorithm == describe(LargeAmounts(steepness=4.0))
    plain = LargeAmounts(steepness=4.0).fit(data_of(made), LocalWorker())
    assert np.array_equal(scores(result, LargeAmounts(), made), plain.predict(data_of(made).validation.arrays()[0]))


def test_a_killed_worker_is_replaced_and_goes_on_from_its_checkpoint(made: Features, tmp_path: Path) -> None:
    algorithm = Stepwise(fatal=7, fate="kill", diary=str(tmp_path))
    result = trained(made, tmp_path, algorithm, TrainConfig(checkpoint_seconds=0, in_process_rows=0))
    done = [(step, way) for _, step, way in steps(tmp_path)]
    again = done[8][0]  # the last checkpoint that had been committed when the worker died
    assert 0 < again <= 7
    assert done == [*((step, "fresh") for step in range(8)), *((step, "resumed") for step in range(again, 12))]
    (tmp_path / "undisturbed").mkdir()
    plain = Stepwise(diary=str(tmp_path / "undisturbed")).fit(data_of(made), LocalWorker())
    assert algorithm.load(f"{result.uri}/model").weights == plain.weights


@pytest.mark.parametrize("in_process_rows", [0, 500_000])
def test_a_failed_attempt_says_why_and_the_next_goes_on_from_its_checkpoint(
    in_process_rows: int, made: Features, tmp_path: Path
) -> None:
    algorithm = Stepwise(fatal=5, fate="raise", diary=str(tmp_path))
    config = TrainConfig(checkpoint_seconds=0, retries=0, in_process_rows=in_process_rows)
    with pytest.raises(TrainingError, match="worker 0 of 1: .*the stars were not right"):
        trained(made, tmp_path, algorithm, config)
    assert not (tmp_path / "runs" / "train" / "model").exists()
    result = trained(made, tmp_path, algorithm, config)
    again = [step for _, step, way in steps(tmp_path) if way == "resumed"]
    assert again == list(range(again[0], 12))
    assert 0 < again[0] <= 5
    assert [path.name for path in Path(result.uri).iterdir()] == ["model"]


def test_the_best_checkpoints_stay_beside_the_model(made: Features, tmp_path: Path) -> None:
    algorithm = Stepwise(diary=str(tmp_path))
    result = trained(made, tmp_path, algorithm, TrainConfig(checkpoints=2))
    kept = {Path(folder).name: score for folder, score in result.checkpoints.items()}
    assert list(kept) == ["0", "1"]
    assert kept["0"] >= kept["1"]
    curve = []
    for done in range(1, 13):
        model = Stepwise(steps=done, diary=str(tmp_path)).fit(data_of(made), LocalWorker())
        features, labels = data_of(made).train.arrays()
        curve.append(float(np.corrcoef(labels, model.predict(features))[0, 1]))
    assert list(kept.values()) == pytest.approx(sorted(curve, reverse=True)[:2])
    best = algorithm.load(next(iter(result.checkpoints)))
    assert best.done == 1 + int(np.argmax(curve))


def test_what_a_fit_took_is_recorded(made: Features, tmp_path: Path) -> None:
    took = trained(made, tmp_path, XGBoost(rounds=20), TrainConfig(cost_per_hour=3.6)).performance
    assert took["start_up_s"] > 0
    assert took["fit_s"] == took["compute_s"] > took["data_wait_s"] == 0
    assert took["samples_per_second"] * took["fit_s"] == pytest.approx(made.rows["train"])
    assert took["worker_seconds_per_1000"] == pytest.approx(1000 / took["samples_per_second"])
    assert took["cost_per_1000"] == pytest.approx(took["worker_seconds_per_1000"] / 1000)
    assert took["memory_mb"] > 50


def test_an_elastic_fit_takes_the_workers_there_is_room_for(made: Features, tmp_path: Path) -> None:
    # Ray keeps what was reserved for a fit for three minutes when its command was killed, as tests before do; an elastic fit
    # starts with what is not reserved.
    with suppress(ValueError):  # no fit has reserved anything yet
        kept = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
        ray.get(kept.__ray_call__.remote(lambda self: [self.cancel_request(run) for run in list(self._ongoing_reqs)]))
    whole = ray.cluster_resources()["CPU"]
    config = TrainConfig(workers=(1, 3), cpus_per_worker=whole / 2)
    result = trained(made, tmp_path, MLP(hidden=(16,), epochs=4), config)
    assert result.workers == 2
    plain = MLP(hidden=(16,), epochs=4).fit(data_of(made), LocalWorker(seed=3))
    batch, labels = data_of(made).validation.arrays()
    assert result.metrics == pytest.approx(validation_metrics(labels, plain.predict(batch)), abs=0.03)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_brings_every_row_once_an_epoch(workers: int, made: Features, tmp_path: Path) -> None:
    trained(made, tmp_path, RowNoter(diary=str(tmp_path)), TrainConfig(workers=workers, stream=True))
    whole = data_of(made).train.arrays()[0]
    for epoch in range(2):
        shares = [np.load(tmp_path / f"{epoch}-{rank}.npy") for rank in range(workers)]
        assert all(len(share) for share in shares)
        assert in_order(np.concatenate(shares)) == in_order(whole)


def in_order(rows: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(map(tuple, np.nan_to_num(rows, nan=-1.0).tolist()))


@pytest.mark.parametrize(
    ("config", "rows", "gpu", "here"),
    [
        (TrainConfig(), 500_000, False, True),
        (TrainConfig(), 500_001, False, False),
        (TrainConfig(), 10, True, False),
        (TrainConfig(stream=True), 10, False, False),
        (TrainConfig(checkpoints=1), 10, False, False),
    ],
)
def test_a_small_fit_needs_no_worker(config: TrainConfig, rows: int, gpu: bool, here: bool) -> None:
    assert fits_here(config, rows, gpu=gpu) is here


def test_nothing_starts_against_the_decision(made: Features, tmp_path: Path) -> None:
    with pytest.raises(DecisionError, match='a rule does it.*--override "reason"'):
        trained(made, tmp_path, XGBoost(), decision=NO)
    assert not (tmp_path / "runs").exists()


def test_labels_of_one_class_are_refused_before_anything_starts(made: Features, tmp_path: Path) -> None:
    lonely = made.model_copy(update={"positives": {**made.positives, "train": 0}})
    with pytest.raises(DataError, match="train part has .* both classes are needed"):
        trained(lonely, tmp_path, XGBoost())


def test_a_gpu_that_no_node_has_is_said_at_once(made: Features, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match="can never start: there is room for 0 of 1 x .*1 GPU; the largest node has"
    ):
        trained(made, tmp_path, XGBoost(rounds=2), TrainConfig(gpu=True))


def test_workers_that_cannot_meet_are_refused(made: Features, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backend 'none'.*--train.workers 1"):
        trained(made, tmp_path, LargeAmounts(), TrainConfig(workers=2))


@pytest.mark.parametrize(
    ("config", "backend", "cluster", "gpu", "cpus"),
    [
        (TrainConfig(), "torch", {"CPU": 4}, False, 1.0),
        (TrainConfig(), "torch", {"CPU": 4, "GPU": 1}, True, 1.0),
        (TrainConfig(), "lightgbm", {"CPU": 4, "GPU": 1}, False, 1.0),
        (TrainConfig(workers=2), "torch", {"CPU": 4, "GPU": 1}, False, 1.0),
        (TrainConfig(workers=2, gpu=True), "torch", {"CPU": 4, "GPU": 1}, True, 1.0),
        (TrainConfig(gpu=False), "torch", {"CPU": 4, "GPU": 8}, False, 1.0),
        (TrainConfig(workers=8), "xgboost", {"CPU": 4}, False, 0.5),
        (TrainConfig(workers=2, cpus_per_worker=16), "xgboost", {"CPU": 64}, False, 16),
        (TrainConfig(workers=(1, 4)), "torch", {"CPU": 4}, False, 1.0),
        (TrainConfig(workers=(2, 8)), "torch", {"CPU": 4, "GPU": 2}, True, 1.0),
        (TrainConfig(workers=2, stream=True), "torch", {"CPU": 2}, False, 0.5),
        (TrainConfig(workers=(1, 4), stream=True), "torch", {"CPU": 4}, False, 0.75),
    ],
)
def test_gpus_are_used_where_there_are_enough_of_them(
    config: TrainConfig, backend: Any, cluster: dict[str, float], gpu: bool, cpus: float
) -> None:
    found = placement(config, backend, cluster)
    assert found["num_workers"] == config.workers
    assert found["use_gpu"] is gpu
    assert found["resources_per_worker"] == {"CPU": cpus, **({"GPU": 1.0} if gpu else {})}


@pytest.mark.parametrize("workers", [0, (0, 2), (3, 2)])
def test_a_span_of_workers_begins_with_one_and_does_not_run_backwards(workers: Any) -> None:
    with pytest.raises(ValidationError, match="the least and the most of them"):
        TrainConfig(workers=workers)
