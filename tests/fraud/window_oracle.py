"""What a window holds, said as plainly as it can be, and the batch kernel behind the same face."""

import itertools
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.fraud.rolling import roll
from ray_mlops.fraud.windows import Window

Event = dict[str, Any]
EXACT = frozenset(
    {
        "count",
        "distinct",
        "since",
        "last",
        "min",
        "max",
        "max_ratio",
        "spikes",
        "streak",
        "streak_age",
        "since_positive",
    }
)


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
        features += [
            spikes(window, events, earlier, late)
            if name == "spikes"
            else aggregate_of(name, window.value, now, held, earlier)
            for name in window.aggregates
        ]
    return features


def spikes(window: Window, events: list[Event], earlier: list[Event], late: bool) -> float:
    judge = window.model_copy(update={"spans": (window.baseline,), "aggregates": ("ratio",)})
    return sum(oracle(judge, events, event, late=late)[0] >= window.spike for event in earlier)


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
    if name in ("streak", "streak_age", "since_positive"):
        return run_of(name, now, [(event["time"], event[column]) for event in earlier])
    if name in ("ratio", "max_ratio", "geometric_ratio", "zscore"):
        current = now[column]
        usable = current is not None and math.isfinite(current)
        return compare(name, current, [event[column] for event in earlier]) if usable and earlier else math.nan
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


def run_of(name: str, now: Event, earlier: list[tuple[int, float]]) -> float:
    if name == "since_positive":
        positive = [time for time, value in earlier if value > 0]
        return (now["time"] - positive[-1]) / 1e6 if positive else math.nan
    streak = list(itertools.takewhile(lambda pair: pair[1] > 0, reversed(earlier)))
    if name == "streak":
        return len(streak)
    return (now["time"] - streak[-1][0]) / 1e6 if streak else math.nan


def compare(name: str, current: float, before: list[float]) -> float:
    """The current value beside those before it, of which there are some."""
    if name == "max_ratio":
        return current / max(before) if max(before) else math.nan
    if name == "geometric_ratio":
        positive = [value for value in before if value > 0]
        usual = math.prod(Decimal(value) ** (Decimal(1) / len(positive)) for value in positive)
        return float(Decimal(current) / usual) if positive and current > 0 else math.nan
    mean = sum(map(Fraction, before)) / len(before)
    if name == "ratio":
        return float(Fraction(current) / mean) if mean else math.nan
    spread = aggregate_of("std", "value", {}, [{"value": value} for value in before], [])
    return float(Fraction(current) - mean) / spread if spread else math.nan


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


def shaped(rows: Any, window: Window) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, len(window.names()))


def agree(found: np.ndarray, expected: np.ndarray, window: Window) -> None:
    """Sums to 1e-9 relative, everything else to the last bit."""
    exact = [i for i, name in enumerate(window.aggregates * len(window.spans)) if name in EXACT]
    np.testing.assert_array_equal(found[:, exact], expected[:, exact])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)
