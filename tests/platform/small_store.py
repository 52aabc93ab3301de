"""An exchange of more than the object store of its node holds: `python small_store.py FOLDER`, ended by one JSON line."""

import json
import os
import re
import sys
from functools import partial
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import ray
import ray.data
from ray._private.internal_api import memory_summary
from ray.cluster_utils import Cluster

from ray_mlops.platform.exchange import exchanged

STORE_BYTES = 80 << 20
FILES, ROWS, COLUMNS = 8, 500_000, 6  # 24 MB a file


def write(folder: Path) -> None:
    """Rows with a card and a shop, and columns that are as good as random."""
    for number in range(FILES):
        rng = np.random.default_rng(number)
        columns = {f"value {column}": rng.random(ROWS) for column in range(COLUMNS - 2)}
        cards, shops = rng.integers(0, 10_000, ROWS), rng.integers(0, 100, ROWS)
        pa.parquet.write_table(pa.table({"card": cards, "shop": shops, **columns}), folder / f"{number}.parquet")


def summed(name: str, table: pa.Table) -> pa.Table:
    """With a column more: the sum of the first value over the rows of the same card or shop."""
    _, places = np.unique(table[name].to_numpy(), return_inverse=True)
    sums = np.bincount(places, weights=np.floor(table["value 0"].to_numpy() * 1000))  # whole: the order does not matter
    return table.append_column(f"of {name}", pa.array(sums[places] if len(table) else [], pa.float64()))


def main(folder: Path) -> None:
    """Write the rows, exchange them twice, and compare with what the same work makes of the whole table."""
    write(folder)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE_BYTES})
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        rows = ray.data.read_parquet(str(folder), override_num_blocks=FILES)
        steps = [((name,), partial(summed, name)) for name in ("card", "shop")]
        exchanged(rows, steps, 16).write_parquet(str(folder / "out"))
        spilled = sum(map(int, re.findall(r"Spilled (\d+) MiB", memory_summary(cluster.address, stats_only=True))))
    finally:
        ray.shutdown()
        cluster.shutdown()
    whole = summed("shop", summed("card", pa.dataset.dataset(sorted(folder.glob("*.parquet"))).to_table()))
    order = [(name, "ascending") for name in whole.column_names]
    same = pa.dataset.dataset(folder / "out").to_table().sort_by(order).equals(whole.sort_by(order))
    print(json.dumps({"spilled_mib": spilled, "same": same}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
