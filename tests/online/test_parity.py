"""Online equals batch, for any stream and any windows, in every store."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.windows import COMPARED, ORDERED, Window, old_edge
from ray_mlops.online import ParityReport, aggregates, parity
from tests.online.conftest import empty_redis
from tests.online.events import DAY, EVERYTHING, NOON, card_and_shop, definition, event, table
from tests.online.streams import streams, windows

thorough = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
quick = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


class Case(NamedTuple):
    """What is replayed: all rows or the last half, in batches of one or of many."""

    definition: FeatureDefinition
    rows: pa.Table
    last: int | None
    rows_per_batch: int

    def report(self, url: str) -> ParityReport:
        return parity(self.definition, self.rows, self.last, url=url, rows_per_batch=self.rows_per_batch)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    text_keys, label_time = draw(st.booleans()), draw(st.booleans())
    made = definition(*draw(windows(label_time=label_time)), text_keys=text_keys, label_time=label_time)
    rows = table(made.data, draw(streams(text_keys=text_keys, label_time=label_time)))
    return Case(made, rows, draw(st.sampled_from([None, rows.num_rows // 2])), draw(st.sampled_from([1, 7, 1000])))


@given(case=cases())
@thorough
def test_any_stream_gives_the_batch_features(case: Case) -> None:
    report = case.report("memory://")
    assert report.mismatches == 0, str(report)


@given(case=cases())
@quick
def test_sqlite_gives_the_batch_features(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    report = case.report(f"sqlite:///{tmp_path_factory.mktemp('store')}/entities.db")
    assert report.mismatches == 0, str(report)


@given(case=cases())
@quick
def test_redis_gives_the_batch_features(redis_url: str, case: Case) -> None:
    report = case.report(empty_redis(redis_url))
    assert report.mismatches == 0, str(report)


@pytest.mark.parametrize("resolution", [0.0, 1800.0])
@pytest.mark.parametrize("label_time", [False, True])
def test_long_streams_of_few_entities(store_url: str, resolution: float, label_time: bool) -> None:
    """Long enough for snapshots, pruning and, with a resolution, sums per step."""
    every = tuple(name for name in EVERYTHING if not (resolution and name in ORDERED))
    label = tuple(name for name in every if name not in COMPARED)
    made = definition(
        Window(entity="card", value="amount", spans=(0.5, 2.0), aggregates=every, resolution=resolution),
        Window(entity="card", spans=(2.0,), aggregates=("count", "since"), resolution=resolution, prefix="all"),
        Window(
            entity="card", value="city", spans=(2.0,), aggregates=("distinct",), resolution=resolution, prefix="city"
        ),
        Window(entity="shop", value="fraud", spans=(1.0, 3.0), aggregates=label, delay=1.0, resolution=resolution),
        label_time=label_time,
    )
    rows = table(made.data, crowd(1600, days=8.0))
    report = parity(made, rows, 1300, url=store_url, rows_per_batch=13)
    assert report.mismatches == 0, str(report)
    assert report.history > 0


def crowd(count: int, *, days: float) -> list[dict[str, Any]]:
    """Events of three cards in two shops, their labels known after some hours to two days."""
    random = np.random.default_rng(7)
    times = np.sort(random.integers(0, int(days * DAY), count)) + NOON
    return [
        {
            "id": number,
            "at": at,
            "card": int(random.integers(3)),
            "shop": "ab"[int(random.integers(2))],
            "city": "uvwxyz"[int(random.integers(6))],
            "amount": float(random.integers(1, 10_000)) / 100,
            "fraud": int(random.random() < 0.1) if random.random() < 0.95 else None,
            "known_at": at + int(random.integers(2 * DAY)),
        }
        for number, at in enumerate(times.tolist())
    ]


def test_a_skew_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong comparison in the online path: the column, the entity and the row are in the report."""
    made = card_and_shop()
    rows = table(made.data, [event(n, NOON + n * DAY // 4, amount=float(n)) for n in range(9)])
    assert parity(made, rows).first is None
    monkeypatch.setattr(aggregates, "old_edge", lambda time, span, resolution: old_edge(time, span, resolution) - 1)
    report = parity(made, rows, 6)
    assert report.first is not None
    assert (report.first.column, report.first.entity, report.first.row) == ("card_count_1d", "card 1", 1)
    assert "card_count_1d of row 1 (event 4, card 1): batch 4.0, online 5.0" in str(report)


def test_an_empty_replay_has_no_skew() -> None:
    made = card_and_shop()
    assert parity(made, table(made.data, [])).rows == 0
    assert parity(made, table(made.data, [event(1, NOON)]), 0).mismatches == 0
