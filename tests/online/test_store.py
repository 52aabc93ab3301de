"""What every store promises, each promise on each kind of store."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_mlops.errors import DataError
from ray_mlops.fraud.windows import Window
from ray_mlops.online import EntityStore, Stats, open_store
from tests.online.events import DAY, NOON, SECOND, card_and_shop, definition, event, table
from tests.online.streams import streams

COUNT, MEAN = "card_count_1d", "card_mean_amount_1d"


@pytest.fixture
def store(store_url: str) -> Iterator[EntityStore]:
    opened = open_store(store_url, card_and_shop())
    yield opened
    opened.close()


def test_features_are_inputs_calendar_and_windows(store: EntityStore) -> None:
    store.observe(event(1, NOON, amount=10.0))
    features = store.observe(event(2, NOON + SECOND, amount=20.0))
    assert list(features) == ["amount", *store.definition.computed]
    assert (features["amount"], features["hour"], features["weekend"]) == (20.0, 12.0, 0.0)
    assert (features[COUNT], features[MEAN]) == (2.0, 15.0)
    assert (features["shop_count_1d"], features["shop_mean_fraud_30d"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "at", [NOON, datetime.fromtimestamp(NOON / SECOND, UTC), "2018-08-08T12:00:00Z", "2018-08-08 12:00"]
)
def test_times_come_in_many_forms(store: EntityStore, at: Any) -> None:
    store.observe(event(1, NOON - DAY))
    assert store.observe(event(2, at))[COUNT] == 1.0
    assert store.peek(event(3, NOON + 1))[COUNT] == 2.0


def test_a_retry_changes_nothing_and_gets_the_same_answer(store: EntityStore) -> None:
    first = store.observe(event(5, NOON, amount=1.0))
    store.observe(event(6, NOON + 1, amount=9.0))
    late = store.observe(event(4, NOON - 1, amount=5.0))
    assert late[COUNT] == 1.0
    assert store.observe(event(5, NOON, amount=1.0)) == first
    assert store.observe_many([event(5, NOON, amount=1.0), event(7, NOON + 2, amount=1.0)])[1][MEAN] == 4.0
    assert store.stats().events == 4
    assert store.stats().duplicates == 2


def test_a_retry_within_one_batch(store: EntityStore) -> None:
    twice = store.observe_many([event(1, NOON), event(1, NOON), event(2, NOON + 1)])
    assert twice[0] == twice[1]
    assert twice[2][COUNT] == 2.0


def test_ties_are_ordered_by_id(store: EntityStore) -> None:
    assert store.observe(event(2, NOON))[COUNT] == 1.0
    assert store.observe(event(1, NOON))[COUNT] == 1.0
    assert store.observe(event(3, NOON))[COUNT] == 3.0


def test_late_events_count_for_what_comes_after_them(store: EntityStore) -> None:
    store.observe(event(1, NOON))
    late = store.observe(event(2, NOON - DAY // 2, amount=30.0))
    assert (late[COUNT], late[MEAN]) == (1.0, 30.0)
    assert store.observe(event(3, NOON + 1))[COUNT] == 3.0
    expired = store.observe(event(4, NOON - 50 * DAY))
    assert expired[COUNT] == 1.0
    assert (
        store.stats().model_dump() | {"bytes": 0}
        == Stats(events=4, late=2, expired=1, entities=2, records=4).model_dump()
    )


def test_peek_records_nothing(store: EntityStore) -> None:
    store.observe(event(1, NOON))
    assert store.peek(event(2, NOON + 1))[COUNT] == 2.0
    assert store.peek(event(2, NOON + 1))[COUNT] == 2.0
    assert store.stats().events == 1


def test_labels_count_after_their_delay(store: EntityStore) -> None:
    store.observe_many([event(1, NOON), event(2, NOON + 1), event(3, NOON + 2)])
    assert store.label(1, 1.0, NOON + DAY)
    assert store.label(2, 0.0, NOON + DAY)
    before = store.peek(event(9, NOON + 7 * DAY - 1))
    assert (before["shop_count_1d"], before["shop_mean_fraud_1d"]) == (0.0, 0.0)
    after = store.peek(event(9, NOON + 7 * DAY + 2))
    assert (after["shop_count_1d"], after["shop_mean_fraud_1d"]) == (2.0, 0.5)


def test_a_label_may_come_before_its_event(store: EntityStore) -> None:
    assert not store.label(1, 1.0, NOON)
    assert not store.label(1, 1.0, NOON)
    assert store.stats().waiting == 1
    store.observe(event(1, NOON))
    assert store.peek(event(9, NOON + 8 * DAY - 1))["shop_mean_fraud_1d"] == 1.0
    assert (store.stats().waiting, store.stats().labels) == (0, 1)


def test_a_second_label_corrects_the_first(store: EntityStore) -> None:
    store.observe(event(1, NOON))
    assert store.label_many([(1, 1.0, NOON + 5), (1, 1.0, NOON + 5), (1, 0.0, NOON + 6)]) == [True, True, True]
    corrected = store.peek(event(9, NOON + 8 * DAY - 1))
    assert (corrected["shop_count_1d"], corrected["shop_mean_fraud_1d"]) == (1.0, 0.0)
    assert store.stats().labels == 1


def test_absorbed_history_counts_and_is_not_absorbed_twice(store: EntityStore) -> None:
    rows = table(store.definition.data, [event(n, NOON + n, fraud=n % 2) for n in range(10)])
    store.observe(event(3, NOON + 3))
    store.label(7, 0.0, NOON + DAY)
    assert store.absorb(rows) == 9
    assert store.absorb(rows) == 0
    assert store.observe(event(10, NOON + 10))[COUNT] == 11.0
    later = store.peek(event(99, NOON + 8 * DAY - 1))
    # The label of 3 was not absorbed: that event was known; that of 7 had been brought by somebody who knew better.
    assert (later["shop_count_1d"], later["shop_mean_fraud_1d"]) == (9.0, 3 / 9)
    assert store.observe(event(5, NOON + 5))[COUNT] == 6.0
    assert store.stats().events == 11


def test_an_event_of_nobody_has_no_windows(store: EntityStore) -> None:
    features = store.observe(event(1, NOON, card=None))
    assert features[COUNT] != features[COUNT]
    assert features["shop_count_1d"] == 0.0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"id": None}, "id: None identifies no event"),
        ({"id": "seven"}, "id: 'seven'"),
        ({"id": 1 << 64}, "id: 18446744073709551616"),
        ({"at": 1 << 62}, "at: 4611686018427387904"),
        ({"shop": "\ud800"}, "shop: .* is not valid Unicode"),
        ({"at": "yesterday"}, "at: 'yesterday' is no time"),
        ({"amount": "ten"}, "amount: 'ten' is no number"),
        ({"card": "x"}, "card: 'x'"),
    ],
)
def test_what_cannot_be_read_is_named_and_records_nothing(store: EntityStore, wrong: dict, named: str) -> None:
    with pytest.raises(DataError, match=named):
        store.observe_many([event(1, NOON), {**event(2, NOON), **wrong}])
    assert store.stats().events == 0


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(
    text_keys=st.booleans(),
    events=st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "at", "card", "shop", "city", "amount"), ANYTHING)),
        max_size=3,
    ),
)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_read_or_refused(tmp_path: Path, text_keys: bool, events: list) -> None:
    windows = (
        Window(entity=("shop", "city"), value="city", spans=(1.0,), aggregates=("distinct",)),
        Window(entity="card", value="amount", spans=(1.0,), aggregates=("mean", "std")),
    )
    store = open_store(f"sqlite:///{tmp_path}/entities.db", definition(*windows, text_keys=text_keys))
    for sent in events:
        with contextlib.suppress(DataError):
            store.observe({"id": "e" if text_keys else 1, "at": NOON, **sent})
    store.close()


def test_labels_that_cannot_be_read(store: EntityStore) -> None:
    labels: list[Any] = [(1, "fraud", NOON), (1, float("nan"), NOON), (1, 1.0, "never"), ("x", 1.0, NOON)]
    for wrong in labels:
        with pytest.raises(DataError):
            store.label(*wrong)
    assert store.stats().waiting == 0


def test_another_definition_in_the_same_place_is_not_disturbed(store_url: str) -> None:
    first = open_store(store_url, card_and_shop())
    other = open_store(store_url, definition(Window(entity="shop", spans=(1.0,))))
    first.observe(event(1, NOON))
    assert other.observe(event(1, NOON))["shop_count_1d"] == 1.0
    first.close()
    other.close()


def test_odd_names_of_entities(store_url: str) -> None:
    pair = definition(Window(entity=("shop", "city"), value="fraud", spans=(1.0,), aggregates=("count",), delay=1.0))
    with_pair = open_store(store_url, pair)
    names = [("a|b", "c"), ("a", "b|c"), ("a\\", "|b"), ("a\nb", "c"), ("a\\nb", "c"), ("", "")]
    for n, (shop, city) in enumerate(names):
        with_pair.observe(event(n, NOON, shop=shop, city=city))
        assert with_pair.label(n, 1.0, NOON + 1)
    for shop, city in names:
        probe = event(99, NOON + DAY, shop=shop, city=city)
        assert with_pair.peek(probe)["shop_city_count_1d"] == 1.0
    with_pair.close()


@given(
    events=streams(label_time=True), order=st.randoms(use_true_random=False), resolution=st.sampled_from([0.0, 600.0])
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_arrival_does_not_matter_afterwards(events: list, order: Any, resolution: float) -> None:
    """Events and labels in any order leave the state that the batch kernel sees."""
    made = definition(
        Window(entity="card", value="amount", spans=(1.0, 9.0), aggregates=("count", "mean"), resolution=resolution),
        Window(entity="shop", value="fraud", spans=(3.0, 9.0), aggregates=("sum", "last"), resolution=resolution),
        label_time=True,
    )
    probe = event(1000, events[-1]["at"] + DAY)
    labels = [(e["id"], e["fraud"], e["known_at"]) for e in events if e["known_at"] is not None]
    coming: list[tuple[str, Any]] = [("event", e) for e in events] + [("label", label) for label in labels]
    order.shuffle(coming)
    store = open_store("memory://", made)
    for kind, what in coming:
        store.observe(what) if kind == "event" else store.label(*what)
    expected = made.compute(table(made.data, [*events, probe])).slice(len(events)).to_pylist()[0]
    online = store.peek(probe)
    for name in made.computed:
        assert online[name] == pytest.approx(expected[name], rel=1e-9, nan_ok=True), name


@given(events=streams(), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_an_event_sees_what_has_come_and_lies_before_it(events: list, order: Any) -> None:
    """Also one that comes late, as long as it is less than a day late."""
    made = definition(
        Window(entity="card", value="amount", spans=(1.0, 5.0), aggregates=("count", "sum", "last")),
        Window(entity="shop", spans=(5.0,), aggregates=("count", "since"), delay=1.0),
    )
    order.shuffle(events)
    store, newest = open_store("memory://", made), 0
    for come, late in enumerate(events):
        newest = max(newest, late["at"])
        features = store.observe(late)
        if late["at"] >= newest - DAY:
            batch = made.compute(table(made.data, events[: come + 1])).slice(come).to_pylist()[0]
            for name in made.computed:
                assert features[name] == pytest.approx(batch[name], rel=1e-9, nan_ok=True), name
