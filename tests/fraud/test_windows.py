"""The batch kernel gives what the definition says, event by event."""

import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.windows import ORDERED, Aggregate, Window
from tests.fraud.window_oracle import Event, agree, batch, oracle, shaped

HOUR_US = 3_600_000_000
ALL: tuple[Aggregate, ...] = get_args(Aggregate)

money = st.integers(-10_000_00, 10_000_00).map(lambda cents: cents / 100) | st.sampled_from([0.0, 1e9, 1e-3])
amounts = st.none() | st.sampled_from([math.nan, math.inf]) | money
moments = st.integers(0, 60).map(lambda hours: hours * HOUR_US) | st.integers(-2, 2)
event_lists = st.lists(
    st.fixed_dictionaries(
        {
            "time": moments,
            "card": st.sampled_from(["a", "b", None]),
            "shop": st.sampled_from([7, 8, None]),
            "amount": amounts,
            "known": st.none() | moments,
        }
    ),
    max_size=25,
).flatmap(lambda rows: st.permutations(range(len(rows))).map(lambda ids: number(rows, ids)))


def number(rows: list[Event], ids: list[int]) -> list[Event]:
    return [{**row, "id": key} for row, key in zip(rows, ids, strict=True)]


def window_of(aggregates: list[Aggregate], resolution: float, **fields: Any) -> Window:
    return Window(aggregates=tuple(aggregates), resolution=0.0 if ORDERED & {*aggregates} else resolution, **fields)


windows = st.builds(
    window_of,
    entity=st.sampled_from(["card", "shop", ("card", "shop")]),
    value=st.just("amount"),
    spans=st.sampled_from([(0.5,), (1, 1 / 24), (0.25, 2)]),
    aggregates=st.lists(st.sampled_from(ALL), min_size=1, unique=True),
    delay=st.sampled_from([0.0, 1 / 24, 1.0]),
    resolution=st.sampled_from([0.0, 3600.0, 5000.0]),
    spike=st.sampled_from([0.5, 1.0, 2.0]),
    baseline=st.sampled_from([0.1, 1.0, 3.0]),
)


