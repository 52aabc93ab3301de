"""The switch of a replica without Ray: applications with a champion and a challenger, behind a real server, with real side processes."""

import asyncio
import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tritonclient.utils import InferenceServerException

from ray_mlops.errors import EndpointError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.app import build_app
from ray_mlops.serving.attached import Attached
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.image_answers import Answerer, Pinned
from ray_mlops.serving.image_app import build_image_app
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.image_replica import ImageReplica, ImageSettings
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.rollouts import fitting, switch
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.choice import Served, point
from ray_mlops.serving.rollouts.images import Answerers
from ray_mlops.serving.rollouts.replicas import Status
from ray_mlops.serving.rollouts.switch import Switch
from ray_mlops.serving.rollouts.tally import Tally
from ray_mlops.serving.rollouts.transactions import Scorers
from ray_mlops.serving.scoring import Scorer
from ray_mlops.vision import predictor as images
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.transform import Transform
from tests.serving.access.live import live, wait_for
from tests.serving.protocols import served
from tests.serving.protocols.test_grpc import asking, columns
from tests.serving.rollouts.planted_challenger import Planted
from tests.small_images import CentroidModel, Centroids
from tests.small_model import DEFINITION, Window, bundle
from tests.vision.pictures import encoded

SHADES = [encoded(np.full((8, 8), value, np.uint8)) for value in range(0, 256, 4)]


@dataclass
class Endpoint:
    """An application with its switch, and the bundles of both versions."""

    url: str
    switch: Switch
    champion: Bundle
    challenger: Bundle

    def turn(self, **fields: Any) -> None:
        named = {"bundle": self.challenger.uri, "digest": self.challenger.digest, "version": "2"}
        asyncio.run(self.switch.turn(Setting.model_validate({"rollout": "r", "step": 1, **named, **fields})))
        wait_for(lambda: self.switch.status()["ready"] or self.switch.status()["problem"])

    def end(self) -> None:
        asyncio.run(self.switch.turn(Setting(rollout="r")))

    def tally(self) -> Tally:
        return Tally.model_validate(self.switch.status()["tally"])


def shades(folder: Path, sharpness: float, middle: float = 128) -> Bundle:
    """Tells black, grey and white apart."""
    source = folder / "source"
    source.mkdir(parents=True)
    means = np.stack([np.full((8, 8, 1), value, float) for value in (0, middle, 255)])
    CentroidModel(means, sharpness).save(str(folder / "model"))
    images.save(
        str(source),
        Centroids(),
        str(folder / "model"),
        transform=Transform(size=(8, 8), mode="L"),
        classes=served.CLASSES,
        calibration={"temperature": [1.0]},
    )
    return Bundle.write(str(source), str(folder / "bundles"))


def transactions_of(folder: Path) -> tuple[Any, Switch, Bundle, Bundle]:
    first = bundle(folder / "1", definition=served.DEFINITION)
    second = bundle(folder / "2", Planted(), definition=served.DEFINITION)
    scorer = Scorer(
        Predictor.load(first), None, Capture(str(folder / "capture"), "v1"), version="1", digest=first.digest
    )
    turned = Switch("small", Served("champion", "1", first.digest), Scorers(first, scorer))
    model = {"name": "small", "version": "1", "digest": first.digest, "example": served.ROWS[0]}
    app = build_app(scorer, model, Limits(deadline_s=4), health={"status": "ok"}, attached=Attached(switch=turned))
    return app, turned, first, second


