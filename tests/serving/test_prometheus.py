"""A real Prometheus scrapes an endpoint, evaluates the alert rules that are shipped and every query of the dashboard."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from fastapi import FastAPI

from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.history import History
from ray_mlops.monitoring.judging import Judge, Judging
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import metrics_route
from ray_mlops.serving.watching import BASELINE, Watcher
from tests.monitoring.watched import NAMES, baseline, rows
from tests.serving.protocols.served import on_loopback

SHIPPED = files("ray_mlops.monitoring") / "prometheus"
DASHBOARD = json.loads((SHIPPED / "grafana.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus that scrapes an endpoint with drift, once a second."""
    program = shutil.which("prometheus") or str(Path(sys.executable).parent / "prometheus")
    if not Path(program).exists():
        pytest.skip("there is no Prometheus: `make system` brings it")
    folder = tmp_path_factory.mktemp("prometheus")
    with on_loopback(an_endpoint(folder)) as url:
        scrape = {
            "job_name": "ray_mlops",
            "metrics_path": "/metrics",
            "scrape_interval": "1s",
            "static_configs": [{"targets": [url.removeprefix("http://")]}],
        }
        told = {
            "global": {"evaluation_interval": "1s"},
            "scrape_configs": [scrape],
            "rule_files": [str(SHIPPED / "alerts.yaml")],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
        port = free_port()
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            # Between its first answer and being ready it refuses every query with 503.
            until(lambda: httpx.get(f"http://127.0.0.1:{port}/-/ready").is_success)
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.terminate()
            process.wait(30)


def an_endpoint(folder: Path) -> FastAPI:
    """`/metrics` of an endpoint whose amounts have moved, and whose last window was judged."""
    (folder / "source").mkdir()
    (folder / "source" / BASELINE).write_text(baseline().model_dump_json())
    bundle = Bundle.write(str(folder / "source"), str(folder / "bundles"))
    watcher = Watcher(str(folder / "monitoring"), "r1", capture=lambda: {"written": 500, "dropped": 0})
    watch = watcher.watch(bundle, NAMES)
    assert watch
    watch.seen(rows(np.random.default_rng(0), 500, 20.0), [0.5] * 500, ["approve"] * 500, [{"group": "a"}] * 500)
    watcher.flush()
    known = Baseline.model_validate(bundle.json(BASELINE))
    assert Judge(Judging(window_s=1), known, History(str(folder / "monitoring"), bundle.digest)).catch_up(1e12)
    app = FastAPI()
    metrics_route.add(app, watcher, endpoint="fraud", version="1")
    return app


def get(url: str, **asked: str) -> Any:
    answer = httpx.get(url, params=asked).json()
    assert answer["status"] == "success", answer
    return answer["data"]


def until(found: Any, seconds: float = 60) -> Any:
    """What `found` gives once it gives something; Prometheus takes some seconds to start and to scrape."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := found():
                return value
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_an_endpoint_tells_is_scraped(prometheus: str) -> None:
    query = 'ray_mlops_requests_total{endpoint="fraud", outcome="answered"}'
    (found,) = until(lambda: get(f"{prometheus}/query", query=query)["result"])
    assert found["value"][1] == "500" and found["metric"]["version"] == "1"
    sliced = 'ray_mlops_slice_decisions_total{column="group", value="a", decision="approve"}'
    assert get(f"{prometheus}/query", query=sliced)["result"][0]["value"][1] == "500"
    (target,) = get(f"{prometheus}/targets")["activeTargets"]
    assert target["health"] == "up" and not target["lastError"]


def test_the_shipped_rules_are_sound_and_an_alarm_fires(prometheus: str) -> None:
    firing = until(lambda: [one for one in get(f"{prometheus}/alerts")["alerts"] if one["state"] == "firing"])
    assert {one["labels"]["alertname"] for one in firing} == {"RayMlopsAlarm"}
    assert any("feature amount" in one["annotations"]["summary"] for one in firing)
    (group,) = get(f"{prometheus}/rules")["groups"]
    assert len(group["rules"]) == 7 and {rule["health"] for rule in group["rules"]} == {"ok"}


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_dashboard_finds_something(prometheus: str, query: str) -> None:
    assert until(lambda: get(f"{prometheus}/query", query=query.replace("$endpoint", "fraud"))["result"]), query
