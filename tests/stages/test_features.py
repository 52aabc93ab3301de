"""The features stage: one table, the same on Ray and in this process, with an honest split."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest

from ray_mlops.contract import Column, Features, Run, Schema, Table
from ray_mlops.errors import ConfigError, DataError
from ray_mlops.fraud.features import FeatureDefinition, FeaturesConfig, Split, Window
from ray_mlops.fraud.split import microseconds
from ray_mlops.platform import tables
from ray_mlops.stages import features
from ray_mlops.stages.features import shuffles

pc: Any = pyarrow.compute

START = datetime(2024, 3, 1, tzinfo=UTC)
DATA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="card", type="int64"),
        Column(name="shop", type="string", nullable=True),
        Column(name="amount", type="float64"),
        Column(name="fraud", type="int64", nullable=True),
    ),
    key="id",
    time="time",
    label="fraud",
    amount="amount",
    entities=("card", "shop"),
)
LATE = Schema(
    columns=(*DATA.columns, Column(name="known", type="timestamp", nullable=True)),
    key="id",
    time="time",
    label="fraud",
    label_time="known",
    amount="amount",
    entities=("card", "shop"),
)
WINDOWS = (
    Window(entity="card", value="amount", spans=(1, 7), aggregates=("count", "mean", "since")),
    Window(entity="shop", value="fraud", spans=(7,), aggregates=("count", "mean"), delay=2),
    Window(entity=("card", "shop"), spans=(7,)),
)
CONFIG = FeaturesConfig(
    inputs=("amount", "shop"),
    calendar=("hour", "weekend"),
    windows=WINDOWS,
    split=Split(train_days=10, delay_days=2, validation_days=4, test_days=4),
)


def transactions(rows: int = 3_000, days: int = 30, seed: int = 1) -> pa.Table:
    rng = np.random.default_rng(seed)
    seconds = rng.integers(0, days * 24, rows) * 3_600  # several at once
    shops = rng.integers(0, 40, rows)
    return pa.table(
        {
            "id": rng.permutation(rows),
            "time": instants(seconds),
            "card": rng.integers(0, 60, rows),
            "shop": pa.array([f"shop {shop}" if shop else None for shop in shops.tolist()], pa.string()),
            "amount": np.round(rng.gamma(2, 25, rows), 2),
            "fraud": (rng.random(rows) < 0.03).astype(np.int64),
            "known": instants(seconds + rng.integers(3_600, 30 * 86_400, rows)),
        }
    )


def instants(seconds: np.ndarray) -> pa.Array:
    return pa.array([START + timedelta(seconds=s) for s in seconds.tolist()], pa.timestamp("us", tz="UTC"))


def ingested(table: pa.Table, root: Path, data: Schema = DATA) -> Table:
    table = table.select([column.name for column in data.columns])
    return tables.write_arrow(table, "test.clean", a_run(root, "clean"), data=data)


def a_run(root: Path, name: str) -> Run:
    return Run(root=str(root), id="run", recipe="test", uri=str(root / "runs" / name), fingerprint=name)


def made(table: pa.Table, root: Path, config: FeaturesConfig = CONFIG) -> tuple[Features, pa.Table]:
    result = features.run(config, a_run(root, "features"), table=ingested(table, root))
    return result, tables.load(result.table).sort_by("id")


@pytest.fixture
def two_workers(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On many cores an exchange would be cheaper."""
    from ray.data import DataContext, ExecutionResources

    monkeypatch.setattr(DataContext.get_current().execution_options, "resource_limits", ExecutionResources(cpu=2))


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("late", [False, True], ids=["time slices", "exchange"])
def test_on_ray_and_in_process_give_the_same_table(late: bool, tmp_path: Path) -> None:
    table = ingested(transactions(days=60), tmp_path, LATE if late else DATA)
    more = Window(entity="card", value="amount", spans=(5,), aggregates=("std", "distinct"))
    split = CONFIG.split.model_copy(update={"train_days": 40})
    config = CONFIG.model_copy(update={"windows": (*WINDOWS, more), "split": split})
    here = features.run(config, a_run(tmp_path, "here"), table=table)
    start, end = (microseconds(here.intervals[name].start) for name in ("train", "test"))
    cut = features.slices(tables.paths(table), FeatureDefinition.of(config, table.data), start, end)
    assert bool(cut) != late  # a label that becomes known later counts however long ago its event was
    on_ray = features.run(config.model_copy(update={"in_process_rows": 0}), a_run(tmp_path, "ray"), table=table)
    assert on_ray.table.snapshot == here.table.snapshot
    assert (on_ray.rows, on_ray.positives, on_ray.names) == (here.rows, here.positives, here.names)


