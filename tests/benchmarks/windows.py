"""Point-in-time windows beside the single-machine engines: `python tests/benchmarks/windows.py --rows 10000000`.

Count and mean amount over 1, 7 and 30 days, per customer and per terminal, of generated transactions: the compiled
kernel alone, the whole path of the product (Parquet in, Parquet out; through Ray where the `features` stage would use
it), polars, DuckDB and pandas. Each runs in a process of its own with the same number of threads, on the same rows, and
every value is compared with the kernel's: counts exactly, means to 1e-9. Prints a table and, last, one JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from peak_memory import Peak, cpu_seconds
from window_engines import ENGINES, NAMES, Columns, write_transactions


def measure(name: str, source: Path, small: Path, threads: int) -> None:
    """Run one engine, warm, and leave its columns beside the source; prints seconds and peak memory as JSON."""
    ENGINES[name](small, threads)()
    work = ENGINES[name](source, threads)
    peak = Peak()
    started, cpu = time.perf_counter(), cpu_seconds()
    columns = work()
    seconds, cpu, memory = time.perf_counter() - started, cpu_seconds() - cpu, peak.stop()
    for feature, column in (columns or read_back(source)).items():
        np.save(source.parent / f"{name}-{feature}.npy", column)
    if name == "path":
        from ray_mlops.platform import runtime

        runtime.disconnect()
    print(json.dumps({"seconds": round(seconds, 3), "cpu": round(cpu, 2), "peak_gb": round(memory, 2)}))


def read_back(source: Path) -> Columns:
    """What the path wrote, in the order of the rows."""
    table = pq.read_table(source.parent / f"features-{source.stem}", columns=["id", *NAMES])
    order = np.argsort(table["id"].to_numpy())
    return {name: table[name].to_numpy()[order] for name in NAMES}


def differing(name: str, folder: Path) -> int:
    """How many values of an engine differ from the kernel's."""
    count = 0
    for feature in NAMES:
        ours, theirs = np.load(folder / f"kernel-{feature}.npy"), np.load(folder / f"{name}-{feature}.npy")
        if theirs.dtype == np.float32:  # the precision of the feature table
            count += int(np.count_nonzero(ours.astype(np.float32) != theirs))
        elif "_count_" in feature:
            count += int(np.count_nonzero(ours != theirs))
        else:
            count += int(np.count_nonzero(np.abs(ours - theirs) > 1e-9 * np.abs(ours)))
    return count


def run_engine(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """The figures of one engine; a process that was killed (out of memory) has none."""
    command = [sys.executable, __file__, "--engine", name, "--folder", str(folder), "--threads", str(threads)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"seconds": None, "cpu": None, "peak_gb": None, "differing": None}
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {**figures, "differing": differing(name, folder)}


def main() -> None:
    """Generate the rows, run the engines one after the other, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        folder = arguments.folder
        measure(arguments.engine, folder / "transactions.parquet", folder / "small.parquet", arguments.threads)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_transactions(arguments.rows, folder / "transactions.parquet")
        write_transactions(10_000, folder / "small.parquet")
        engines = ["kernel", *(engine for engine in arguments.engines if engine != "kernel")]
        found = {engine: run_engine(engine, folder, arguments.threads) for engine in engines}
    print(f"{arguments.rows:,} rows, {arguments.threads} threads, {len(NAMES)} features")
    print(f"{'engine':<10}{'seconds':>10}{'CPU s':>10}{'rows/s':>14}{'peak GB':>10}{'differing values':>20}")
    for engine, row in found.items():
        rate = f"{arguments.rows / row['seconds']:,.0f}" if row["seconds"] else "-"
        cells = (row["seconds"] or "failed", row["cpu"] or "-", rate, row["peak_gb"] or "-", str(row["differing"]))
        print(f"{engine:<10}{cells[0]:>10}{cells[1]:>10}{cells[2]:>14}{cells[3]:>10}{cells[4]:>20}")
    seconds = {engine: row["seconds"] for engine, row in found.items()}
    mismatches = sum(row["differing"] or 0 for row in found.values())
    print(json.dumps({"rows": arguments.rows, "seconds": seconds, "mismatches": mismatches}))


if __name__ == "__main__":
    main()
