"""Sums per step equal the batch result, also for what comes after an event was summed: late events, labels, corrections.

Rows are summed after three events here, not after 64, so that short streams reach it.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.windows import COMPARED, ORDERED, Aggregate, Window
from ray_mlops.online import parity, shelf, state
from ray_mlops.online.memory_store import MemoryShelf
from ray_mlops.online.plan import Plan
from ray_mlops.online.shelf import label, observe
from tests.online.events import DAY, EVERYTHING, NOON, SECOND, definition, event, table

thorough = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
STEP = st.sampled_from([600.0, 7200.0, 86_400.0])
SUMMED: tuple[Aggregate, ...] = tuple(name for name in EVERYTHING if name not in ORDERED)
OF_LABELS: tuple[Aggregate, ...] = tuple(name for name in SUMMED if name not in COMPARED)


@pytest.fixture(autouse=True, scope="module")
def settled_soon() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "SETTLE_ROWS", 3)
        patch.setattr(shelf.Clock, "EVERY", 1)
        patch.setattr(shelf.Clock, "RECENT", 4)
        yield


@st.composite
def busy(draw: st.DrawFn, *, label_time: bool) -> list[dict[str, Any]]:
    """30 to 60 events of one or two cards and shops within 4 or 16 days, in order of (time, id), some at one instant."""
    count, days = draw(st.integers(30, 60)), draw(st.sampled_from([4.0, 16.0]))
    random = Random(draw(st.integers(0, 2**32)))
    few, step = draw(st.integers(1, 2)), draw(st.sampled_from([1, DAY // 48]))
    times = sorted(NOON + random.randrange(int(days * DAY)) // step * step for _ in range(count))
    return [
        {
            "id": number,
            "at": at,
            "card": random.randint(1, few),
            "shop": random.choice("ab"[:few]),
            "city": random.choice(["x", "y", "z", None]),
            "amount": random.choice([None, -3.5, *(round(random.gammavariate(2, 25), 2) for _ in range(8))]),
            "fraud": random.choice([None, 0, 0, 1]),
            "known_at": at + random.choice([0, DAY // 48, 3 * DAY, 12 * DAY]) if label_time else None,
        }
        for number, at in enumerate(times)
    ]


@st.composite
def windows(draw: st.DrawFn, *, label_time: bool) -> tuple[Window, ...]:
    """Amounts, cities and labels of an entity, all with one resolution; labels sometimes share the stream of the others."""
    resolution, delay = draw(STEP), draw(st.sampled_from([0.5, 2.0]))
    entity = draw(st.sampled_from(["card", ("card", "shop")]))
    spans = tuple(draw(st.lists(st.sampled_from([0.1, 1.0, 3.0, 30.0]), min_size=1, max_size=2, unique=True)))
    some = st.lists(st.sampled_from(OF_LABELS), min_size=1, unique=True).map(tuple)
    risk = draw(st.just(OF_LABELS) | some)
    other = draw(st.sampled_from([0.0, 0.0 if label_time else delay]))
    common: dict[str, Any] = {"entity": entity, "spans": spans, "resolution": resolution}
    return (
        Window(value="fraud", aggregates=risk, delay=delay, prefix="risk", **common),
        Window(value="amount", aggregates=SUMMED, delay=other, **common),
        Window(value="city", aggregates=("distinct", "count"), delay=other, prefix="city", **common),
        Window(aggregates=("count", "since"), delay=other, prefix="all", **common),
    )


@given(data=st.data(), label_time=st.booleans(), rows_per_batch=st.sampled_from([1, 7]))
@thorough
def test_in_order_every_answer_is_the_batch_one(data: st.DataObject, label_time: bool, rows_per_batch: int) -> None:
    made = definition(*data.draw(windows(label_time=label_time)), label_time=label_time)
    rows = table(made.data, data.draw(busy(label_time=label_time)))
    report = parity(made, rows, data.draw(st.sampled_from([None, rows.num_rows // 2])), rows_per_batch=rows_per_batch)
    assert report.mismatches == 0, str(report)


@given(data=st.data(), label_time=st.booleans())
@thorough
def test_what_comes_after_its_step_was_summed_counts_afterwards(data: st.DataObject, label_time: bool) -> None:
    """Late events, labels long after their delay, and labels that correct others: all of them, in any order."""
    made = definition(*data.draw(windows(label_time=label_time)), label_time=label_time)
    events = data.draw(busy(label_time=label_time))
    plan = Plan(made)
    store = MemoryShelf(plan)
    clock = shelf.Clock()
    corrected = False
    for kind, *what in data.draw(coming(events, label_time=label_time)):
        if kind == "event":
            observe(plan, store, plan.read(what[0]), clock)
        else:
            corrected |= kind == "wrong label"
            label(plan, store, what[0], *what[1:])
    inexact = ties(events)
    for after in (0.0, 0.4, 1.0, 2.5, 9.0):
        probe = plan.read(event(1000, events[-1]["at"] + SECOND + int(after * DAY)))
        online = dict(
            zip(
                made.computed[len(made.calendar) :],
                shelf.answer(plan, probe, shelf.states_of(plan, store, probe)),
                strict=True,
            )
        )
        asked = event(1000, probe.time)
        batch = made.compute(table(made.data, [*events, asked])).slice(len(events)).to_pylist()[0]
        for name, value in online.items():
            if inexact and "_last_" in name:
                continue
            if corrected and label_time and name.startswith("risk") and ("_last_" in name or "_since_" in name):
                continue
            assert value == pytest.approx(batch[name], rel=1e-9, nan_ok=True), name


def test_a_step_whose_only_label_was_corrected_away_is_the_newest_no_more() -> None:
    risk = Window(entity="card", value="fraud", spans=(30.0,), aggregates=("last", "since"), resolution=600.0)
    plan = Plan(definition(risk, label_time=True))
    store, clock = MemoryShelf(plan), shelf.Clock()
    for id in range(15):
        observe(plan, store, plan.read(event(id, NOON + id * DAY)), clock)
        if id == 4:
            for old in range(5):
                label(plan, store, old, float(old != 3), NOON + 5 * DAY + old * DAY // 10)
    label(plan, store, 4, 1.0, NOON + 4 * DAY + SECOND)
    probe = plan.read(event(1000, NOON + 15 * DAY))
    assert shelf.answer(plan, probe, shelf.states_of(plan, store, probe)) == [0.0, 12 * 86_400.0]


def ties(events: list[dict[str, Any]]) -> bool:
    times = [event["at"] for event in events]
    return len(set(times)) < len(times)


@st.composite
def coming(draw: st.DrawFn, events: list[dict[str, Any]], *, label_time: bool) -> list[tuple[Any, ...]]:
    """Events up to some hours late, labels after them, half of these wrong at first."""
    found: list[tuple[float, int, tuple[Any, ...]]] = []
    for number, one in enumerate(events):
        at = one["at"] + draw(st.sampled_from([0, 0, 0, DAY // 24, DAY // 2]))
        asked = {name: value for name, value in one.items() if name not in ("fraud", "known_at")}
        found.append((at, 3 * number, ("event", asked)))
        if one["fraud"] is None or (label_time and one["known_at"] is None):
            continue
        known = one["known_at"] if label_time else one["at"]
        told = at + draw(st.sampled_from([0, DAY, 3 * DAY, 8 * DAY]))
        if draw(st.booleans()):
            found.append(
                (told, 3 * number + 1, ("wrong label", one["id"], float(draw(st.integers(0, 2))), known - DAY))
            )
            told += draw(st.sampled_from([0, DAY, 3 * DAY]))
        found.append((told, 3 * number + 2, ("label", one["id"], float(one["fraud"]), known)))
    return [what for *_, what in sorted(found, key=lambda each: each[:2])]
