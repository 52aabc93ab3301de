"""What an endpoint is doing now: its own health, and what the request log of its replicas says of the last minutes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from ray_mlops.platform import files

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MINUTES = 15
_TAIL = 4_000_000  # bytes of a request log that are looked at
_ASK_S = 2.0
_PROBES = ("/health", "/ping", "/stats", "/metrics", "/docs", "/model")


@dataclass(frozen=True)
class Traffic:
    """The requests of the last `MINUTES` on routes that score; `by_minute` has each minute's requests and failures."""

    requests: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None
    by_minute: tuple[tuple[str, int, int], ...]


def health(url: str, key: str = "") -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What `/health` and, where there is one, `/stats` say; a `problem` where the endpoint does not answer."""
    local = (urlsplit(url).hostname or "") in LOOPBACK
    headers = {"x-api-key": key} if key and local else {}
    try:
        # A certificate is for the name that others use, not for this address; the key stays on this machine.
        with httpx.Client(timeout=_ASK_S, verify=not local, headers=headers, trust_env=False) as client:
            answer = client.get(f"{url}/health")
            answer.raise_for_status()
            known = answer.json()
            counted = client.get(f"{url}/stats")
            return known, counted.json() if counted.is_success else {}
    except (httpx.HTTPError, ValueError) as error:
        return {"problem": str(error) or type(error).__name__}, {}


def recent(root: str, name: str, now: datetime | None = None) -> Traffic:
    """The traffic of an endpoint of a run root, from the logs of all its replicas."""
    since = (now or datetime.now(UTC)) - timedelta(minutes=MINUTES)
    lines = [line for line in _lines(files.join(root, "endpoints", name, "requests")) if _counts(line, since)]
    times = np.array([float(line["ms"]) for line in lines])
    minutes: dict[str, list[int]] = {}
    for line in lines:
        told = minutes.setdefault(line["time"][:16], [0, 0])
        told[0] += 1
        told[1] += line["status"] >= 500
    return Traffic(
        requests=len(lines),
        failures=sum(line["status"] >= 500 for line in lines),
        p50_ms=float(np.quantile(times, 0.5)) if len(times) else None,
        p99_ms=float(np.quantile(times, 0.99)) if len(times) else None,
        by_minute=tuple((minute, *map(int, counts)) for minute, counts in sorted(minutes.items(), reverse=True)),  # pyright: ignore[reportArgumentType]
    )


def _counts(line: Mapping[str, Any], since: datetime) -> bool:
    return line["route"] not in _PROBES and datetime.fromisoformat(line["time"]) >= since


def _lines(folder: str) -> Iterator[dict[str, Any]]:
    for name in files.listing(folder):
        content = files.read_bytes(files.join(folder, name))[-_TAIL:]
        for text in content.split(b"\n"):
            try:
                line = json.loads(text)
            except ValueError:  # half a line: being written now, or cut off by the tail
                continue
            if isinstance(line, dict) and {"time", "route", "status", "ms"} <= line.keys():
                yield line
