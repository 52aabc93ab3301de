"""The process that judges is killed again and again while requests go on: no window is lost, none is counted twice."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.monitoring import windows
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.history import History
from ray_mlops.monitoring.sketches import Sketch
from ray_mlops.monitoring.windows import Window
from ray_mlops.platform.bundle import Bundle
from ray_mlops.stages import monitor
from ray_mlops.stages.monitor import MonitorConfig
from tests.small_model import bundle

ROOT = Path(__file__).resolve().parents[2]
MINUTES, REQUESTS, KILLS = 300, 250, 4
CONFIG = MonitorConfig(min_requests=200, window_s=60)
AGAIN = "import sys; from tests.faults import test_monitor_killed as here; here.go_on(sys.argv[1])"


def endpoint(folder: str) -> tuple[Run, Endpoint, ModelVersion]:
    """What the stage is given, of a bundle below a folder."""
    (made,) = Path(folder, "bundles").iterdir()
    digest = Bundle.load(str(made)).digest
    place = {"capture": f"{folder}/capture", "monitoring": f"{folder}/monitoring"}
    return (
        Run(root=folder, id="r", recipe="small", uri=f"{folder}/verdict", fingerprint="m"),
        Endpoint(uri="", fingerprint="f", name="small", url="", version="1", digest=digest, **place),
        ModelVersion(uri=str(made), fingerprint="f", name="small", version="1", digest=digest),
    )


def go_on(folder: str) -> None:
    """Judge whatever comes, until killed."""
    run, asked, version = endpoint(folder)
    while True:
        monitor.run(CONFIG, run, endpoint=asked, version=version)


def minute(sketch: Sketch, number: int) -> Window:
    """A minute of requests as a replica writes it; each has other ones."""
    drawn = np.random.default_rng(number)
    sketch.counts[:] = 0
    rows = drawn.gamma(2.0, 25.0, (REQUESTS, len(sketch.layout.features))).astype(np.float32)
    sketch.add(rows, drawn.random(REQUESTS).tolist(), ["approve"] * REQUESTS)
    return Window(replica="r1", start=60 * number, seconds=60, counts=sketch.counts.tolist())


def test_a_monitor_that_is_killed_and_restarted_loses_no_window_and_counts_none_twice(tmp_path: Path) -> None:
    bundle(tmp_path)
    run, asked, version = endpoint(str(tmp_path))
    known = Baseline.model_validate(json.loads(Path(version.uri, "baseline.json").read_text()))
    sketch, place = Sketch(known), windows.folder_of(asked.monitoring, version.digest)
    history, chance = History(asked.monitoring, version.digest), random.Random(0)
    written, whole = 0, np.zeros(sketch.layout.size, np.int64)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(1, KILLS + 1):
        with subprocess.Popen([sys.executable, "-c", AGAIN, str(tmp_path)], env=environment) as process:
            until = MINUTES * kill // KILLS
            while written < until:  # as requests come, whether anybody judges them or not
                made = minute(sketch, written)
                whole += np.array(made.counts)
                windows.write(place, made)
                written += 1
            judged, deadline = len(history.judged()), time.monotonic() + 120
            while len(history.judged()) < min(judged + 5, written) and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(chance.random() * 0.02)
            process.kill()
    assert 0 < len(history.judged()) < written  # it was killed in the midst of it
    verdict = monitor.run(CONFIG, run, endpoint=asked, version=version)
    judged = history.judged()
    assert [one.number for one in judged] == list(range(1, len(judged) + 1))
    names = [name for one in judged for name in one.files]
    assert len(names) == len(set(names)) == MINUTES and not windows.read(place)
    assert np.array_equal(np.sum([one.counts for one in judged], axis=0), whole)
    assert judged[-1].total == whole.tolist() and verdict.requests == MINUTES * REQUESTS
