"""From requests over HTTP to a verdict: real replicas, without Ray's processes, and the stage that judges what they counted."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.history import History
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.image_replica import ImageReplica
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Replica, Settings
from ray_mlops.serving.watching import Watching
from ray_mlops.stages import monitor
from ray_mlops.stages.monitor import MonitorConfig
from tests.serving.protocols.served import on_loopback
from tests.small_images import digits, featured, fitted, judged, registered
from tests.small_model import bundle, example, transactions
from tests.vision.pictures import encoded

QUICK = Watching(flush_s=0.05)
TABLE = transactions(2_000)


class Monitored(NamedTuple):
    """The addresses of two replicas of an endpoint, and what judges them."""

    urls: list[str]
    run: Run
    endpoint: Endpoint
    version: ModelVersion

    def told(self, config: MonitorConfig | None = None) -> dict[str, Any]:
        """What `monitor` writes."""
        monitor.run(config or MonitorConfig(), self.run, endpoint=self.endpoint, version=self.version)
        return json.loads(Path(self.run.uri, "monitor.json").read_text())

    def counted(self) -> tuple[int, ...]:
        return History(self.endpoint.monitoring, self.version.digest).counted()

    def wait(self, requests: int) -> None:
        """Until so many requests are counted."""
        while sum(self.counted()) < requests:
            pass


def monitored(folder: Path, made: Bundle, replicas: list[Any], stack: ExitStack) -> Monitored:
    urls = []
    for replica in replicas:
        stack.callback(replica.close)
        urls.append(stack.enter_context(on_loopback(replica.__serve_build_asgi_app__())))
    place = {"capture": str(folder / "capture"), "monitoring": str(folder / "monitoring")}
    return Monitored(
        urls,
        Run(root=str(folder), id="r", recipe="small", uri=str(folder / "verdict"), fingerprint="m"),
        Endpoint(uri="", fingerprint="f", name="small", url="", version="1", digest=made.digest, **place),
        ModelVersion(uri=made.uri, fingerprint="f", name="small", version="1", digest=made.digest),
    )


def settings(folder: Path, made: Bundle) -> dict[str, Any]:
    return {
        "name": "small",
        "bundle": made.uri,
        "digest": made.digest,
        "version": "1",
        "capture": str(folder / "capture"),
        "monitoring": str(folder / "monitoring"),
        "watching": QUICK.model_dump(),
    }


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Monitored]:
    made = bundle(tmp_path)
    given = Settings(**settings(tmp_path, made), store=f"sqlite:///{tmp_path}/entities.db", limits=Limits())
    with ExitStack() as stack:
        yield monitored(tmp_path, made, [Replica(given.model_dump(mode="json")) for _ in range(2)], stack)


def test_what_two_replicas_answer_is_counted_once_and_judged(small: Monitored) -> None:
    sent = [example(TABLE, place) for place in range(600)]
    for start in range(0, 600, 50):
        url = small.urls[start // 50 % 2]
        assert httpx.post(f"{url}/score", json={"transactions": sent[start : start + 50]}).status_code == 200
    one = httpx.post(f"{small.urls[0]}/score?reasons=0", json={**sent[0], "transaction_id": 900_000})
    assert one.status_code == 200
    assert httpx.post(f"{small.urls[1]}/score", json={"amount": "much"}).status_code == 422
    small.wait(602)
    assert small.counted() == (601, 0, 1)
    scraped = [httpx.get(f"{url}/metrics").text for url in small.urls]
    assert scraped[0] == scraped[1] and 'outcome="answered",version="1"} 601.0' in scraped[0]
    told = small.told()
    assert (told["requests"], told["refused"], told["degraded"]) == (601, 1, 0)
    assert {row["monitor"] for row in told["readings"]} >= {"data quality", "data drift"}
    assert not [
        row for row in told["readings"] if row["name"] in ("feature amount", "amount missing") and row["exceeds"]
    ]


def test_amounts_that_moved_and_a_category_never_seen_are_alarms(small: Monitored) -> None:
    sent = [{**example(TABLE, place), "channel": "chip"} for place in range(400)]
    sent = [{**one, "amount": one["amount"] * 8} for one in sent]
    for start in range(0, 400, 50):
        assert httpx.post(f"{small.urls[0]}/score", json={"transactions": sent[start : start + 50]}).status_code == 200
    small.wait(400)
    told = small.told()
    assert told["status"] == "alarm"
    assert any("feature amount" in alarm for alarm in told["alarms"])
    assert any("feature channel=chip" in alarm for alarm in told["alarms"])


def test_labels_that_come_later_tell_how_good_the_answers_were(small: Monitored) -> None:
    labels = TABLE["is_fraud"].to_pylist()[:600]
    for start in range(0, 600, 50):
        part = [example(TABLE, place) for place in range(start, start + 50)]
        assert httpx.post(f"{small.urls[0]}/score", json={"transactions": part}).status_code == 200
        came = [{"transaction_id": place, "is_fraud": labels[place]} for place in range(start, start + 50)]
        assert httpx.post(f"{small.urls[1]}/labels", json={"labels": came}).status_code == 200
    small.wait(600)
    told = small.told()
    (row,) = told["quality"]
    assert (row["labelled"], row["positives"]) == (600, sum(labels)) and row["best_constant"] == sum(labels) / 600
    assert row["average_precision"] > 0.5 and told["tested"]["average_precision"] == 0.9
    assert "AP at the test" in Path(small.run.uri, "report.html").read_text()


class Digits(NamedTuple):
    """An endpoint for pictures of digits, and how many tests have asked it until now."""

    monitored: Monitored
    pictures: list[bytes]
    labels: list[str]

    def ask(self, places: Sequence[int], name: str) -> list[str]:
        """The class of each picture, sent 20 at a time in requests called `name`-0, `name`-1, ..."""
        told = []
        for number, start in enumerate(range(0, len(places), 20)):
            files = [("image", ("a.png", self.pictures[place], "image/png")) for place in places[start : start + 20]]
            headers = {"x-request-id": f"{name}-{number}"}
            answer = httpx.post(f"{self.monitored.urls[0]}/predict", files=files, headers=headers, timeout=60)
            told += [one["class"] for one in answer.json()["results"]]
        return told

    def label(self, names: Sequence[str], name: str) -> None:
        """Bring the class of each of the pictures that were sent as `name`."""
        labels = [
            {"request_id": f"{name}-{place // 20}", "picture": place % 20, "class": label}
            for place, label in enumerate(names)
        ]
        answer = httpx.post(f"{self.monitored.urls[0]}/labels", json={"labels": labels})
        assert answer.json()["recorded"] == len(names), answer.text


@pytest.fixture
def pictured(tmp_path: Path) -> Iterator[Digits]:
    made = featured(tmp_path)
    trained = fitted(tmp_path, made)
    version = registered(tmp_path, made, trained, judged(tmp_path, made, trained))
    found, table = Bundle.load(version.uri), digits()
    given = {**settings(tmp_path, found), "limits": ImageLimits().model_dump(mode="json")}
    with ExitStack() as stack:
        small = monitored(tmp_path, found, [ImageReplica(given)], stack)
        yield Digits(small, table["image"].to_pylist(), table["label"].to_pylist())


def test_labels_of_pictures_tell_how_good_the_answers_were(pictured: Digits) -> None:
    small, places = pictured.monitored, range(240)
    told = pictured.ask(places, "good")
    pictured.label(pictured.labels[:240], "good")
    small.wait(240)
    found = small.told()
    (row,) = found["quality"]
    assert (row["answers"], row["labelled"]) == (240, 240)
    right = [one == label for one, label in zip(told, pictured.labels, strict=False)]
    assert row["accuracy"] == sum(right) / 240 > 0.8 and row["best_constant"] < 0.2
    assert found["tested"]["accuracy"] > 0.8 and "top-1" in Path(small.run.uri, "report.html").read_text()
    quality = next(one for one in found["readings"] if one["monitor"] == "model quality")
    assert not quality["exceeds"] and not [one for one in found["alarms"] if "model quality" in one]

    wrong = [str((int(one) + 1) % 10) for one in pictured.ask(places, "bad")]
    pictured.label(wrong, "bad")
    small.wait(480)
    found = small.told()
    assert any("model quality: top-1" in alarm for alarm in found["alarms"])
    (cause,) = (one for one in found["cause"]["causes"] if one["monitor"] == "model quality")
    assert cause["samples"] and all(one.startswith("bad-") for one in cause["samples"])
    assert found["cause"]["action"] == "retrain"


def test_pictures_are_counted_and_dark_ones_are_an_alarm(pictured: Digits) -> None:
    small = pictured.monitored
    known = Baseline.model_validate(Bundle.load(small.version.uri).json("baseline.json"))
    assert set(known.decisions) == {str(digit) for digit in range(10)}
    picture = encoded((np.random.default_rng(0).random((8, 24)) * 60).astype(np.uint8))
    for _ in range(10):
        files = [("image", ("a.png", picture, "image/png"))] * 25
        assert httpx.post(f"{small.urls[0]}/predict", files=files, timeout=60).status_code == 200
    small.wait(250)
    told = small.told()
    assert told["status"] == "alarm" and all(
        any(name in alarm for alarm in told["alarms"]) for name in ("brightness", "aspect")
    )
