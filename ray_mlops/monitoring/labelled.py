"""Answers and the labels that came for them later, out of the capture log of an endpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from ray_mlops.contract import LABEL_LINE
from ray_mlops.platform import segments

_MARK = f'"kind":"{LABEL_LINE}"'.encode()


@dataclass(frozen=True)
class Labelled:
    """Answers of one version, `(rows,)` each: when they were given and when their label came (seconds since the epoch, NaN:
    it has not), the label (NaN: none), score, probability, and whether anything was decided but `unselected`."""

    answered: np.ndarray
    arrived: np.ndarray
    label: np.ndarray
    score: np.ndarray
    probability: np.ndarray
    selected: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which have a label: no label is not the label 0."""
        return np.isfinite(self.label)

    def take(self, rows: np.ndarray) -> "Labelled":
        """Some of the rows."""
        return Labelled(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Classified:
    """Answers of one version to pictures, `(rows,)` each: when they were given and when their label came (seconds since the
    epoch, NaN: it has not), the class that was told and its probability, and the class that the label names (empty: none)."""

    answered: np.ndarray
    arrived: np.ndarray
    told: np.ndarray
    probability: np.ndarray
    label: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which have a label."""
        return self.label != ""

    def take(self, rows: np.ndarray) -> "Classified":
        """Some of the rows."""
        return Classified(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def read(folder: str, digest: str, *, unselected: str) -> Labelled:
    """All answers that a version gave to transactions, by the first line of each; the last label of each counts, as of when the
    first came.

    Answers are read only where there are labels; lines that are not whole, or of which the log keeps a sample, are left out.
    """
    rows = [
        (
            _seconds(told["time"]),
            arrived,
            float(label),
            told["score"],
            told["probability"],
            told["decision"] != unselected,
        )
        for told, arrived, label in _joined(folder, digest, "probability", none=np.nan)
    ]
    answered, arrived, label, score, probability, selected = np.array(rows, float).reshape(-1, 6).T
    return Labelled(answered, arrived, label, score, probability, selected > 0)


def classified(folder: str, digest: str) -> Classified:
    """The same of answers to pictures."""
    rows = [
        (_seconds(told["time"]), arrived, told["decision"], told["score"], label)
        for told, arrived, label in _joined(folder, digest, "features", none="")
    ]
    answered, arrived, told, probability, label = zip(*rows, strict=True) if rows else ((),) * 5
    numbers = (np.array(values, float) for values in (answered, arrived, probability))
    names = (np.array(values, str) for values in (told, label))
    (answered, arrived, probability), (told, label) = numbers, names
    return Classified(answered, arrived, told, probability, label)


def _joined(folder: str, digest: str, mark: str, *, none: Any) -> Iterator[tuple[Mapping[str, Any], float, Any]]:
    """The first line of each answer that has the field `mark` (no degraded one has), when its first label came, and the last."""
    labels: dict[Any, tuple[float, Any]] = {}
    for _, line in segments.lines(folder):
        if _MARK in line and (told := _parsed(line)):
            at = _seconds(told["time"])
            labels[told["id"]] = (min(at, labels.get(told["id"], (at, none))[0]), told["label"])
    met: set[Any] = set()
    for _, line in segments.lines(folder) if labels else ():
        told = None if _MARK in line else _parsed(line)
        if told is None or told.get("digest") != digest or mark not in told or "id" not in told or told["id"] in met:
            continue
        met.add(told["id"])
        yield told, *labels.get(told["id"], (np.nan, none))


def explained(folder: str, digest: str, names: Sequence[str], since: float) -> tuple[np.ndarray, np.ndarray]:
    """When a version has answered since a moment, `(rows,)` seconds, and the feature rows that it read, `(rows, names)`."""
    times, rows = [], []
    for _, line in segments.lines(folder, after=since):
        told = None if _MARK in line else _parsed(line)
        if told and told.get("digest") == digest and "features" in told and (at := _seconds(told["time"])) >= since:
            times.append(at)
            rows.append([told["features"].get(name) for name in names])
    return np.array(times, float), np.array(rows, np.float32).reshape(-1, len(names))


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError:  # a replica is writing it, or was killed while it did
        return None
    return told if isinstance(told, dict) and "time" in told else None


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
