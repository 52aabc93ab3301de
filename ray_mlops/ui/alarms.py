"""What monitoring has said, the latest first: verdicts of the stage, and windows that endpoints judged themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ray_mlops import runs
from ray_mlops.platform import files

_LATEST_WINDOWS = 20


@dataclass(frozen=True)
class Told:
    """One verdict on what an endpoint answered until some time (ISO, UTC)."""

    endpoint: str
    version: str
    until: str
    status: str
    requests: int
    alarms: tuple[str, ...]
    report: str = ""


def verdicts(root: str) -> list[Told]:
    """All verdicts of a run root; one that several runs have reused once."""
    return sorted([*_of_stages(root), *_of_windows(root)], key=lambda told: told.until, reverse=True)


def _of_stages(root: str) -> Iterator[Told]:
    seen = set()
    for value in runs.known(root):
        made = {stage["stage"]: stage["artifact"] for stage in value["stages"]}
        said, endpoint = made.get("monitor"), made.get("deploy")
        if not said or not endpoint or said["fingerprint"] in seen:
            continue
        seen.add(said["fingerprint"])
        details = files.join(said["uri"], "monitor.json")
        last = files.read_json(details).get("last") if files.exists(details) else None
        yield Told(
            endpoint["name"], endpoint["version"], _time(last), said["status"], said["requests"],
            tuple(said["alarms"]), said["report"],
        )  # fmt: skip


def _of_windows(root: str) -> Iterator[Told]:
    """The last windows of each endpoint: one file each, in `endpoints/NAME/monitoring/DIGEST/judged/`."""
    base = files.join(root, "endpoints")
    for name in files.listing(base):
        monitoring = files.join(base, name, "monitoring")
        for digest in files.listing(monitoring):
            judged = files.join(monitoring, digest, "judged")
            for file in sorted(files.listing(judged))[-_LATEST_WINDOWS:]:
                yield _window(name, digest, files.read_json(files.join(judged, file)))


def _window(endpoint: str, digest: str, found: Mapping[str, Any]) -> Told:
    alarms = tuple(str(alarm.get("text") or alarm.get("key")) for alarm in found.get("alarms", ()))
    counts = found.get("counts") or (0,)
    return Told(endpoint, digest[:12], _time(found.get("end")), "drift" if alarms else "ok", int(counts[0]), alarms)


def _time(value: Any) -> str:
    """A time as records have it, seconds or ISO, in one form that sorts."""
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return str(value or "")
