"""What is written is what was there, as entries and as a snapshot."""

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.windows import Window
from ray_mlops.online import codec
from ray_mlops.online.plan import Plan, Stream
from ray_mlops.online.state import EntityState
from tests.online.events import DAY, NOON, definition

KEYS = {True: st.text(max_size=5), False: st.integers(-(1 << 63), (1 << 63) - 1)}


def stream(*, text_keys: bool, label_time: bool, resolution: float) -> Stream:
    window = Window(
        entity="card", value="fraud", spans=(9.0,), aggregates=("sum", "distinct"), delay=1.0, resolution=resolution
    )
    return Plan(definition(window, text_keys=text_keys, label_time=label_time)).streams[0]


def content(state: EntityState) -> list[Any]:
    cells = [] if state.cells is None else [list(getattr(owner, name)) for owner, name, _ in state.cells.arrays()]
    arrays = [list(part) for part in (state.at, state.times, state.keys, *state.columns)]
    return [repr(part) for part in (*arrays, *cells, state.settled)]


@given(data=st.data(), resolution=st.sampled_from([0.0, 3600.0]))
@pytest.mark.parametrize("text_keys", [False, True])
@pytest.mark.parametrize("label_time", [False, True])
@settings(deadline=None, max_examples=40)
def test_entries_and_snapshots_give_the_same_state(
    data: st.DataObject, resolution: float, text_keys: bool, label_time: bool
) -> None:
    made = stream(text_keys=text_keys, label_time=label_time, resolution=resolution)
    state, entries = EntityState(made), b""
    for key in data.draw(st.lists(KEYS[text_keys], max_size=100, unique=True)):
        time = NOON + data.draw(st.integers(0, 5)) * DAY
        named = codec.head(time, key)
        entry = b"" if made.by_arrival else codec.event_entry(named, [float("nan")])
        if data.draw(st.booleans()):
            entry += codec.LABEL + named + codec.label_tail(time + DAY, data.draw(st.sampled_from([0.0, 1.0])))
        codec.apply(made, state, entry)
        entries += entry
    if not resolution:
        again = EntityState(made)
        codec.apply(made, again, entries)
        assert content(again) == content(state)
    state.advance(made, NOON + 6 * DAY)
    assert content(codec.unpack(made, codec.pack(state))) == content(state)


def test_nothing_written_is_an_empty_state() -> None:
    made = stream(text_keys=False, label_time=False, resolution=0.0)
    assert len(codec.unpack(made, b"")) == 0
    assert codec.unpack(made, codec.pack(EntityState(made))).at == array("q")
