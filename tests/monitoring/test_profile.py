import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_mlops.contract import Column, Schema
from ray_mlops.monitoring.findings import findings
from ray_mlops.monitoring.profile import Plan, TablePart

SCHEMA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="card", type="string"),
        Column(name="shop", type="int64"),
        Column(name="amount", type="float64", nullable=True),
        Column(name="kind", type="string", nullable=True),
        Column(name="abroad", type="bool"),
        Column(name="seen", type="timestamp", nullable=True),
        Column(name="fraud", type="int64"),
    ),
    key="id",
    time="time",
    label="fraud",
    amount="amount",
    entities=("card", "shop"),
)
START = datetime(2024, 1, 1, tzinfo=UTC)


def table(rows: int, seed: int = 0, **columns: pa.Array) -> pa.Table:
    """Random events of 20 days, with missing amounts, NaN, and missing texts."""
    random = np.random.default_rng(seed)
    minutes = random.integers(0, 20 * 1440, rows).tolist()
    amount = random.lognormal(3, 1, rows)
    kinds = random.choice(["chip", "online", "swipe"], rows)
    made = {
        "id": pa.array(range(rows)),
        "time": pa.array([START + timedelta(minutes=minute) for minute in minutes], pa.timestamp("us", tz="UTC")),
        "card": pa.array([f"c{card}" for card in random.integers(0, 50, rows)]),
        "shop": pa.array(random.integers(0, 30, rows)),
        "amount": pa.array(np.where(random.random(rows) < 0.05, np.nan, amount), mask=random.random(rows) < 0.05),
        "kind": pa.array(kinds, pa.string(), mask=random.random(rows) < 0.1),
        "abroad": pa.array(random.random(rows) < 0.2),
        "seen": pa.array([START] * rows, pa.timestamp("us", tz="UTC"), mask=random.random(rows) < 0.5),
        "fraud": pa.array((random.random(rows) < 0.1).astype(np.int64)),
    }
    return pa.table({**made, **columns})


def told(parts: list[TablePart], plan: Plan) -> str:
    return json.dumps(findings(TablePart.merged(parts), plan, leak_power=0.999))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 399), max_size=5, unique=True),
    st.randoms(use_true_random=False),
    st.sampled_from([4, 16, 1 << 16]),
)
def test_findings_do_not_depend_on_blocks_or_order(cuts, random, limit):
    plan = Plan(SCHEMA, {"amount": 1.0}, column_limit=limit, entity_limit=limit, row_limit=limit * 8)
    events = table(400)
    bounds = [0, *sorted(cuts), 400]
    blocks = [events.slice(a, b - a) for a, b in pairwise(bounds)]
    parts = [TablePart.of(block, plan) for block in blocks]
    random.shuffle(parts)
    nested = [TablePart.merged(parts[:2]), *parts[2:]]
    assert told(parts, plan) == told(nested, plan) == told([TablePart.of(events, plan)], plan)


def test_figures_agree_with_numpy():
    events = table(5_000)
    plan = Plan(SCHEMA, {})
    found = json.loads(told([TablePart.of(events, plan)], plan))
    fraud = events["fraud"].to_numpy()
    amount = events["amount"].to_numpy(zero_copy_only=False)
    present = amount[~np.isnan(amount)]
    column = found["columns"]["amount"]
    assert (found["rows"], found["positives"]) == (5_000, fraud.sum())
    assert column["missing"] == np.isnan(amount).sum()
    assert column["mean"] == pytest.approx(present.mean()) and column["std"] == pytest.approx(present.std(ddof=1))
    assert column["quantiles"]["0.5"] == np.quantile(present, 0.5, method="inverted_cdf")
    assert sum(column["histogram"]["counts"]) + column["histogram"]["above"] == len(present)
    assert found["amount"] == pytest.approx(np.nansum(amount))
    assert found["prevalence_by_amount"] == pytest.approx(np.nansum(amount * fraud) / np.nansum(amount))
    assert sum(day["rows"] for day in found["days"]) == 5_000 and len(found["days"]) == 20
    assert found["entities"]["card"]["distinct"] == 50
    assert sum(size["entities"] for size in found["entities"]["card"]["sizes"]) == 50
    assert found["columns"]["kind"]["top"][0]["rows"] == max(
        np.unique(events["kind"].drop_null(), return_counts=True)[1]
    )
    assert [row["value"] for row in found["columns"]["abroad"]["top"]] == [False, True]
    assert found["columns"]["seen"]["minimum"] == "2024-01-01T00:00:00+00:00"


def test_repeated_rows_are_found_whatever_their_key():
    events = table(300)
    twice = pa.concat_tables([events, events.slice(0, 7).set_column(0, "id", pa.array(range(300, 307)))])
    plan = Plan(SCHEMA, {})
    found = json.loads(told([TablePart.of(twice, plan)], plan))
    assert found["duplicates"] == {"rows": 7, "exact": True}


def _where(fraud: np.ndarray, yes: str, no: str) -> pa.Array:
    return pa.array(np.where(fraud > 0, yes, no), pa.string())


@pytest.mark.parametrize(
    ("column", "leak"),
    [
        ("amount", lambda fraud, noise: pa.array(1e6 + 10.0 * fraud + noise)),
        ("amount", lambda fraud, noise: pa.array(np.where(fraud > 0, 7.0, np.where(noise < 0.5, 3.0, 9.0)))),
        ("kind", lambda fraud, noise: _where(fraud, "charged back", "fine")),
        ("kind", lambda fraud, noise: pa.array(np.full(len(fraud), "x"), pa.string(), mask=fraud > 0)),
        ("seen", lambda fraud, noise: pa.array([START] * len(fraud), pa.timestamp("us", tz="UTC"), mask=fraud == 0)),
    ],
    ids=["number", "a code among codes", "text", "missing text", "missing time"],
)
def test_a_planted_leak_is_named(column, leak):
    events = table(2_000, seed=1)
    fraud = events["fraud"].to_numpy()
    values = leak(fraud, np.random.default_rng(2).random(2_000))
    planted = events.set_column(events.column_names.index(column), column, values)
    plan = Plan(SCHEMA, {"amount": float(np.nanmin(planted["amount"].to_numpy(zero_copy_only=False)))})
    assert json.loads(told([TablePart.of(planted, plan)], plan))["leaks"] == [column]


def test_clean_data_has_no_leak_and_one_class_has_no_power():
    plan = Plan(SCHEMA, {})
    assert json.loads(told([TablePart.of(table(2_000), plan)], plan))["leaks"] == []
    calm = table(200, fraud=pa.array(np.zeros(200, np.int64)))
    found = json.loads(told([TablePart.of(calm, plan)], plan))
    assert (found["power"], found["leaks"], found["positives"]) == ([], [], 0)


def test_a_column_without_any_value_is_described_as_missing():
    empty = table(50, amount=pa.array([None] * 50, pa.float64()), kind=pa.array([None] * 50, pa.string()))
    plan = Plan(SCHEMA, {})
    found = json.loads(told([TablePart.of(empty, plan)], plan))
    assert found["columns"]["amount"] == {
        "kind": "number", "missing": 50, "missing_share": 1.0, "distinct": 0, "distinct_exact": True, "top": [],
    }  # fmt: skip
    assert found["prevalence_by_amount"] is None
