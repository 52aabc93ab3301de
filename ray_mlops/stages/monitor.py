"""Monitor: the captured requests of an endpoint against the baseline in the bundle that answers them."""

from typing import Any

from pydantic import Field

from ray_mlops.contract import Endpoint, Frozen, ModelVersion, Run, Verdict
from ray_mlops.errors import StorageError
from ray_mlops.monitoring import captured, drift
from ray_mlops.monitoring.captured import Captured
from ray_mlops.monitoring.drift import Rule, Shift
from ray_mlops.monitoring.sketches import Baseline
from ray_mlops.platform import files
from ray_mlops.platform.compaction import compact
from ray_mlops.reports.monitor_page import monitor_page
from ray_mlops.reports.page import render


class MonitorConfig(Frozen):
    """When drift is said. Below `min_requests` no statement is made; an alarm needs a PSI above `psi_limit` on top of
    what chance gives on average, and `false_alarms` bounds the chance of any alarm when nothing has changed. With `compact`
    closed segments of the capture log become Parquet files first."""

    min_requests: int = Field(default=200, ge=drift.MIN_ROWS)
    psi_limit: float = Field(default=0.2, gt=0)
    false_alarms: float = Field(default=0.01, gt=0, lt=1)
    compact: bool = True


def identity(endpoint: Endpoint) -> str:
    """Names what the endpoint has captured until now, so that new requests make a new verdict."""
    return captured.identity(files.absolute(endpoint.capture))


def run(config: MonitorConfig, run: Run, *, endpoint: Endpoint, version: ModelVersion) -> Verdict:
    """Judge what the endpoint answered with `version`; writes `monitor.json` and `report.html`."""
    baseline = Baseline.model_validate(files.read_json(files.join(version.uri, "baseline.json")))
    folder = files.absolute(endpoint.capture)
    not_compacted = _compact(folder) if config.compact else ""
    found = captured.count(folder, baseline, version.digest)
    now = found.sketch.to_baseline()
    enough = found.sketch.requests >= config.min_requests
    rule = Rule(limit=config.psi_limit, false_alarms=config.false_alarms)
    shifts = drift.compare(baseline, now, rule) if enough else []
    alarms = tuple(str(shift) for shift in shifts if shift.alarm)
    status = "insufficient_data" if not enough else "drift" if alarms else "ok"
    told = _told(config, found, endpoint, version) | {"status": status, "alarms": list(alarms)}
    told |= {"not_compacted": not_compacted}
    told |= {"shifts": [shift.model_dump() for shift in shifts]}
    files.write_json(files.join(run.uri, "monitor.json"), told)
    report = files.join(run.uri, "report.html")
    compared = _compared(baseline, now, shifts)
    files.write_text(report, render(monitor_page(told, compared)))
    return Verdict(
        uri=run.uri,
        fingerprint=run.fingerprint,
        status=status,
        requests=found.sketch.requests,
        alarms=alarms,
        report=report,
    )


def _compact(folder: str) -> str:
    """Why the log could not be compacted: no reason to give no verdict on what is in it."""
    try:
        compact(folder)
    except StorageError as error:
        return str(error)
    return ""


def _told(config: MonitorConfig, found: Captured, endpoint: Endpoint, version: ModelVersion) -> dict[str, Any]:
    return {
        "endpoint": endpoint.name,
        "version": version.version,
        "digest": version.digest,
        "requests": found.sketch.requests,
        "min_requests": config.min_requests,
        "psi_limit": config.psi_limit,
        "false_alarms": config.false_alarms,
        "other_versions": found.other_versions,
        "degraded": found.degraded,
        "unreadable": found.unreadable,
        "first": found.first,
        "last": found.last,
        "files": found.files,
    }


def _compared(before: Baseline, now: Baseline, shifts: list[Shift]) -> dict[str, dict[str, Any]]:
    """The distributions on both sides, the most shifted first, for the page."""
    pairs = {"score": (before.score, now.score)}
    for shift in shifts:
        if shift.of == "feature":
            pairs[shift.name] = (before.features[shift.name], now.features[shift.name])
    return {name: {"before": one.model_dump(), "now": other.model_dump()} for name, (one, other) in pairs.items()}
