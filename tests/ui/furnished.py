"""A run root with all that the console shows: two versions of a model, a run, an endpoint with traffic, a verdict."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.monitoring.attempts import Attempts, Ongoing
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.causes import Cause, CauseReport
from ray_mlops.reports.page import Page, render
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from tests.small_model import study

RUN = "small-20240101-000000-abcd"


def furnish(root: Path, url: str = "http://127.0.0.1:9/small") -> tuple[ModelVersion, ModelVersion]:
    """Version 1 of `small` is the champion, version 2 its challenger; the endpoint `small` is at `url`."""
    config = RegisterConfig(name="small", gates={"average_precision": 0.5}, promote="first")
    made = [
        register.run(config, Run(root=str(root), id=RUN, recipe="small", uri=str(root / f"v{rounds}"), fingerprint=f"f{rounds}"),
                     **study(root, XGBoost(rounds=rounds)))
        for rounds in (3, 5)
    ]  # fmt: skip
    _run(root, made[0], url)
    _endpoint(root, made[0], url)
    return made[0], made[1]


def _run(root: Path, version: ModelVersion, url: str) -> None:
    monitor = root / "artifacts" / "monitor" / "m1"
    decide = root / "artifacts" / "decide" / "d1"
    for folder in (monitor, decide, root / "runs" / RUN):
        folder.mkdir(parents=True)
        (folder / "report.html").write_text(render(Page(f"The page of {folder.parent.name}")))
    _write(monitor / "monitor.json", {"last": "2024-02-01T10:00:00Z"})
    stages: list[dict[str, Any]] = [
        {"stage": "decide", "artifact": {
            "uri": str(decide), "fingerprint": "d1", "verdict": "use_ml", "reasons": ["It pays."], "hints": [],
            "scores": {}, "report": str(decide / "report.html")}},
        {"stage": "evaluate", "artifact": {"fingerprint": "e1", "metrics": {"average_precision": 0.75}}},
        {"stage": "register", "artifact": version.model_dump(mode="json")},
        {"stage": "deploy", "artifact": {"fingerprint": "x1", "name": "small", "url": url, "version": "1"}},
        {"stage": "monitor", "artifact": {
            "uri": str(monitor), "fingerprint": "m1", "status": "drift", "requests": 5000,
            "alarms": ["amount has moved <b>far</b>"], "report": str(monitor / "report.html")}},
    ]  # fmt: skip
    entries = [{"status": "done", "seconds": 1.5, "rows": None, **stage} for stage in stages]
    told = {"id": RUN, "recipe": "small", "status": "done", "error": "", "override": "", "stages": entries}
    _write(root / "runs" / RUN / "run.json", told)


def _endpoint(root: Path, version: ModelVersion, url: str) -> None:
    folder = root / "endpoints" / "small"
    (folder / "requests").mkdir(parents=True)
    made = {"name": "small", "url": url, "version": "1", "digest": version.digest}
    _write(folder / "endpoint.json", made)
    _write(folder / "running.json", {"version": version.model_dump(mode="json")})
    now = datetime.now(UTC)
    lines = [
        {"time": (now - timedelta(seconds=10 + place)).isoformat(), "route": route, "status": status, "ms": ms}
        for place, (route, status, ms) in enumerate(
            [("/score", 200, 2.0), ("/score", 200, 4.0), ("/score", 500, 9.0), ("/health", 200, 0.1)]
        )
    ]
    lines.append({"time": (now - timedelta(hours=2)).isoformat(), "route": "/score", "status": 200, "ms": 1.0})
    text = "\n".join(map(json.dumps, lines)) + '\n{"time": "half a li'
    (folder / "requests" / "v1.jsonl").write_text(text)
    judged = folder / "monitoring" / version.digest[:16] / "judged"
    judged.mkdir(parents=True)
    _write(
        judged / "00000001.json", {"number": 1, "end": 1_706_780_000, "counts": [70], "alarms": [{"key": "score psi"}]}
    )
    report = CauseReport(
        id="small-abc-1", endpoint="small", version="1", digest=version.digest, window=1, start=1_706_779_700, end=1_706_780_000,
        since=1_706_779_700, action="retrain", reasons=("the score moved <b>far</b>",),
        causes=(Cause(
            key="data drift: score", monitor="data drift", words="PSI 2", effect=1.9, limit=0.2, chance=0.0, since=1_706_779_700,
            windows=1, shows="score is from 0.9 up", samples=("4711",),
        ),),
    )  # fmt: skip
    CauseFiles(str(folder / "monitoring"), version.digest).add(report)
    attempts = Attempts(str(folder / "monitoring"))
    attempt = attempts.begin(report, "watch")
    assert attempt
    with Ongoing(attempts, attempt) as ongoing:
        ongoing.end("rejected", "version 2 was slower")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
