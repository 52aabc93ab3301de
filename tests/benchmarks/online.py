"""What the entity store costs: `python tests/benchmarks/online.py`.

Observes transactions of the public handbook data set after a back-fill of the 38 days before, as fast as possible and
then at 500 a second, embedded and on a Redis server of its own: *thin* entities are the data's own customers and terminals
with the handbook's features, *rich* the same with those of the default recipe, the *heavy* one is a merchant with a
million events in 30 days, kept by a resolution of an hour. Then replays the whole table through the online path and
compares every feature of the default recipe with the batch result. Prints a table and, last, one JSON line.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from redis import Redis
from redis_server import redis_server

from ray_mlops.contract import Column, Schema
from ray_mlops.fraud.features import FeatureDefinition, Window
from ray_mlops.online import EntityStore, backfill, open_store, parity
from ray_mlops.recipes import HANDBOOK_WINDOWS, RICH_WINDOWS

DAY_US = 86_400_000_000
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "handbook" / "transactions.parquet"
NAMES = {
    "TRANSACTION_ID": "id",
    "TX_DATETIME": "time",
    "CUSTOMER_ID": "customer_id",
    "TERMINAL_ID": "terminal_id",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "is_fraud",
}
TYPES = {"id": "int64", "time": "timestamp", "customer_id": "int64", "terminal_id": "int64", "amount": "float64"}
SCHEMA = Schema(
    columns=(*(Column(name=name, type=kind) for name, kind in TYPES.items()), Column(name="is_fraud", type="int64")),
    key="id",
    time="time",
    label="is_fraud",
    amount="amount",
    entities=("customer_id", "terminal_id"),
)
SPANS = (1.0, 7.0, 30.0)
THIN, RICH = (
    FeatureDefinition(data=SCHEMA, inputs=("amount",), calendar=("night", "weekend"), windows=windows)
    for windows in (HANDBOOK_WINDOWS, RICH_WINDOWS)
)
HEAVY = FeatureDefinition(
    data=SCHEMA,
    windows=(
        Window(
            entity="terminal_id", value="amount", spans=SPANS, aggregates=("count", "mean", "std"), resolution=3600.0
        ),
    ),
)


@dataclass(frozen=True)
class Work:
    """A definition, the history that is there before, and the events that come."""

    definition: FeatureDefinition
    history: pa.Table
    coming: pa.Table

    def events(self) -> list[dict[str, Any]]:
        return self.coming.select(list(self.definition.asked)).to_pylist()


def handbook() -> pa.Table:
    """The handbook's transactions, in the columns of `SCHEMA`, ordered by (time, id)."""
    table = pq.read_table(DATA, columns=list(NAMES)).rename_columns(list(NAMES.values()))
    for name, kind in {
        "time": pa.timestamp("us", tz="UTC"),
        "customer_id": pa.int64(),
        "terminal_id": pa.int64(),
    }.items():
        place = table.column_names.index(name)
        column = table[name].cast(pa.timestamp("us")) if name == "time" else table[name]
        table = table.set_column(place, name, column.cast(kind))
    return table.sort_by([("time", "ascending"), ("id", "ascending")])


def own(definition: FeatureDefinition, table: pa.Table, count: int) -> Work:
    """The handbook's own entities, half-way through its half year."""
    middle = table.num_rows // 2
    return Work(definition, table.slice(0, middle), table.slice(middle, count))


def heavy(events: int, count: int) -> Work:
    """One merchant with `events` in 30 days, then some more."""
    random = np.random.default_rng(0)
    start = 1_530_000_000_000_000
    times = start + np.sort(random.integers(0, 30 * DAY_US, events + count))
    table = pa.table(
        {
            "id": np.arange(events + count),
            "time": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
            "customer_id": random.integers(0, 100_000, events + count),
            "terminal_id": np.zeros(events + count, np.int64),
            "amount": np.round(random.exponential(50.0, events + count), 2),
            "is_fraud": np.zeros(events + count, np.int64),
        }
    )
    return Work(HEAVY, table.slice(0, events), table.slice(events))


def observe(store: EntityStore, events: Sequence[dict[str, Any]], rate: float) -> dict[str, float]:
    """Milliseconds of each observation at a steady rate, as fast as possible where it is 0."""
    latencies = []
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    for place, event in enumerate(events):
        if rate and (wait := started + place / rate - time.perf_counter()) > 0:
            time.sleep(wait)
        before = time.perf_counter()
        store.observe(event)
        latencies.append((time.perf_counter() - before) * 1000)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - started
    parts = np.array_split(np.array(latencies), 10)
    return {
        "p50_ms": round(float(np.percentile(latencies, 50)), 3),
        "p99_ms": round(float(np.percentile(latencies, 99)), 3),
        # On a machine with other work the quietest tenth says more about the store.
        "p99_ms_best_tenth": round(min(float(np.percentile(part, 99)) for part in parts), 3),
        "cpu_ms": round(cpu / len(events) * 1000, 3),
        "per_second": round(len(events) / seconds),
    }


