"""The rows and the engines of the windows benchmark. An engine reads its input and returns the work to be timed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_mlops.contract import Column, Schema
from ray_mlops.fraud.features import FeatureDefinition, FeaturesConfig, Window
from ray_mlops.fraud.rolling import Output, roll

ENTITIES = ("customer_id", "terminal_id")
SPANS = (1, 7, 30)
WINDOWS = tuple(Window(entity=entity, value="amount", spans=SPANS, aggregates=("count", "mean")) for entity in ENTITIES)
NAMES = tuple(name for window in WINDOWS for name in window.names())
TYPES = {"id": "int64", "time": "timestamp", "customer_id": "int64", "terminal_id": "int64", "amount": "float64"}
DATA = Schema(
    columns=(*(Column(name=name, type=kind) for name, kind in TYPES.items()), Column(name="is_fraud", type="int64")),
    key="id",
    time="time",
    label="is_fraud",
    entities=ENTITIES,
)
DEFINITION = FeatureDefinition.of(FeaturesConfig(windows=WINDOWS), DATA)
PERIOD_US = 183 * 86_400_000_000
PARQUET = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}
Columns = dict[str, np.ndarray]


def write_transactions(rows: int, path: Path, *, heavy: float = 0.0) -> None:
    """Half a year of transactions ordered by time, no two at the same microsecond, the sizes of entities as in the
    handbook's data: 350 transactions of a customer, 175 of a terminal. One customer has a share `heavy` of them all."""
    rng = np.random.default_rng(0)
    chunks = (range(start, min(start + 5_000_000, rows)) for start in range(0, rows, 5_000_000))
    with pq.ParquetWriter(path, transactions(rng, range(1), rows, heavy).schema, compression="zstd") as writer:
        for chunk in chunks:
            writer.write_table(transactions(rng, chunk, rows, heavy), row_group_size=1 << 20)