def test_the_features_are_those_of_the_whole_history(tmp_path: Path) -> None:
    raw = transactions()
    result, table = made(raw, tmp_path)
    definition = FeatureDefinition.model_validate_json(Path(result.definition).read_text())
    assert definition.names == result.names
    computed = definition.compute(raw)
    computed = computed.filter(pc.is_in(computed["id"], value_set=table["id"].combine_chunks())).sort_by("id")
    encoded = np.column_stack([table[name].to_numpy() for name in result.names]).astype(np.float32)
    np.testing.assert_array_equal(encoded, definition.encode(computed))


def test_the_table_keeps_the_roles_and_says_the_split(tmp_path: Path) -> None:
    result, table = made(transactions(), tmp_path)
    assert table.column_names[:5] == ["id", "time", "fraud", "amount", "card"]
    assert table.column_names[-1] == "split"
    assert result.table.data.label == "fraud" and result.table.data.entities == ("card", "shop")
    for name, interval in result.intervals.items():
        part = table.filter(pc.equal(table["split"], name))
        assert part.num_rows == result.rows[name] > 0
        assert pc.sum(part["fraud"]).as_py() == result.positives[name] > 0
        bounds = pc.min_max(part["time"]).as_py()
        assert interval.start <= bounds["min"] and bounds["max"] < interval.end
    train, validation = result.intervals["train"], result.intervals["validation"]
    assert validation.start - train.end == timedelta(days=2)


def test_cards_known_as_compromised_leave_the_scored_days(tmp_path: Path) -> None:
    raw = transactions()
    _, every = made(raw, tmp_path / "all", CONFIG.model_copy(update={"split": kept_cards()}))
    result, table = made(raw, tmp_path / "known")
    frauds = [row for row in raw.to_pylist() if row["fraud"] and row["time"] >= result.intervals["train"].start]

    def known(row: dict[str, Any]) -> bool:
        until = row["time"].replace(hour=0, minute=0, second=0) - timedelta(days=2)
        return any(fraud["card"] == row["card"] and fraud["time"] < until for fraud in frauds)

    expected = [row["id"] for row in every.to_pylist() if row["split"] == "train" or not known(row)]
    assert table["id"].to_pylist() == sorted(expected)
    assert len(expected) < every.num_rows


def kept_cards() -> Split:
    return CONFIG.split.model_copy(update={"remove_known": False})


def test_rows_without_a_label_are_history_only(tmp_path: Path) -> None:
    raw = transactions()
    labels = [None if i % 5 == 0 else label for i, label in enumerate(raw["fraud"].to_pylist())]
    _, table = made(raw.set_column(5, "fraud", pa.array(labels, pa.int64())), tmp_path)
    assert table["fraud"].null_count == 0


def test_string_inputs_are_learnt_from_train_rows_only(tmp_path: Path) -> None:
    raw = transactions()
    late = pc.greater(raw["time"], pa.scalar(START + timedelta(days=25), pa.timestamp("us", tz="UTC")))
    result, table = made(raw.set_column(3, "shop", pc.if_else(late, "new shop", raw["shop"])), tmp_path)
    definition = FeatureDefinition.model_validate_json(Path(result.definition).read_text())
    assert "new shop" not in definition.frequencies["shop"]
    new = table.filter(pc.equal(table["shop"], "new shop"))
    assert new.num_rows and pc.max(new["shop_frequency"]).as_py() == 0.0
    missing = table.filter(pc.is_null(table["shop"]))
    assert np.isnan(missing["shop_frequency"].to_numpy()).all()


def test_data_without_entities_and_windows_work_too(tmp_path: Path) -> None:
    data = Schema(columns=DATA.columns, key="id", time="time", label="fraud")
    table = tables.write_arrow(transactions(), "test.claims", a_run(tmp_path, "clean"), data=data)
    config = CONFIG.model_copy(update={"windows": ()})
    result = features.run(config, a_run(tmp_path, "features"), table=table)
    assert result.names == ("amount", "shop_frequency", "hour", "weekend")