@given(event_lists, windows, st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_kernel_gives_what_the_definition_says(events: list[Event], window: Window, late: bool) -> None:
    expected = shaped([oracle(window, events, now, late=late) for now in events], window)
    agree(batch(window, events, late=late), expected, window)


@given(event_lists, st.sampled_from([("count", "since"), ("distinct", "count"), ("since",)]))
@settings(deadline=None)
def test_values_that_are_only_counted_may_be_strings(events: list[Event], aggregates: tuple[Aggregate, ...]) -> None:
    value = "card" if "distinct" in aggregates else None
    window = Window(entity="shop", value=value, spans=(1,), aggregates=aggregates)
    expected = shaped([oracle(window, events, now) for now in events], window)
    np.testing.assert_array_equal(batch(window, events), expected)


@given(event_lists, windows, st.booleans(), moments)
@settings(deadline=None)
def test_what_happens_later_changes_nothing(events: list[Event], window: Window, late: bool, now: int) -> None:
    past = [event for event in events if event["time"] <= now]
    whole = batch(window, events, late=late)
    kept = [i for i, event in enumerate(events) if event["time"] <= now]
    np.testing.assert_array_equal(batch(window, past, late=late), whole[kept])


@given(event_lists, windows, st.randoms())
@settings(deadline=None)
def test_the_order_of_the_rows_changes_nothing(events: list[Event], window: Window, random: Any) -> None:
    order = list(range(len(events)))
    random.shuffle(order)
    found = batch(window, [events[i] for i in order], threads=2)
    np.testing.assert_array_equal(found, batch(window, events)[order])


# ---- stated cases --------------------------------------------------------------------------------------------------


def event(hour: float, amount: float | None = 1.0, **other: Any) -> Event:
    base = {"id": 0, "time": round(hour * HOUR_US), "card": "a", "shop": 1, "amount": amount, "known": None}
    return {**base, **other}


def test_the_old_edge_is_open_and_the_new_one_closed() -> None:
    window = Window(entity="card", spans=(1,))
    events = [event(0, id=0), event(24, id=1), event(24, id=2)]
    np.testing.assert_array_equal(batch(window, events)[:, 0], [1, 1, 2])


def test_a_delay_shifts_both_edges_and_leaves_the_event_out() -> None:
    window = Window(entity="card", value="amount", spans=(1,), aggregates=("count", "sum"), delay=1)
    events = [event(0, 5.0, id=0), event(24, 7.0, id=1), event(48, 9.0, id=2)]
    np.testing.assert_array_equal(batch(window, events), [[0, 0], [1, 5], [1, 7]])


def test_a_label_counts_from_the_time_it_became_known() -> None:
    window = Window(entity="card", value="amount", spans=(2,), aggregates=("sum",), delay=1)
    events = [event(0, 5.0, id=0, known=30 * HOUR_US), event(29, 0.0, id=1), event(30, 0.0, id=2), event(79, id=3)]
    np.testing.assert_array_equal(batch(window, events, late=True)[:, 0], [0, 0, 5, 0])


def test_resolution_moves_the_old_edge_in_steps() -> None:
    window = Window(entity="card", spans=(1,), resolution=6 * 3600)
    events = [event(1, id=0), event(7, id=1), event(29, id=2), event(30, id=3)]
    np.testing.assert_array_equal(batch(window, events)[:, 0], [1, 2, 3, 3])


def test_a_spike_is_judged_by_what_came_before_it() -> None:
    window = Window(entity="card", value="amount", spans=(2,), aggregates=("spikes",), spike=3, baseline=2)
    events = [event(12 * n, amount, id=n) for n, amount in enumerate([10, 30, 59, 60, 99, 1, 1])]
    # 30 is three times 10; 59 is not three times 20, nor 60 three times 33; 99 is less than three times 49.7.
    np.testing.assert_array_equal(batch(window, events)[:, 0], [0, 0, 1, 1, 1, 0, 0])


def test_a_streak_ends_with_the_first_event_that_is_not_positive() -> None:
    aggregates: tuple[Aggregate, ...] = ("streak", "streak_age", "since_positive")
    window = Window(entity="card", value="amount", spans=(9,), aggregates=aggregates, delay=1)
    events = [event(24 * n, amount, id=n) for n, amount in enumerate([1, 0, 1, None, 2, 0, 0])]
    nothing, day = math.nan, 86_400.0
    expected = [
        [0, nothing, nothing], [1, day, day], [0, nothing, 2 * day], [1, day, day], [1, 2 * day, 2 * day],
        [2, 3 * day, day], [0, nothing, 2 * day],
    ]  # fmt: skip
    np.testing.assert_array_equal(batch(window, events), expected)


def test_the_current_value_is_compared_with_those_before_it() -> None:
    aggregates: tuple[Aggregate, ...] = ("ratio", "max_ratio", "geometric_ratio", "zscore")
    window = Window(entity="card", value="amount", spans=(9,), aggregates=aggregates)
    found = batch(window, [event(n, amount, id=n) for n, amount in enumerate([2, 8, 20])])[2]
    np.testing.assert_allclose(found, [4, 2.5, 5, 5])


def test_empty_windows_have_their_stated_values() -> None:
    window = Window(entity="card", value="amount", spans=(1,), aggregates=ALL, delay=1)
    zero = {"count", "sum", "mean", "std", "distinct", "spikes", "streak"}
    expected = [0 if name in zero else math.nan for name in ALL]
    np.testing.assert_array_equal(batch(window, [event(0)])[0], expected)
    assert batch(window, []).shape[0] == 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_sums_stay_exact_after_a_long_history(scale: float) -> None:
    rng = np.random.default_rng(5)
    amounts = rng.gamma(2.0, 25.0, 200_000) * scale
    amounts[100] = 1e10 * scale
    window = Window(entity="card", value="amount", spans=(1,), aggregates=("sum", "std"))
    events = [event(i / 10, amount, id=i) for i, amount in enumerate(amounts.tolist())]
    found = batch(window, events)
    for row in (0, 150, 1_000, 199_999):
        held = amounts[max(row - 239, 0) : row + 1].tolist()
        assert found[row, 0] == math.fsum(held)
        assert found[row, 1] == pytest.approx(float(np.std(held)), rel=1e-9)


def test_many_rows_of_one_entity_among_many_entities() -> None:
    rng = np.random.default_rng(3)
    events = [
        event(hour, round(amount, 2), id=i, card="heavy" if heavy else f"card {card}")
        for i, (hour, amount, heavy, card) in enumerate(
            zip(
                rng.uniform(0, 500, 40_000),
                rng.gamma(2, 25, 40_000),
                rng.random(40_000) < 0.2,
                rng.integers(0, 3_000, 40_000),
                strict=True,
            )
        )
    ]
    window = Window(entity="card", value="amount", spans=(1, 7), aggregates=("count", "mean", "distinct", "max"))
    found = batch(window, events, threads=2)
    for card in ("heavy", "card 7"):
        own = [i for i, e in enumerate(events) if e["card"] == card]
        sample = [events[i] for i in own][:200]
        latest = max(e["time"] for e in sample)
        kept = [e for e in events if e["card"] == card and e["time"] <= latest]
        probe = sorted(kept, key=lambda e: e["time"])[:40]
        expected = np.array([oracle(window, kept, now) for now in probe])
        agree(found[[now["id"] for now in probe]], expected, window)


# ---- the value -----------------------------------------------------------------------------------------------------


def test_names_say_entity_aggregate_value_and_span() -> None:
    window = Window(entity=("card", "shop"), value="amount", spans=(0.5, 7), aggregates=("count", "mean"), prefix="p")
    assert window.names() == (
        "p_card_shop_count_0.5d", "p_card_shop_mean_amount_0.5d", "p_card_shop_count_7d", "p_card_shop_mean_amount_7d",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"spans": (0,)}, "positive"),
        ({"spans": (1, 1)}, "different"),
        ({"spans": (1,), "aggregates": ("mean",)}, "of no value"),
        ({"spans": (1,), "entity": ()}, "needs an entity"),
        ({"spans": (1,), "aggregates": ("median",)}, "aggregates"),
        ({"spans": (1,), "value": "amount", "aggregates": ("streak",), "resolution": 60}, "every event by itself"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Window(**{"entity": "card", **wrong})
