"""The windows of one event from the state of its entity: the online twin of the batch kernel.

What each aggregate means is written down in `fraud.windows`.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from math import isnan

from ray_mlops.fraud.windows import Aggregate, old_edge
from ray_mlops.online.earlier import EARLIER
from ray_mlops.online.held import Rows, Steps
from ray_mlops.online.plan import Plan, Program, Seen, Stream
from ray_mlops.online.spikes import Spikes
from ray_mlops.online.state import EntityState

_NAN = math.nan

AGGREGATES: Mapping[Aggregate, Callable[[Rows], float]] = {
    "count": Rows.count,
    "sum": Rows.sum,
    "mean": Rows.mean,
    "min": Rows.min,
    "max": Rows.max,
    "std": Rows.std,
    "distinct": Rows.distinct,
    **EARLIER,
}


def answer(plan: Plan, seen: Seen, states: list[EntityState | None]) -> list[float]:
    """All window features of an event, in the order of the definition; NaN where it has no such entity.

    `states` are per stream. The event itself may be among the rows or not.
    """
    features = [_NAN] * plan.width
    for stream, state, values in zip(plan.streams, states, seen.values, strict=True):
        if state is not None:
            for program in stream.programs:
                value = _NAN if program.column is None else values[program.column]
                _window(program, stream, state, (seen.time, seen.id, value), features)
    return features


def _window(program: Program, stream: Stream, state: EntityState, now: tuple, features: list[float]) -> None:
    time, key, value = now
    at, delay, position = state.at, program.delay, program.position
    exact = not stream.by_arrival and not delay
    end = state.place(time, time, key) if exact else bisect_right(at, time - delay)
    values = None if program.column is None else state.columns[program.column]
    includes_now = exact and (values is None or not isnan(value))
    spikes = _spikes(program, state, time - delay, end)
    for span in program.spans:
        edge = old_edge(time, span, program.resolution) - delay
        held = Rows(state.times, values, (bisect_right(at, edge, 0, end), end), (time, value, includes_now))
        if state.cells is not None and len(state.cells):
            held.attach(Steps(state.cells, program.column, *state.cells.span(edge, time - delay)))
        held.spikes = spikes
        for aggregate in program.aggregates:
            features[position] = AGGREGATES[aggregate](held)
            position += 1


def _spikes(program: Program, state: EntityState, until: int, end: int) -> Spikes | None:
    """The spikes in the longest window of a program that counts them."""
    if "spikes" not in program.aggregates:
        return None
    return Spikes(program, state, bisect_right(state.at, until - max(program.spans), 0, end), end)
