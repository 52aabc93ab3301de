"""Several endpoints on one cluster: each under its name, with as many replicas as it needs, down to none, and gone alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import time
from pathlib import Path

import httpx
import pytest

from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.autoscaling import Scheduled
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Settings
from tests.serving.processes import replicas, wait
from tests.serving.protocols import served
from tests.small_model import bundle

pytestmark = pytest.mark.timeout(400)
ALWAYS = Scheduled(min_replicas=2, start=time(0), end=time(0))
SCALES = {
    "left": Scale(
        min_replicas=0,
        max_replicas=2,
        target_ongoing=50,
        target_latency_ms=0.001,  # no answer is as fast
        upscale_delay_s=0,
        downscale_delay_s=5.0,  # longer than it takes until a replica that has just started tells how fast it answers
        to_zero_delay_s=5.0,
        look_back_s=5.0,
    ),
    "right": Scale(min_replicas=1, max_replicas=2, schedule=(ALWAYS,)),
}


@pytest.fixture(scope="module")
def urls(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    port, started = free_port(), {}
    for name, scale in SCALES.items():
        root = tmp_path_factory.mktemp(name)
        started[name] = endpoints.start(
            _settings(bundle(root, definition=served.DEFINITION), root, name), scale, port=port
        )
    yield started
    for name in SCALES:
        if replicas(name):
            endpoints.undeploy(name)


def _settings(made: Bundle, root: Path, name: str) -> Settings:
    version = str(list(SCALES).index(name) + 1)
    pinned = {"bundle": made.uri, "digest": made.digest, "version": version}
    return Settings(name=name, store="", capture=f"{root}/capture", limits=Limits(), **pinned)


def ask(url: str) -> httpx.Response:
    return httpx.post(f"{url}/score", json=served.ROWS[0], timeout=60)


def test_each_answers_under_its_own_name(urls: dict[str, str]) -> None:
    for version, (name, url) in enumerate(urls.items(), start=1):
        answer = ask(url).json()
        assert (answer["model"], answer["version"]) == (name, str(version))
    assert urls["left"].rpartition("/")[0] == urls["right"].rpartition("/")[0]
    assert ask(urls["left"].replace("left", "middle")).status_code == 404


def test_one_that_nobody_asks_ends_its_last_replica_and_who_asks_then_waits_for_the_next(urls: dict[str, str]) -> None:
    wait(lambda: not replicas("left"))
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: ask(urls["left"]), range(20)))
    assert {answer.status_code for answer in answers} == {200}


def test_answers_that_take_too_long_bring_another_replica(urls: dict[str, str]) -> None:
    def asked() -> bool:
        with ThreadPoolExecutor(4) as threads:
            assert {answer.status_code for answer in threads.map(lambda _: ask(urls["left"]), range(40))} == {200}
        return len(replicas("left")) == 2

    wait(asked)


def test_the_schedule_asks_for_more_than_the_load_does(urls: dict[str, str]) -> None:
    wait(lambda: len(replicas("right")) == 2)


def test_taken_down_one_leaves_the_other(urls: dict[str, str]) -> None:
    assert ask(urls["left"]).status_code == 200
    endpoints.undeploy("left")
    assert ask(urls["left"]).status_code == 404
    assert ask(urls["right"]).status_code == 200
