"""The application without Ray: deadlines, a store that fails, and the same numbers as the batch path."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ray_mlops.errors import StorageError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online import open_store
from ray_mlops.serving.app import build_app
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.scoring import Scorer
from tests.small_model import TRANSACTIONS, bundle, example, transactions

GOOD = example(transactions())


class Slow:
    """A model that takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def predict(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return np.zeros(len(batch))

    def explain(self, batch: np.ndarray) -> np.ndarray:
        return np.zeros_like(batch)

    def save(self, path: str) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(bundle(tmp_path_factory.mktemp("model")))


def a_scorer(predictor: Predictor, folder: Path) -> Scorer:
    store = open_store(f"sqlite:///{folder}/entities.db", predictor.definition)
    return Scorer(predictor, store, Capture(str(folder / "capture"), "v1"), version="1", digest="d")


def post(scorer: Scorer, bodies: Sequence[Any], limits: Limits | None = None) -> list[httpx.Response]:
    """Answers to bodies sent one after the other to an application in this process."""
    model: Mapping[str, Any] = {"name": "small", "version": "1", "digest": "d", "example": GOOD}
    app = build_app(scorer, model, limits or Limits(), health={"status": "ok"})

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return [await client.post("/score", json=body) for body in bodies]

    return asyncio.run(send())


def test_replaying_a_table_one_by_one_gives_the_numbers_of_the_batch_path(predictor: Predictor, tmp_path: Path) -> None:
    # Without labels, as the endpoint sees it: their windows are empty on both sides.
    table = transactions(400, seed=3)
    blank = table.set_column(table.column_names.index("is_fraud"), "is_fraud", [[None] * 400])
    rows = predictor.definition.encode(predictor.definition.compute(blank.cast(table.schema)))
    answers = post(a_scorer(predictor, tmp_path), [example(table, place) for place in range(400)])
    scores = predictor.score(rows)
    np.testing.assert_allclose([answer.json()["score"] for answer in answers], scores.score, rtol=1e-6)
    np.testing.assert_allclose([answer.json()["probability"] for answer in answers], scores.probability, rtol=1e-6)


def test_a_batch_gets_the_answers_of_its_rows_sent_alone(predictor: Predictor, tmp_path: Path) -> None:
    sent = [example(transactions(), place) for place in range(20)]
    (together,) = post(a_scorer(predictor, tmp_path / "a"), [{"transactions": sent}])
    alone = post(a_scorer(predictor, tmp_path / "b"), sent)
    kept = ("id", "score", "probability", "decision", "reasons")
    assert together.json()["results"] == [{name: answer.json()[name] for name in kept} for answer in alone]


def test_features_without_windows_need_no_store(tmp_path: Path) -> None:
    definition = FeatureDefinition(data=TRANSACTIONS, inputs=("amount", "channel"), calendar=("weekday",))
    lean = Predictor.load(bundle(tmp_path, definition=definition))
    scorer = Scorer(lean, None, Capture(str(tmp_path / "capture"), "v1"), version="1", digest="d")
    (answer,) = post(scorer, [{"transaction_id": 1, "time": "2026-01-31", "amount": 700.0, "channel": "chip"}])
    assert answer.json()["decision"] == "block"


def test_a_model_that_takes_too_long_is_given_up_and_the_next_one_is_answered(
    predictor: Predictor, tmp_path: Path
) -> None:
    model = Slow(1.0)
    slow = Predictor(model, predictor.definition, predictor.calibration, predictor.thresholds)
    (late,) = post(a_scorer(slow, tmp_path), [GOOD], Limits(deadline_s=0.3))
    assert late.status_code == 503 and late.headers["retry-after"] == "1"
    assert "no answer within 0.3 s" in late.json()["error"]["message"]
    model.seconds = 0.0
    assert post(a_scorer(slow, tmp_path), [GOOD])[0].status_code == 200


def test_a_store_that_fails_is_a_503_with_the_reason(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    assert scorer.store is not None
    scorer.store.close()
    broken = Scorer(predictor, Gone(), scorer.capture, version="1", digest="d")  # pyright: ignore[reportArgumentType]
    (answer,) = post(broken, [GOOD])
    assert answer.status_code == 503 and "the disk is gone" in answer.json()["error"]["message"]


class Gone:
    """A store whose database is not there any more."""

    def observe_many(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        raise StorageError("the disk is gone")


def test_a_log_that_cannot_be_written_does_not_stop_the_answers(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    scorer.capture.close()
    (answer,) = post(scorer, [GOOD])
    assert answer.status_code == 200 and scorer.capture.dropped == 1