def transactions(rng: np.random.Generator, chunk: range, rows: int, heavy: float) -> pa.Table:
    """Some of the rows."""
    ids, count, step = np.arange(chunk.start, chunk.stop), len(chunk), PERIOD_US // rows
    customers = rng.integers(0, max(rows // 350, 1), count)
    return pa.table(
        {
            "id": ids,
            "time": pa.array(ids * step + rng.integers(0, step, count)).cast(pa.timestamp("us", tz="UTC")),
            "customer_id": np.where(rng.random(count) < heavy, 0, customers) if heavy else customers,
            "terminal_id": rng.integers(0, max(rows // 175, 1), count),
            "amount": np.round(rng.gamma(2, 25, count), 2),
        }
    )


def kernel(source: Path, threads: int) -> Callable[[], Columns]:
    """Our batch kernel on an Arrow table."""
    table = pq.read_table(source)
    return lambda: roll(WINDOWS, table, key="id", time="time", arrival=lambda _: None, threads=threads)


def polars(source: Path, threads: int) -> Callable[[], Columns]:
    """`rolling_*_by ... over`, the fastest formulation we know of."""
    pl, features = _polars(threads)
    frame = pl.read_parquet(source).with_columns(pl.col("time").dt.replace_time_zone(None), one=pl.lit(1.0))

    def work() -> Columns:
        found = frame.lazy().select(features).collect()
        return {name: found[name].to_numpy() for name in NAMES}

    return work


def polars_path(source: Path, threads: int) -> Callable[[], Columns]:
    """The same from Parquet to Parquet, with the features in single precision as `path` writes them."""
    pl, features = _polars(threads)

    def work() -> Columns:
        target = output(source)
        frame = pl.scan_parquet(source).with_columns(pl.col("time").dt.replace_time_zone(None), one=pl.lit(1.0))
        found = frame.with_columns(feature.cast(pl.Float32) for feature in features).drop("one")
        found.sink_parquet(target / "part.parquet", compression="zstd", compression_level=1)
        return {}

    return work


def _polars(threads: int) -> tuple[Any, list[Any]]:
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    # As if there were memory without end: where polars 2.1 spills, at 5 GB of 100 million rows, its threads wait for good.
    os.environ["POLARS_OVERRIDE_TOTAL_MEMORY_MB"] = "1000000"
    import polars as pl

    features = []
    for entity in ENTITIES:
        for span in SPANS:
            count = pl.col("one").rolling_sum_by("time", f"{span}d").over(entity)
            mean = pl.col("amount").rolling_mean_by("time", f"{span}d").over(entity)
            features += [count.alias(f"{entity}_count_{span}d"), mean.alias(f"{entity}_mean_amount_{span}d")]
    return pl, features


def duckdb(source: Path, threads: int) -> Callable[[], Columns]:
    """RANGE windows over integer microseconds, so that the old edge is open as ours is."""
    import duckdb as engine

    connection = engine.connect()
    connection.execute(f"SET threads = {threads}; SET TimeZone = 'UTC'")
    connection.execute(f"CREATE TABLE t AS SELECT *, epoch_us(time) AS us FROM read_parquet('{source}')")
    columns, frames = ["id"], []
    for entity in ENTITIES:
        for span in SPANS:
            preceding = span * 86_400_000_000 - 1
            frame = f"{entity}_{span}"
            frames.append(
                f"{frame} AS (PARTITION BY {entity} ORDER BY us RANGE BETWEEN {preceding} PRECEDING AND CURRENT ROW)"
            )
            columns.append(f"count(*) OVER {frame} AS {entity}_count_{span}d")
            columns.append(f"avg(amount) OVER {frame} AS {entity}_mean_amount_{span}d")

    def work() -> Columns:
        found = connection.execute(f"SELECT {', '.join(columns)} FROM t WINDOW {', '.join(frames)}").fetchnumpy()
        order = np.argsort(found["id"], kind="stable")
        return {name: np.asarray(found[name], np.float64)[order] for name in NAMES}

    return work


def pandas(source: Path, threads: int) -> Callable[[], Columns]:
    """`groupby(...).rolling(...)`; it has one thread."""
    import pandas as pd

    frame = pd.read_parquet(source)

    def work() -> Columns:
        found: Columns = {}
        for entity in ENTITIES:
            order = np.argsort(frame[entity].to_numpy(), kind="stable")
            for span in SPANS:
                window = frame.groupby(entity)[["time", "amount"]].rolling(f"{span}D", on="time")["amount"]
                for name, column in (("count", window.count()), ("mean_amount", window.mean())):
                    found[f"{entity}_{name}_{span}d"] = np.empty(len(frame))
                    found[f"{entity}_{name}_{span}d"][order] = column.to_numpy()
        return found

    return work


def path(source: Path, threads: int) -> Callable[[], Columns]:
    """Parquet in, Parquet out, by the functions and in the ways of the `features` stage: in this process when small, else
    on Ray, which runs and whose workers are warm before, by slices of time or by the exchange as the stage would choose.

    The stage does more: it keeps the rows of the split only, encodes them for the model, adds the calendar and commits
    the files as a snapshot of an Iceberg table. None of that is in here, nor in the other engines.
    """
    if pq.read_metadata(source).num_rows > FeaturesConfig().in_process_rows:
        return _on_ray(source, may_slice=True)

    def work() -> Columns:
        target = output(source)
        table = DEFINITION.add_windows(pq.read_table(source), WINDOWS, threads=threads, output=Output(np.float32))
        pq.write_table(table, target / "part.parquet", **PARQUET)
        return {}

    return work


def exchange(source: Path, threads: int) -> Callable[[], Columns]:
    """`path` on Ray by the exchange between entities, of any number of rows, also where the `features` stage would cut
    time into slices; Ray has the cores that it finds."""
    return _on_ray(source, may_slice=False)


def _on_ray(source: Path, *, may_slice: bool) -> Callable[[], Columns]:
    import ray.data

    from ray_mlops.platform import runtime
    from ray_mlops.stages.features import add_windows, add_windows_by_slices, slices

    rows = pq.read_metadata(source).num_rows
    os.environ["RAY_MLOPS_HOME"] = str(source.parent / "home")
    runtime.connect()
    add_windows(ray.data.read_parquet(str(source.parent / "small.parquet")), DEFINITION, 8_000_000).materialize()

    def work() -> Columns:
        target = output(source)
        found = slices([str(source)], DEFINITION, 0, PERIOD_US) if may_slice else []
        if found:
            dataset = add_windows_by_slices([str(source)], list(TYPES), DEFINITION, found)
        else:
            dataset = add_windows(ray.data.read_parquet(str(source)), DEFINITION, rows)
        dataset.write_parquet(str(target), **PARQUET)
        return {}

    return work


def output(source: Path) -> Path:
    """An empty folder for the features of a source."""
    target = source.parent / f"features-{source.stem}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    return target


ENGINES = {
    "kernel": kernel,
    "path": path,
    "polars": polars,
    "polars_path": polars_path,
    "duckdb": duckdb,
    "pandas": pandas,
    "exchange": exchange,
}
ON_RAY = ("path", "exchange")
TO_PARQUET = (*ON_RAY, "polars_path")
