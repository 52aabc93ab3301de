"""Point-in-time windows beside the single-machine engines: `python tests/benchmarks/windows.py --rows 10000000`.

Count and mean amount over 1, 7 and 30 days, per customer and per terminal, of generated transactions: the compiled
kernel alone, the whole path of the product (Parquet in, Parquet out; through Ray where the `features` stage would use it,
but without what the stage does besides: see `window_engines.path`), polars, polars from Parquet to Parquet, DuckDB and
pandas; with `--engines kernel exchange` also the path by the exchange between entities alone, where `path` may cut time
into slices. Each runs in a process of its own with the same number of
threads, on the same rows, and every value is compared with the kernel's: counts exactly, means to 1e-9. An engine runs
`--repeat` times in its process and its fastest run counts, for all alike: the first one also pays for memory that the
machine has never touched, which on a virtual machine that gives free memory back to its host is 2 s for each GB; what it
took is in the table. Where the kernel
is not among `--engines`, as for more rows than memory holds in one piece, what the paths wrote is compared for every row
of one entity in 64, and the others are only timed. An engine that would take the last tenth of the memory is ended, and
its row says how far it had come. With `--skew` one customer has a fifth of the rows.

Prints a table and, last, one JSON line: `seconds` by engine (null: it failed), `compared` the engines whose values were
held against the kernel's, `mismatches` the values that differ among them (null: none was compared). Exit code 1 where
any value differs.
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
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from peak_memory import Peak, available, cpu_seconds
from window_engines import ENGINES, NAMES, ON_RAY, TO_PARQUET, WINDOWS, Columns, write_transactions

from ray_mlops.fraud.features import Window
from ray_mlops.fraud.rolling import roll

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
ONE_IN = 64  # entities, where not every value is compared
HEAVY = 0.2
DEFAULT = [name for name in ENGINES if name != "exchange"]
SHARE_OF_MEMORY = 0.9  # of what is free when an engine starts
FAILED: dict[str, Any] = {"seconds": None, "first": None, "cpu": None, "peak_gb": None, "differing": None}


def measure(name: str, folder: Path, threads: int, repeat: int, *, sample: bool) -> None:
    """Run one engine, warm, and leave its columns in the folder, or compare a sample of them; prints seconds, memory and
    the number of values that differ as JSON."""
    source, small = folder / "transactions.parquet", folder / "small.parquet"
    guard = Peak(SHARE_OF_MEMORY * available(), end)
    ENGINES[name](small, threads)()
    work = ENGINES[name](source, threads)
    peak, runs, columns = Peak(), [], {}
    for _ in range(repeat):
        columns.clear()  # of the run before
        started, cpu = time.perf_counter(), cpu_seconds()
        columns = work()
        runs.append((round(time.perf_counter() - started, 3), round(cpu_seconds() - cpu, 2)))
    figures: dict[str, Any] = {"first": runs[0][0], "peak_gb": round(peak.stop(), 2)}
    figures["seconds"], figures["cpu"] = min(runs)
    guard.stop()
    if name in ON_RAY:
        from ray_mlops.platform import runtime

        runtime.disconnect()
    if sample:
        compared = WINDOWS if name in TO_PARQUET else ()
        figures["differing"] = sum(differing_in_sample(window, source) for window in compared) if compared else None
    else:
        for feature, column in (columns or read_back(source)).items():
            np.save(folder / f"{name}-{feature}.npy", column)
    print(json.dumps(figures))


def end(high: float) -> None:
    """End this process and those it started; prints its memory in place of its figures."""
    print(json.dumps({**FAILED, "peak_gb": round(high, 2)}), flush=True)
    if "ray" in sys.modules:
        from ray_mlops.platform import runtime

        runtime.disconnect()
    os._exit(1)


def differing_in_sample(window: Window, source: Path) -> int:
    """How many values of a window differ from the kernel's, for all rows of some entities."""
    some = pc.equal(pc.bit_wise_and(pc.field(window.entities[0]), pa.scalar(ONE_IN - 1)), pa.scalar(ONE_IN // 2))
    rows = pads.dataset(source).to_table(filter=some).sort_by("id")
    written = pads.dataset(output_of(source)).to_table(columns=["id", *window.names()], filter=some).sort_by("id")
    assert rows["id"].equals(written["id"]) and len(rows), "the path has written other rows than it read"
    ours = roll([window], rows, key="id", time="time", arrival=lambda _: None)
    names = window.names()
    return sum(int(np.count_nonzero(ours[n].astype(np.float32) != written[n].to_numpy())) for n in names)


def output_of(source: Path) -> Path:
    """Where a path writes the features of a source."""
    return source.parent / f"features-{source.stem}"


def read_back(source: Path) -> Columns:
    """What the path wrote, in the order of the rows."""
    table = pq.read_table(output_of(source), columns=["id", *NAMES])
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


def run_engine(name: str, folder: Path, threads: int, repeat: int, *, sample: bool) -> dict[str, Any]:
    """The figures of one engine; a process that was ended (out of memory) has its memory at most."""
    command = [sys.executable, __file__, "--engine", name, "--folder", str(folder), "--threads", str(threads)]
    command += ["--repeat", str(repeat)]
    done = subprocess.run([*command, *["--sample"] * sample], check=False, stdout=subprocess.PIPE, text=True)
    printed = done.stdout.strip().splitlines()
    if done.returncode:
        return json.loads(printed[-1]) if printed else FAILED
    figures = json.loads(printed[-1])
    return figures if sample else {**figures, "differing": differing(name, folder)}


def table_of(rows: int, threads: int, found: dict[str, dict[str, Any]]) -> str:
    """The figures as a person reads them."""
    lines = [f"{rows:,} rows, {threads} threads, {len(NAMES)} features; load {os.getloadavg()[0]:.1f} at the end"]
    lines.append(
        f"{'engine':<12}{'seconds':>10}{'first':>10}{'CPU s':>10}{'rows/s':>14}{'peak GB':>10}{'differing values':>20}"
    )
    for engine, row in found.items():
        rate = f"{rows / row['seconds']:,.0f}" if row["seconds"] else "-"
        figures = f"{row['seconds'] or 'failed':>10}{row['first'] or '-':>10}{row['cpu'] or '-':>10}"
        lines.append(f"{engine:<12}{figures}{rate:>14}{row['peak_gb'] or '-':>10}{row['differing']!s:>20}")
    return "\n".join(lines)


def main() -> None:
    """Generate the rows, run the engines one after the other, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=3, help="the fastest of so many runs counts")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=DEFAULT)
    parser.add_argument("--skew", action="store_true", help=f"one customer has {HEAVY} of the rows")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sample", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        measure(arguments.engine, arguments.folder, arguments.threads, arguments.repeat, sample=arguments.sample)
        return
    sample = "kernel" not in arguments.engines
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_transactions(arguments.rows, folder / "transactions.parquet", heavy=HEAVY * arguments.skew)
        write_transactions(10_000, folder / "small.parquet")
        engines = sorted(arguments.engines, key=list(ENGINES).index)  # the kernel first: others are compared with it
        threads, repeat = arguments.threads, arguments.repeat
        found = {engine: run_engine(engine, folder, threads, repeat, sample=sample) for engine in engines}
    print(table_of(arguments.rows, arguments.threads, found))
    seconds = {engine: row["seconds"] for engine, row in found.items()}
    counts = {engine: row["differing"] for engine, row in found.items() if engine != "kernel"}
    compared = [engine for engine, count in counts.items() if count is not None]
    mismatches = sum(counts[engine] for engine in compared) if compared else None
    result = {"rows": arguments.rows, "seconds": seconds, "compared": compared, "mismatches": mismatches}
    print(json.dumps(result))
    sys.exit(1 if mismatches else 0)


if __name__ == "__main__":
    main()
