"""What a window holds, said as plainly as it can be, and the two executors behind one face."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.fraud.rolling import roll
from ray_mlops.fraud.windows import NEVER, Others, Window, evaluate_one

Event = dict[str, Any]
EXACT = frozenset({"count", "distinct", "since", "last", "min", "max"})


def visible(window: Window, span: float, now: Event, event: Event, late: bool) -> bool:
    """Whether an event is in the window of the current one."""
    t, s = now["time"], event["time"]
    value = event["amount"] if window.value == "amount" else event.get(window.value)
    if any(event[name] is None or event[name] != now[name] for name in window.entities):
        return False
    if window.value is not None and (value is None or (isinstance(value, float) and not math.isfinite(value))):
        return False
    if late:
        if event["known"] is None:
            return False
        arrived, causal = max(event["known"], s + 1), True
    else:
        arrived, causal = s + window.delay_us, (s, event["id"]) <= (t, now["id"])
    edge = t - round(span * 86400e6)
    if window.resolution_us:
        edge = edge // window.resolution_us * window.resolution_us
    return causal and edge < arrived <= t


def oracle(window: Window, events: list[Event], now: Event, *, late: bool = False) -> list[float]:
    if any(now[name] is None for name in window.entities):
        return [math.nan] * len(window.names())
    features = []
    for span in window.spans:
        held = [event for event in events if visible(window, span, now, event, late)]
        order = (lambda e: (max(e["known"], e["time"] + 1), e["time"], e["id"])) if late else None
        held.sort(key=order or (lambda e: (e["time"], e["id"])))
        earlier = [event for event in held if event is not now]
        features += [aggregate_of(name, window.value, now, held, earlier) for name in window.aggregates]
    return features


def aggregate_of(name: str, column: str | None, now: Event, held: list[Event], earlier: list[Event]) -> float:
    values = [event.get(column) for event in held]
    if name == "count":
        return len(held)
    if name == "since":
        return (now["time"] - earlier[-1]["time"]) / 1e6 if earlier else math.nan
    if name == "distinct":
        return len(set(values))
    if name == "last":
        return float(earlier[-1][column]) if earlier else math.nan
    if name == "ratio":
        total = sum(Fraction(event[column]) for event in earlier)
        current = now[column]
        usable = total != 0 and current is not None and math.isfinite(current)
        return float(Fraction(current) / (total / len(earlier))) if usable else math.nan
    exact = [Fraction(value) for value in values]
    if not exact:
        return math.nan if name in ("min", "max") else 0.0
    if name in ("min", "max"):
        return float(min(exact) if name == "min" else max(exact))
    mean = sum(exact) / len(exact)
    if name == "std":
        spread = math.sqrt(sum((value - mean) ** 2 for value in exact) / len(exact))
        return spread if spread >= 1e-10 * math.sqrt(sum(value**2 for value in exact) / len(exact)) else 0.0
    return float(mean if name == "mean" else sum(exact))


def batch(window: Window, events: list[Event], *, late: bool = False, threads: int = 1) -> np.ndarray:
    """The features from the compiled kernel, `(events, names)`."""
    table = pa.table(
        {
            "id": pa.array([event["id"] for event in events], pa.int64()),
            "time": pa.array([event["time"] for event in events], pa.timestamp("us", tz="UTC")),
            "card": pa.array([event["card"] for event in events], pa.string()),
            "shop": pa.array([event["shop"] for event in events], pa.int64()),
            "amount": pa.array([event["amount"] for event in events], pa.float64()),
            "known": pa.array([event["known"] for event in events], pa.timestamp("us", tz="UTC")),
        }
    )
    arrival = (lambda _: "known") if late else (lambda _: None)
    columns = roll([window], table, key="id", time="time", arrival=arrival, threads=threads)
    return shaped(np.array([columns[name] for name in window.names()]).T, window)


def one_by_one(window: Window, events: list[Event], *, late: bool = False) -> np.ndarray:
    """The features of each event from the history of its entity."""
    rows = []
    for now in events:
        entity = [now[name] for name in window.entities]
        others = [e for e in events if e is not now and [e[name] for name in window.entities] == entity]
        others.sort(key=lambda e: (e["time"], e["id"]))
        past = Others(
            times=[e["time"] for e in others],
            keys=[e["id"] for e in others],
            values=None if window.value is None else [e.get(window.value) for e in others],
            arrivals=[NEVER if e["known"] is None else e["known"] for e in others] if late else None,
        )
        row = evaluate_one(window, past, time=now["time"], key=now["id"], value=now.get(window.value))
        rows.append([math.nan] * len(row) if None in entity else row)
    return shaped(rows, window)


def shaped(rows: Any, window: Window) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, len(window.names()))


def agree(found: np.ndarray, expected: np.ndarray, window: Window) -> None:
    """Sums to 1e-9 relative, everything else to the last bit."""
    exact = [i for i, name in enumerate(window.aggregates * len(window.spans)) if name in EXACT]
    np.testing.assert_array_equal(found[:, exact], expected[:, exact])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)
