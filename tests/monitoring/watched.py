"""A baseline of two features, and windows of requests as replicas leave them."""

import time
from pathlib import Path

import numpy as np

from ray_mlops.contract import ModelVersion
from ray_mlops.monitoring import windows
from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.monitoring.history import History, Judged
from ray_mlops.monitoring.sketches import Sketch, baseline_of
from ray_mlops.monitoring.windows import Window

NAMES = ("amount", "count")
DIGEST = "d" * 64


def rows(random: np.random.Generator, size: int, scale: float = 1.0) -> np.ndarray:
    return np.column_stack([random.lognormal(3, 1, size) * scale, random.poisson(2, size)]).astype(np.float32)


def baseline() -> Baseline:
    random = np.random.default_rng(0)
    groups = {"group": random.choice(["a", "b"], 5_000).tolist()}
    scores = random.beta(0.2, 2, 5_000)
    decided = np.where(random.random(5_000) < 0.1, "block", "approve").tolist()
    actions = ("approve", "block")
    return baseline_of(NAMES, rows(random, 5_000), scores, decisions=decided, actions=actions, slices=groups)


def window(
    known: Baseline, start: int, size: int, *, replica: str = "r1", scale: float = 1.0, blocked_b: float = 0.1
) -> Window:
    """A minute of requests; of group b a share of `blocked_b` is blocked, of a a tenth."""
    random = np.random.default_rng([start, len(replica), ord(replica[-1])])
    sketch = Sketch(known, NAMES)
    groups = random.choice(["a", "b"], size)
    blocked = random.random(size) < np.where(groups == "b", blocked_b, 0.1)
    decided = np.where(blocked, "block", "approve").tolist()
    events = [{"group": group} for group in groups.tolist()]
    sketch.add(rows(random, size, scale), random.beta(0.2, 2, size).tolist(), decided, events)
    return Window(replica=replica, start=start, seconds=60, counts=sketch.counts.tolist(), capture={"written": size})


def leave(monitoring: str, *made: Window) -> None:
    """Write windows where replicas do."""
    for one in made:
        windows.write(windows.folder_of(monitoring, DIGEST), one)


def in_alarm(monitoring: str, version: ModelVersion, action: str) -> CauseReport:
    """One more judged window of a version, in alarm, and a report that proposes an action."""
    history, now = History(monitoring, version.digest), int(time.time())
    number = max((one.number for one in history.judged()), default=0) + 1
    known = Baseline.model_validate_json(Path(version.uri, "baseline.json").read_text())
    counts = Sketch(known).counts.tolist()
    alarm = Alarm(key="model quality: average precision", windows=2, of=3, chance=0.0, words="worse")
    judged = {"number": number, "start": now - 60, "end": now, "files": (), "counts": counts, "total": counts}
    assert history.add(Judged.model_validate({**judged, "alarms": (alarm,)}))
    report = CauseReport.model_validate({
        "id": f"{version.name}-{version.version}-{number}", "endpoint": version.name, "version": version.version,
        "digest": version.digest, "window": number, "start": now - 60, "end": now, "since": now - 60, "causes": (),
        "action": action, "reasons": ("worse",),
    })  # fmt: skip
    CauseFiles(monitoring, version.digest).add(report)
    return report
