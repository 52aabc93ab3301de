"""Rows that belong together come together, whatever blocks they were in."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ray.exceptions import RayTaskError

from ray_mlops.errors import DataError
from ray_mlops.platform.exchange import deal, exchanged

ROOT = Path(__file__).resolve().parents[2]


def events(count: int = 500, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    shops = rng.integers(0, 30, count).tolist()
    return pa.table(
        {
            "id": np.arange(count),
            "card": np.where(rng.random(count) < 0.3, 7, rng.integers(0, 50, count)),
            "shop": pa.array([f"shop {shop}" if shop else None for shop in shops], pa.string()),
        }
    )


@pytest.mark.parametrize("keys", [("card",), ("shop",), ("card", "shop")])
def test_equal_keys_are_dealt_to_one_partition_in_the_order_of_the_rows(keys: Sequence[str]) -> None:
    table = events()
    counts, *parts = dealt(keys, 5, table.slice(0, 200), table.slice(200))
    assert counts == [part.num_rows for part in parts] and sum(counts) == table.num_rows
    groups = [set(zip(*(part[key].to_pylist() for key in keys), strict=True)) for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for part in parts:
        assert part["id"].to_pylist() == sorted(part["id"].to_pylist())
    assert pa.concat_tables(parts).sort_by("id").equals(table)


def test_where_a_row_goes_depends_on_its_keys_alone() -> None:
    _, *whole = dealt(("card",), 4, events())
    _, *half = dealt(("card",), 4, events().slice(250))
    for part, rest in zip(whole, half, strict=True):
        assert rest["id"].to_pylist() == [key for key in part["id"].to_pylist() if key >= 250]


def dealt(keys: Sequence[str], partitions: int, *shards: pa.Table) -> list[Any]:
    return list(deal(None, keys, partitions, *shards))


def test_each_step_sees_its_keys_whole(ray_session: None) -> None:
    table = events()
    rows = exchanged(in_blocks(table, 6), [(("card",), same_of("card")), (("shop",), same_of("shop"))], 3)
    found = pa.concat_tables(rows.iter_batches(batch_size=None, batch_format="pyarrow")).sort_by("id")
    for name in ("card", "shop"):
        values = table[name].to_pylist()
        assert found[f"same {name}"].to_pylist() == [values.count(value) for value in values]
    assert found.select(table.column_names).equals(table)


def test_a_partition_may_be_empty(ray_session: None) -> None:
    rows = exchanged(in_blocks(events().slice(0, 2), 2), [(("card",), same_of("card")), (("id",), same_of("id"))], 8)
    assert sorted(row["id"] for row in rows.iter_rows()) == [0, 1]


def test_what_goes_wrong_in_a_step_says_so(ray_session: None) -> None:
    steps = [(("card",), refuse), (("shop",), same_of("shop"))]
    with pytest.raises(DataError, match="no such rows") as raised:
        exchanged(in_blocks(events(), 2), steps, 2)
    assert isinstance(raised.value, RayTaskError)


@pytest.mark.timeout(300)
def test_more_than_the_object_store_holds_goes_by_the_disk_and_stays_the_same(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(Path(__file__).with_name("small_store.py")), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["same"]
    assert told["spilled_mib"] > 100, "the store held it all: nothing was proved"


def in_blocks(table: pa.Table, count: int) -> Any:
    import ray.data

    return ray.data.from_arrow(
        [table.slice(start, -(-len(table) // count)) for start in range(0, len(table), -(-len(table) // count))]
    )


def same_of(name: str) -> Any:
    """A work that counts how many rows of its table have the same value."""

    def work(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        return table.append_column(f"same {name}", pa.array([values.count(value) for value in values], pa.int64()))

    return work


def refuse(table: pa.Table) -> pa.Table:
    raise DataError("no such rows")