def test_too_few_days_are_said_in_numbers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the data have 12 days .* needs 20 .*10 train, 2 delay"):
        made(transactions(days=12), tmp_path)


@pytest.mark.parametrize(("label", "what"), [(0, "no positives"), (1, "positives only")])
def test_one_class_is_refused(tmp_path: Path, label: int, what: str) -> None:
    raw = transactions()
    same = raw.set_column(5, "fraud", pa.array(np.full(raw.num_rows, label)))
    with pytest.raises(DataError, match=f"train .* has {what}"):
        made(same, tmp_path, CONFIG.model_copy(update={"split": kept_cards()}))
    assert not (tmp_path / "tables" / "test" / "features").exists()


def test_one_partition_serves_all_entities_that_contain_its_keys() -> None:
    assert shuffles([("card", "shop"), ("card",), ("shop",), ("device",)]) == [
        (("card",), [("card",), ("card", "shop")]),
        (("shop",), [("shop",)]),
        (("device",), [("device",)]),
    ]


def test_the_handbook_week_is_the_published_one(shared_data: Path, tmp_path: Path) -> None:
    raw = handbook(shared_data)
    data = Schema(
        columns=tuple(Column(name=name, type=kind) for name, kind in HANDBOOK.items()),
        key="id",
        time="time",
        label="fraud",
        amount="amount",
        entities=("card", "shop"),
    )
    table = tables.write_arrow(raw, "handbook.clean", a_run(tmp_path, "clean"), data=data)
    result = features.run(HANDBOOK_CONFIG, a_run(tmp_path, "features"), table=table)
    assert (result.rows["train"], result.positives["train"]) == (67_240, 598)
    assert (result.rows["test"], result.positives["test"]) == (58_264, 385)
    assert len(result.names) == 15
    found = tables.load(result.table).to_pandas().set_index("id").sort_index()
    frame = raw.to_pandas()
    sample = found.sample(100, random_state=0)
    for row in sample.itertuples():
        expected = windows_of(frame[frame["card"] == row.card], "amount", row.time, delay=0)
        expected += windows_of(frame[frame["shop"] == row.shop], "fraud", row.time, delay=7)
        np.testing.assert_allclose(sample.loc[row.Index, list(result.names[3:])].astype(float), expected, rtol=1e-6)
    night = found["time"].dt.hour <= 6
    np.testing.assert_array_equal(found["night"], night)
    np.testing.assert_array_equal(found["weekend"], found["time"].dt.weekday >= 5)


HANDBOOK = {"id": "int64", "time": "timestamp", "card": "int64", "shop": "int64", "amount": "float64", "fraud": "int64"}
HANDBOOK_CONFIG = FeaturesConfig(
    inputs=("amount",),
    calendar=("weekend", "night"),
    windows=(
        Window(entity="card", value="amount", spans=(1, 7, 30), aggregates=("count", "mean")),
        Window(entity="shop", value="fraud", spans=(1, 7, 30), aggregates=("count", "mean"), delay=7),
    ),
    split=Split(
        train_days=7,
        end=datetime(2018, 8, 15),
        train_end=datetime(2018, 8, 1),
        validation_end=datetime(2018, 7, 25),
    ),
)


def handbook(folder: Path) -> pa.Table:
    columns = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"]
    table = pa.parquet.read_table(folder / "handbook" / "transactions.parquet", columns=columns)
    table = table.rename_columns(list(HANDBOOK))
    types = {"timestamp": pa.timestamp("us", tz="UTC"), "int64": pa.int64(), "float64": pa.float64()}
    return table.cast(pa.schema([(name, types[kind]) for name, kind in HANDBOOK.items()]))


def windows_of(events: Any, value: str, now: Any, *, delay: int) -> list[float]:
    """Count and mean over 1, 7 and 30 days, from the events of one entity, with pandas."""
    figures = []
    for days in (1, 7, 30):
        end = now - timedelta(days=delay)
        held = events[(events["time"] > end - timedelta(days=days)) & (events["time"] <= end)][value]
        figures += [len(held), held.mean() if len(held) else 0.0]
    return figures
