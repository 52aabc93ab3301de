"""The capture log of an endpoint, counted onto the baseline of its model version."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import orjson

from ray_mlops.contract import LABEL_LINE
from ray_mlops.monitoring.sketches import Baseline, Sketch
from ray_mlops.platform import segments

LINES_AT_ONCE = 20_000
NEEDED = {"features", "score", "decision", "digest"}


@dataclass
class Captured:
    """What a capture folder holds. `sketch` counts the requests that the model of this version answered; those answered by
    other versions, those answered `degraded`, without a model, and lines that cannot be read (a replica was killed while
    writing) are only numbered; labels are not counted."""

    sketch: Sketch
    other_versions: int = 0
    degraded: int = 0
    unreadable: int = 0
    first: str = ""
    last: str = ""
    files: list[str] = field(default_factory=list)


def count(folder: str, baseline: Baseline, digest: str) -> Captured:
    """Count all requests in `folder` that the bundle `digest` answered; an absent folder holds none."""
    found = Captured(Sketch(baseline))
    found.files = segments.found(folder).names
    lines = (line for _, line in segments.lines(folder))
    while chunk := list(islice(lines, LINES_AT_ONCE)):
        _count(found, [*_records(chunk, found)], digest)
    return found


def identity(folder: str) -> str:
    """Names the present content of a capture folder: it changes with every request, not when lines are compacted."""
    return hashlib.blake2b(segments.identity(folder).encode(), digest_size=16).hexdigest()


def _records(lines: list[bytes], found: Captured) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if isinstance(record, dict) and record.get("kind") == LABEL_LINE:
            continue
        if isinstance(record, dict) and record.get("degraded"):
            found.degraded += 1
        elif isinstance(record, dict) and record.keys() >= NEEDED and isinstance(record["features"], dict):
            yield record
        else:
            found.unreadable += 1


def _count(found: Captured, records: list[Mapping[str, Any]], digest: str) -> None:
    ours = [record for record in records if record["digest"] == digest]
    found.other_versions += len(records) - len(ours)
    if not ours:
        return
    names = list(found.sketch.features)
    values = [[record["features"].get(name) for name in names] for record in ours]
    scores = np.array([record["score"] for record in ours], dtype=float)
    matrix = np.array(values, dtype=float).reshape(len(ours), len(names))
    found.sketch.add(matrix, scores, (record["decision"] for record in ours))
    times = [record["time"] for record in ours if record.get("time")]
    found.first = min((moment for moment in (found.first, *times) if moment), default="")
    found.last = max((found.last, *times))
