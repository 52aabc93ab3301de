from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ray_mlops.monitoring.history import History
from ray_mlops.monitoring.judging import Judge, Judging
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import metrics_route
from ray_mlops.serving.watching import BASELINE, Watcher
from tests.monitoring.watched import NAMES, baseline, rows

LATER = 1e11


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / BASELINE).write_text(baseline().model_dump_json())
    return Bundle.write(str(tmp_path / "source"), str(tmp_path / "bundles"))


def scraped(watcher: Watcher) -> dict[tuple[str, str], float]:
    """Samples as Prometheus' own parser reads them, by name and the value of the label `name`, or of their own one."""
    app = FastAPI()
    metrics_route.add(app, watcher, endpoint="fraud", version="1")
    answer = TestClient(app).get("/metrics")
    assert answer.status_code == 200
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    assert all(one.labels["endpoint"] == "fraud" and one.labels["version"] == "1" for one in samples)
    own = [{key: value for key, value in one.labels.items() if key not in ("endpoint", "version")} for one in samples]
    named = [mine.get("name", mine.get("from", next(iter(mine.values()), ""))) for mine in own]
    return {(one.name, name): one.value for one, name in zip(samples, named, strict=True)}


def test_whoever_is_asked_tells_the_same_of_all_replicas_and_never_less(bundle, tmp_path):
    watchers = [Watcher(str(tmp_path), name) for name in ("r1", "r2")]
    random = np.random.default_rng(0)
    for watcher, scale in zip(watchers, (1.0, 50.0), strict=True):
        watch = watcher.watch(bundle, NAMES)
        assert watch
        watch.seen(rows(random, 300, scale), [0.5] * 300, ["approve"] * 300)
        watch.degraded(2)
    for watcher in watchers:
        watcher.flush()
    one, other = map(scraped, watchers)
    assert one == other
    assert one["ray_mlops_requests_total", "answered"] == 600 and one["ray_mlops_requests_total", "degraded"] == 4
    assert one["ray_mlops_decisions_total", "approve"] == one["ray_mlops_score_bucket", "+Inf"] == 600
    judge = Judge(Judging(window_s=1), baseline(), History(str(tmp_path), bundle.digest))
    (judged,) = judge.catch_up(LATER)
    after = scraped(watchers[0])
    counters = {key: value for key, value in one.items() if key[0].endswith("_total")}
    assert counters.items() <= after.items()
    assert after["ray_mlops_alarm", "feature amount"] == 1 and after["ray_mlops_alarm", "feature count"] == 0
    assert after["ray_mlops_effect", "feature amount"] > after["ray_mlops_limit", "feature amount"]
    assert after["ray_mlops_judged_until_seconds", ""] == judged.end
    for watcher in watchers:
        watcher.close()
