"""Answers when there is no time for the model: marked as such, given once, logged once, and never taken for the model's."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ray_mlops.contract import Condition, Rule
from ray_mlops.errors import EndpointError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.online import CaptureLog, catch_up
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import probe
from ray_mlops.serving.deadline import Turn
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.image_replica import prior
from ray_mlops.serving.limits import Degraded, Limits
from ray_mlops.serving.scoring import Scorer
from ray_mlops.serving.substitute import Substitute
from tests.serving import test_image_app as images
from tests.serving.access.live import live, wait_for
from tests.serving.test_app import Gone, Slow, a_scorer, an_app, captured, post
from tests.small_model import bundle, example, transactions

GOOD = example(transactions())
LARGE = {**GOOD, "transaction_id": 900_001, "amount": 900.0}
SOON = Limits(deadline_s=0.1)
AMOUNT = Rule(conditions=(Condition(column="amount", operator=">=", value=500.0),))
WINDOW = Rule(conditions=(Condition(column="customer_id_count_1d", operator=">=", value=5.0),))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def predictor(made: Bundle) -> Predictor:
    return Predictor.load(made)


def decided(made: Bundle, folder: Path, rule: Rule | None) -> Bundle:
    """The bundle with the decision for this rule."""
    (folder / "source").mkdir()
    for name in made.files:
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(made.path(name)).read_bytes())
    record = {"verdict": "use_ml", "rule": rule.model_dump(mode="json") if rule else None}
    (folder / "source" / "decision.json").write_text(json.dumps(record))
    return Bundle.write(str(folder / "source"), str(folder / "bundles"))


def slow_scorer(predictor: Predictor, folder: Path, substitute: Substitute | None, seconds: float = 0.5) -> Scorer:
    slow = replace(predictor, model=Slow(seconds))
    return replace(a_scorer(slow, folder), substitute=substitute)


def test_what_the_rule_catches_goes_to_review_and_the_rest_gets_the_score(
    made: Bundle, predictor: Predictor, tmp_path: Path
) -> None:
    substitute = Substitute.of(Degraded(score=0.01), predictor, decided(made, tmp_path, AMOUNT))
    scorer = slow_scorer(predictor, tmp_path, substitute, seconds=0.3)
    large, small = post(scorer, [LARGE, GOOD], SOON)
    assert large.status_code == small.status_code == 200
    told = large.json()
    assert (told["degraded"], told["decision"], told["score"]) == ("rule", "review", 0.3)
    assert told["reasons"] == [] and told["version"] == "1" and 0 < told["probability"] < 1
    assert (small.json()["decision"], small.json()["score"]) == ("approve", 0.01)


def test_a_rule_that_needs_a_history_is_not_asked(made: Bundle, predictor: Predictor, tmp_path: Path) -> None:
    substitute = Substitute.of(Degraded(score=0.8), predictor, decided(made, tmp_path, WINDOW))
    (answer,) = post(slow_scorer(predictor, tmp_path, substitute), [GOOD], SOON)
    told = answer.json()
    assert (told["degraded"], told["decision"], told["score"]) == ("score", "block", 0.8)


@pytest.mark.parametrize("rule", [None, AMOUNT])
def test_a_score_may_be_set_whatever_the_rule(
    made: Bundle, predictor: Predictor, tmp_path: Path, rule: Rule | None
) -> None:
    substitute = Substitute.of(Degraded(answer="score", score=0.5), predictor, decided(made, tmp_path, rule))
    (answer,) = post(slow_scorer(predictor, tmp_path, substitute), [{"transactions": [LARGE, GOOD]}], SOON)
    assert [(one["degraded"], one["decision"]) for one in answer.json()["results"]] == [("score", "review")] * 2


def test_an_error_may_be_asked_for(made: Bundle, predictor: Predictor, tmp_path: Path) -> None:
    assert Substitute.of(Degraded(answer="error"), predictor, decided(made, tmp_path, AMOUNT)) is None
    (answer,) = post(slow_scorer(predictor, tmp_path, None), [GOOD], SOON)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_an_entity_store_that_fails_does_not_fail_the_request(predictor: Predictor, tmp_path: Path) -> None:
    whole = a_scorer(predictor, tmp_path)
    broken = replace(whole, store=Gone(), substitute=Substitute(0.0))  # pyright: ignore[reportArgumentType]
    (answer,) = post(broken, [GOOD])
    assert (answer.status_code, answer.json()["degraded"]) == (200, "score")


def test_one_line_is_logged_of_a_request_though_the_model_ends_later(predictor: Predictor, tmp_path: Path) -> None:
    scorer = slow_scorer(predictor, tmp_path, Substitute(0.0), seconds=0.3)
    (answer,) = post(scorer, [GOOD], SOON)
    store = scorer.store
    assert store is not None and answer.json()["degraded"] == "score"
    wait_for(lambda: store.stats().events == 1)
    post(scorer, [LARGE], Limits(deadline_s=30))  # in the one thread of the application: the first has ended
    first, second = captured(scorer)
    assert (first["degraded"], first["inputs"]["transaction_id"]) == ("score", GOOD["transaction_id"])
    assert "features" not in first and first["request_id"] == answer.json()["request_id"]
    assert "degraded" not in second and second["features"]


def test_what_was_not_worked_for_is_in_the_history_once_the_log_has_been_read(
    predictor: Predictor, tmp_path: Path
) -> None:
    scorer = slow_scorer(predictor, tmp_path, Substitute(0.0))
    app = an_app(scorer, SOON)
    with live(app) as url, ThreadPoolExecutor(4) as threads:
        sent = [{**GOOD, "transaction_id": 10 + number} for number in range(4)]
        answers = list(threads.map(lambda body: _degraded(url, body), sent))
    assert answers == ["score"] * 4
    assert scorer.store is not None and scorer.store.stats().events < 4
    catch_up(scorer.store, CaptureLog(str(tmp_path / "capture")))
    assert scorer.store.stats().events == 4


def _degraded(url: str, body: dict[str, Any]) -> str:
    return httpx.post(f"{url}/score", json=body, timeout=30).json()["degraded"]


def test_the_deployer_takes_no_degraded_answer_for_proof(predictor: Predictor, tmp_path: Path) -> None:
    with (
        live(an_app(slow_scorer(predictor, tmp_path, Substitute(0.0)), SOON)) as url,
        pytest.raises(EndpointError, match="no time for the model"),
    ):
        probe.ask(url, GOOD, seconds=30)


def test_pictures_without_time_get_the_shares_of_training(tmp_path: Path) -> None:
    model = images.Slow(images.MEANS, 1.0)
    answerer = images.an_answerer(tmp_path, model)
    answerer.prior = np.array([0.2, 0.5, 0.3])
    model.seconds = 0.5
    both = {"json": {"images": [images.text(images.WHITE), images.text(images.BLACK)]}}
    (answer,) = images.send(answerer, [both], ImageLimits(deadline_s=0.1))
    assert answer.status_code == 200
    for told in answer.json()["results"]:
        assert (told["degraded"], told["class"], told["probability"]) == ("prior", "grey", 0.5)
    (log,) = (tmp_path / "capture").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["degraded"], line["decision"]) for line in lines] == [("prior", "grey")] * 2


def test_the_prior_is_read_from_the_lineage(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "classes.json").write_text('["a", "b", "c"]')
    for counts, expected in (({"a": 1, "b": 3}, [0.25, 0.75, 0.0]), ({}, [1 / 3] * 3)):
        (folder / "lineage.json").write_text(json.dumps({"labelled": {"train": counts}}))
        assert prior(Bundle.write(str(folder), str(tmp_path / "bundles"))).tolist() == pytest.approx(expected)


def test_of_many_threads_one_takes_the_turn() -> None:
    turn, start = Turn(), threading.Barrier(8)

    def take(_: int) -> bool:
        start.wait()
        return turn.take()

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(take, range(8))) == [False] * 7 + [True]
