"""The application without Ray: deadlines, a store that fails, and the same numbers as the batch path."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from ray_mlops.errors import StorageError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online import CaptureLog, catch_up, open_store
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


def post(
    scorer: Scorer, bodies: Sequence[Any], limits: Limits | None = None, path: str = "/score"
) -> list[httpx.Response]:
    """Answers to bodies sent one after the other to an application in this process."""
    app = an_app(scorer, limits)

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return [await client.post(path, json=body) for body in bodies]

    return asyncio.run(send())


def an_app(scorer: Scorer, limits: Limits | None = None) -> FastAPI:
    model: Mapping[str, Any] = {"name": "small", "version": "1", "digest": "d", "example": GOOD}
    return build_app(scorer, model, limits or Limits(), health={"status": "ok"})


def stats(scorer: Scorer) -> dict[str, Any]:
    """What `GET /stats` tells of the store."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(an_app(scorer)), base_url="http://here") as client:
            return await client.get("/stats")

    answer = asyncio.run(ask())
    told = answer.json()
    assert answer.status_code == 200 and set(told.pop("capture")) == {"written", "dropped", "skipped", "late"}
    return told


def captured(scorer: Scorer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in scorer.capture.path.read_text().splitlines()]


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


def test_delayed_labels_change_the_features_of_what_comes_later(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    sent = [{**GOOD, "transaction_id": n, "terminal_id": "t77", "time": "2026-01-31T12:00:00Z"} for n in range(4)]
    post(scorer, sent)
    labels = [{"transaction_id": n, "is_fraud": int(n == 0)} for n in range(4)]
    one, batch = post(scorer, [labels[0], {"labels": labels}], path="/labels")
    assert one.json().keys() == {"recorded", "waiting", "request_id"}
    assert (one.json()["recorded"], batch.json()["recorded"]) == (1, 4)
    assert one.json()["waiting"] == batch.json()["waiting"] == []
    later = {5: "2026-02-06T13:00:00Z", 6: "2026-02-07T13:00:00Z"}
    post(scorer, [{**sent[0], "transaction_id": id, "time": time} for id, time in later.items()])
    rates = [line["features"]["terminal_id_mean_is_fraud_7d"] for line in captured(scorer)[-2:]]
    assert rates == [0.0, 0.25]  # they count after the delay of seven days
    assert scorer.stats().labels == 4


def test_labels_sent_again_change_nothing_and_another_value_corrects(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    post(scorer, [{**GOOD, "terminal_id": "t77"}])
    label = {"transaction_id": GOOD["transaction_id"], "is_fraud": 1}
    again = {**GOOD, "transaction_id": 5, "terminal_id": "t77", "time": "2026-02-07T13:00:00Z"}
    post(scorer, [label, label], path="/labels")
    assert scorer.store is not None
    assert scorer.store.peek(again)["terminal_id_mean_is_fraud_7d"] == 1.0
    post(scorer, [{**label, "is_fraud": 0}], path="/labels")
    assert scorer.store.peek(again)["terminal_id_mean_is_fraud_7d"] == 0.0
    assert scorer.stats().labels == 1


def test_a_label_of_an_unknown_transaction_waits_for_it_and_is_told(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    unknown = {"labels": [{"transaction_id": 123_456, "is_fraud": 1}, {"transaction_id": 7, "is_fraud": 0}]}
    first, second = post(scorer, [unknown, unknown], path="/labels")
    assert first.status_code == 200 and first.json()["waiting"] == second.json()["waiting"] == [123_456, 7]
    assert (stats(scorer)["labels"], stats(scorer)["waiting"]) == (0, 2)
    post(scorer, [{**GOOD, "transaction_id": 7}])
    assert (stats(scorer)["labels"], stats(scorer)["waiting"]) == (1, 1)


def test_labels_are_logged_so_that_a_restored_store_can_catch_up(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    post(scorer, [GOOD])
    (answer,) = post(scorer, [{"transaction_id": GOOD["transaction_id"], "is_fraud": 1}], path="/labels")
    line = captured(scorer)[-1]
    assert line.keys() == {"kind", "time", "request_id", "version", "digest", "id", "label", "label_time"}
    assert (line["kind"], line["id"], line["label"]) == ("label", GOOD["transaction_id"], 1)
    assert line["request_id"] == answer.json()["request_id"]
    restored = open_store(f"sqlite:///{tmp_path}/restored.db", predictor.definition)
    assert catch_up(restored, CaptureLog(str(scorer.capture.path.parent))) == 1
    assert (restored.stats().events, restored.stats().labels) == (1, 1)
    restored.close()


def test_a_bad_label_is_named(predictor: Predictor, tmp_path: Path) -> None:
    (answer,) = post(a_scorer(predictor, tmp_path), [{"transaction_id": 1, "is_fraud": 3}], path="/labels")
    assert answer.status_code == 422 and answer.json()["error"]["problems"][0]["field"] == "is_fraud"


def test_stats_count_retries_and_what_came_late_and_weigh_the_state(predictor: Predictor, tmp_path: Path) -> None:
    scorer = a_scorer(predictor, tmp_path)
    assert set(stats(scorer).values()) == {0}
    noon = [{**GOOD, "transaction_id": n, "time": f"2026-01-31T12:00:0{n}Z"} for n in range(3)]
    late = {**GOOD, "transaction_id": 8, "time": "2026-01-31T11:00:00Z"}
    expired = {**GOOD, "transaction_id": 9, "time": "2020-01-01T00:00:00Z"}
    post(scorer, [*noon, noon[0], late, expired])
    told = stats(scorer)
    assert (told["events"], told["duplicates"], told["late"], told["expired"]) == (5, 1, 2, 1)
    assert (told["entities"], told["records"]) == (2, 5) and 100 < told["bytes"] < 2_000


def test_json_that_nests_deep_is_refused_before_it_is_parsed(predictor: Predictor, tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    scorer = a_scorer(predictor, tmp_path)
    for path in ("/score", "/labels"):
        (answer,) = post(scorer, [{**GOOD, "note": deep}], path=path)
        assert answer.status_code == 400 and "nests deeper than 32 levels" in answer.json()["error"]["message"]


def test_what_the_store_cannot_read_is_a_refusal(predictor: Predictor, tmp_path: Path) -> None:
    (answer,) = post(a_scorer(predictor, tmp_path), [{**GOOD, "transaction_id": -(2**63)}])
    assert answer.status_code == 422 and "transaction_id" in answer.json()["error"]["message"]


def test_features_without_windows_need_no_store(tmp_path: Path) -> None:
    definition = FeatureDefinition(data=TRANSACTIONS, inputs=("amount", "channel"), calendar=("weekday",))
    lean = Predictor.load(bundle(tmp_path, definition=definition))
    scorer = Scorer(lean, None, Capture(str(tmp_path / "capture"), "v1"), version="1", digest="d")
    (answer,) = post(scorer, [{"transaction_id": 1, "time": "2026-01-31", "amount": 700.0, "channel": "chip"}])
    assert answer.json()["decision"] == "block"
    (answer,) = post(scorer, [{"transaction_id": 1, "is_fraud": 1}], path="/labels")
    assert (answer.json()["recorded"], answer.json()["waiting"]) == (1, [])
    assert captured(scorer)[-1]["label"] == 1 and set(stats(scorer).values()) == {0}


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
    assert answer.status_code == 200 and scorer.capture.counts()["dropped"] == 1