def pictures_of(folder: Path) -> tuple[Any, Switch, Bundle, Bundle]:
    first, second = shades(folder / "3", 1.0), shades(folder / "4", 1.0, middle=60)
    pinned = Pinned("1", first.digest)
    answerer = Answerer(ImagePredictor.load(first), Capture(str(folder / "images"), "v1"), pinned, batch=32)
    turned = Switch("shades", Served("champion", "1", first.digest), Answerers(first, answerer))
    example = {"image": base64.b64encode(served.WHITE).decode()}
    model = {"name": "shades", "version": "1", "digest": first.digest, "example": example}
    return (
        build_image_app(answerer, model, ImageLimits(), health={}, attached=Attached(switch=turned)),
        turned,
        first,
        second,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("switch")


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[tuple[Endpoint, Endpoint, str]]:
    (small, *others), (shades_, *more) = transactions_of(folder), pictures_of(folder)
    with live(Starlette(routes=[Mount("/small", small), Mount("/shades", shades_)])) as url:
        yield Endpoint(f"{url}/small", *others), Endpoint(f"{url}/shades", *more), url


@pytest.fixture
def small(both: tuple[Endpoint, Endpoint, str]) -> Iterator[Endpoint]:
    yield both[0]
    both[0].end()


@pytest.fixture
def pictures(both: tuple[Endpoint, Endpoint, str]) -> Iterator[Endpoint]:
    yield both[1]
    both[1].end()


def row(number: int) -> dict[str, Any]:
    return {**served.ROWS[0], "transaction_id": number, "amount": float(number % 300)}


def variants(endpoint: Endpoint, numbers: range) -> list[str]:
    with httpx.Client(base_url=endpoint.url) as client:
        return [client.post("/score", json=row(number)).json()["variant"] for number in numbers]


def test_a_key_falls_at_one_place_and_all_places_are_alike() -> None:
    places = np.array([point("rollout", str(number).encode()) for number in range(4000)])
    assert point("rollout", b"7") == point("rollout", b"7") != point("another", b"7")
    assert np.abs(np.histogram(places, bins=10, range=(0, 1))[0] / 400 - 1).max() < 0.2


def test_a_larger_share_keeps_what_the_challenger_had(small: Endpoint) -> None:
    small.turn(share=0.2)
    few = variants(small, range(60))
    small.turn(share=0.6, step=2)
    more = variants(small, range(60))
    assert 0 < few.count("challenger") < more.count("challenger") < 60
    assert all(later == "challenger" for now, later in zip(few, more, strict=True) if now == "challenger")


def test_each_step_counts_for_itself_and_copies_are_compared(small: Endpoint) -> None:
    small.turn(share=0.5)
    first = variants(small, range(40))
    wait_for(lambda: small.tally().pairs.count == 40)
    tally = small.tally()
    assert tally.challenger.requests == first.count("challenger") and tally.champion.requests == first.count("champion")
    assert tally.beside_champion.requests == tally.beside_challenger.requests == tally.copied == 40
    small.turn(share=0.5, step=2)
    assert small.tally() == Tally()


def test_the_answers_and_lines_of_a_challenger_are_its_own(small: Endpoint, folder: Path) -> None:
    small.turn(share=1.0)
    answer = httpx.post(f"{small.url}/score", json=row(5000)).json()
    assert (answer["version"], answer["digest"], answer["variant"]) == ("2", small.challenger.digest, "challenger")
    assert answer["score"] != httpx.post(f"{small.url}/score?variant=champion", json=row(5001)).json()["score"]
    lines = [json.loads(line) for path in (folder / "capture").glob("*") for line in path.read_text().splitlines()]
    (line,) = [line for line in lines if line["id"] == 5000]
    assert (line["version"], line["digest"], line["score"]) == ("2", small.challenger.digest, answer["score"])


def test_a_shadow_answers_nobody_not_even_who_asks_for_it(small: Endpoint) -> None:
    small.turn(mode="shadow")
    assert set(variants(small, range(6000, 6020))) == {"champion"}
    wait_for(lambda: small.tally().pairs.count == 20)
    assert small.tally().challenger.requests == 0
    refused = httpx.post(f"{small.url}/score?variant=challenger", json=row(1))
    assert refused.status_code == 404 and "it has AllTraffic, champion" in refused.text


def test_a_challenger_nobody_watches_is_asked_no_more(small: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    small.turn(share=1.0)
    assert set(variants(small, range(5))) == {"challenger"}
    monkeypatch.setattr(switch, "UNWATCHED_S", 0.0)
    assert set(variants(small, range(5))) == {"champion"}


def test_a_challenger_that_hangs_costs_no_answer(both: tuple[Endpoint, Endpoint, str], folder: Path) -> None:
    hanging = Endpoint(
        both[0].url,
        both[0].switch,
        both[0].champion,
        bundle(folder / "5", Planted(fault="hangs"), definition=served.DEFINITION),
    )
    hanging.turn(share=1.0)
    with ThreadPoolExecutor(4) as callers:  # they meet it together, and wait for half of the deadline
        together = callers.map(lambda number: variants(hanging, range(number, number + 1)), range(4))
        assert [found for (found,) in together] == ["champion"] * 4
    assert set(variants(hanging, range(4, 10))) == {"champion"}
    assert hanging.tally().challenger.errors == 10 and hanging.tally().champion.requests == 0
    hanging.end()


def test_pictures_are_answered_by_both_and_compared(pictures: Endpoint) -> None:
    pictures.turn(share=0.5)
    answers = [
        httpx.post(f"{pictures.url}/predict", content=shade, headers={"content-type": "image/png"}).json()
        for shade in SHADES
    ]
    assert {answer["variant"] for answer in answers} == {"champion", "challenger"}
    again = httpx.post(f"{pictures.url}/predict", content=SHADES[3], headers={"content-type": "image/png"}).json()
    assert again["variant"] == answers[3]["variant"] and again["top"] == answers[3]["top"]
    wait_for(lambda: pictures.tally().pairs.count >= 40)
    assert 0 < pictures.tally().pairs.alike < pictures.tally().pairs.count


def test_a_replica_for_pictures_takes_a_setting_over_and_tells_what_it_counted(folder: Path) -> None:
    first, second = shades(folder / "10", 1.0), shades(folder / "11", 2.0)
    settings = ImageSettings(
        name="shades",
        bundle=first.uri,
        digest=first.digest,
        version="1",
        capture=f"{folder}/replica/capture",
        limits=ImageLimits(degraded="error"),
    )
    replica = ImageReplica(settings.model_dump(mode="json"))
    setting = Setting(rollout="r", step=3, share=0.5, bundle=second.uri, digest=second.digest, version="2")
    asyncio.run(replica.reconfigure(setting.model_dump(mode="json")))
    told = Status.model_validate(asyncio.run(replica.rollout()))
    assert (told.rollout, told.step, told.digest, told.champion) == ("r", 3, second.digest, first.digest)
    assert told.tally == Tally() and not told.problem
    asyncio.run(replica.reconfigure(Setting(rollout="r").model_dump(mode="json")))
    assert Status.model_validate(asyncio.run(replica.rollout())).tally is None


def test_a_variant_can_be_named_over_grpc(small: Endpoint, both: tuple[Endpoint, Endpoint, str]) -> None:
    small.turn(share=0.5)
    with asking(both[2]) as client:
        for name, version in (("champion", "1"), ("challenger", "2")):
            answer = client.infer("small", columns(), headers={"x-target-variant": name})
            assert answer.get_response().model_version == version
        with pytest.raises(InferenceServerException, match="no variant of small"):
            client.infer("small", columns(), headers={"x-target-variant": "other"})


def test_what_cannot_share_the_champions_store_is_refused(folder: Path) -> None:
    first = bundle(folder / "6")
    wider = DEFINITION.model_copy(
        update={"windows": (*DEFINITION.windows, Window(entity="customer_id", spans=(30,), aggregates=("count",)))}
    )
    fewer = DEFINITION.model_copy(update={"windows": DEFINITION.windows[:1]})
    fitting.check(first, bundle(folder / "7", definition=fewer))
    with pytest.raises(EndpointError, match="does not keep its windows customer_id_count_30d.*--all-at-once"):
        fitting.check(first, bundle(folder / "8", definition=wider))
    with pytest.raises(EndpointError, match="a model of images and the endpoint answers for transactions"):
        fitting.check(first, shades(folder / "9", 1.0))


def test_only_the_work_of_a_variant_is_timed_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 105.0, 107.5, 200.0, 203.0])
    monkeypatch.setattr(switch.time, "perf_counter", lambda: next(clock))
    waited = switch.Stopwatch()
    assert waited.own(lambda: "answer") == "answer" and waited.seconds == 2.5
    assert switch.Stopwatch().seconds == 3.0