def measure(url: str, work: Work, rate: float) -> dict[str, Any]:
    """Back-fill, then observe as fast as possible, most entities for the first time, then at the rate."""
    store = open_store(url, work.definition)
    started = time.perf_counter()
    rows = backfill(store, work.history)
    seconds = time.perf_counter() - started
    held, size = store.stats(), stored_bytes(url)
    if url != "memory://":  # as a deployment does: one process fills the store, the replicas open it
        store.close()
        store = open_store(url, work.definition)
    events = work.events()
    cold = len(events) * 2 // 3
    figures = {"flat_out": observe(store, events[:cold], 0), "paced": observe(store, events[cold:], rate)}
    store.close()
    return {
        **figures,
        "backfill": {"rows": rows, "seconds": round(seconds, 2)},
        "entities": held.entities,
        "state_bytes_per_entity": round(held.bytes / max(held.entities, 1)),
        "stored_bytes_per_event": round(size / max(rows, 1)),
    }


def stored_bytes(url: str) -> int:
    """What the database takes, records and indexes included."""
    if url.startswith("redis"):
        with Redis.from_url(url) as client:
            return int(client.info("memory")["used_memory_dataset"])
    if url.startswith("sqlite"):
        return sum(path.stat().st_size for path in Path(url.removeprefix("sqlite:///")).parent.glob("*.db*"))
    return 0


def replay(table: pa.Table) -> dict[str, Any]:
    """The whole table through the online path, against the batch result."""
    started, cpu = time.perf_counter(), time.process_time()
    report = parity(RICH, table)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(report)
    return {
        "rows": report.rows,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "per_second": round(report.rows / seconds),
        "mismatches": report.mismatches,
    }


def urls(folder: Path) -> Iterator[tuple[str, str]]:
    """An empty store of each kind."""
    yield "memory", "memory://"
    with tempfile.TemporaryDirectory(dir=folder) as place:
        yield "sqlite", f"sqlite:///{place}/entities.db"
    with tempfile.TemporaryDirectory(dir=folder) as place, redis_server(Path(place)) as url:
        yield "redis", url


def table_of(results: dict[str, dict[str, Any]]) -> str:
    """The figures as a person reads them."""
    lines = [
        f"{'entities':9}{'store':8}{'rate':>10}{'p50 ms':>9}{'p99 ms':>9}{'best p99':>10}{'cpu ms':>8}{'B/entity':>10}"
    ]
    for kind, stores in results.items():
        for store, figures in stores.items():
            for pace in ("flat_out", "paced"):
                f = figures[pace]
                lines.append(
                    f"{kind:9}{store:8}{f['per_second']:>8}/s{f['p50_ms']:>9.3f}{f['p99_ms']:>9.3f}"
                    f"{f['p99_ms_best_tenth']:>10.3f}{f['cpu_ms']:>8.3f}{figures['state_bytes_per_entity']:>10,}"
                )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--events", type=int, default=15_000, help="observations per store and kind")
    asked.add_argument("--rate", type=float, default=500.0, help="events a second")
    asked.add_argument("--heavy", type=int, default=1_000_000, help="events of the heavy entity")
    asked.add_argument("--replay", type=int, default=-1, help="rows to replay; 0 for none (default: all)")
    options = asked.parse_args()
    table = handbook()
    results: dict[str, dict[str, Any]] = {"thin": {}, "rich": {}, "heavy": {}}
    works = {
        "thin": own(THIN, table, options.events),
        "rich": own(RICH, table, options.events),
        "heavy": heavy(options.heavy, options.events),
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind, work in works.items():
            for name, url in urls(Path(folder)):
                results[kind][name] = measure(url, work, options.rate)
                print(f"{kind} {name}: {json.dumps(results[kind][name])}", file=sys.stderr, flush=True)
    print(table_of(results))
    rows = table.num_rows if options.replay < 0 else options.replay
    replayed = replay(table.slice(0, rows)) if rows else None
    print(json.dumps({**results, "replay": replayed, "load": [round(load, 1) for load in os.getloadavg()]}))


if __name__ == "__main__":
    main()
