"""The profile of `analyse` beside pandas: `python tests/benchmarks/profiles.py --rows 1000000`.

Ours is one pass over Parquet with statistics that merge, in this process (`kernel`) or as the stage runs it through Ray
(`stage`). `pandas` does by hand what a profiler does with it: types, missing values, describe, the most frequent values,
histograms, correlations, repeated rows, rate of positives by day. `ydata` is ydata-profiling, for which `--environment DIR`
makes an environment of its own, as it wants other libraries than ours. Each runs in a process of its own on the same file.
Prints a table and, last, one JSON line.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peak_memory import Peak, cpu_seconds

from ray_mlops.contract import Column, Run, Schema, Table

ROWS_PER_GROUP = 250_000
START_S = 1_704_067_200
YDATA = ("ydata-profiling==4.18.4", "pyarrow==26.0.1", "setuptools==65.5.0")
DATA = Schema(
    columns=(
        Column(name="id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="card", type="int64"),
        Column(name="shop", type="int64"),
        Column(name="amount", type="float64"),
        Column(name="distance", type="float64", nullable=True),
        Column(name="channel", type="string"),
        Column(name="country", type="string"),
        Column(name="fraud", type="int64"),
    ),
    key="id",
    time="time",
    label="fraud",
    amount="amount",
    entities=("card", "shop"),
)


def block(start: int, rows: int) -> pa.Table:
    """Some rows of the table, the same whenever they are made."""
    random = np.random.default_rng(start)
    seconds = START_S + np.sort(random.integers(0, 180 * 86_400, rows))
    distance = random.exponential(10.0, rows)
    return pa.table({
        "id": np.arange(start, start + rows),
        "time": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")),
        "card": random.integers(0, 200_000, rows),
        "shop": random.integers(0, 20_000, rows),
        "amount": np.round(random.gamma(2.0, 30.0, rows), 2),
        "distance": pa.array(distance, mask=distance > 40),
        "channel": random.choice(["chip", "online", "phone"], rows),
        "country": random.choice([f"c{number:02}" for number in range(60)], rows),
        "fraud": (random.random(rows) < 0.01).astype(np.int64),
    })  # fmt: skip


def write(path: Path, rows: int) -> None:
    """The table as one Parquet file, without ever holding more than a row group."""
    with pq.ParquetWriter(path, block(0, 1).schema) as writer:
        for start in range(0, rows, ROWS_PER_GROUP):
            writer.write_table(block(start, min(ROWS_PER_GROUP, rows - start)))


def kernel(path: Path) -> Callable[[], int]:
    """The pass of the product in this process, a row group at a time."""
    from ray_mlops.fraud.leak_sample import Draw
    from ray_mlops.monitoring.findings import findings
    from ray_mlops.monitoring.profile import Plan, TablePart

    def work() -> int:
        file = pq.ParquetFile(path)
        plan, draw = Plan(DATA, offsets={}), Draw(DATA, file.metadata.num_rows)
        total: TablePart | None = None
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            draw(rows)
            part = TablePart.of(rows, plan)
            total = part if total is None else TablePart.merged([total, part])
        assert total is not None
        return len(json.dumps(findings(total, plan, leak_power=0.999)))

    return work


def stage(path: Path) -> Callable[[], int]:
    """The stage as it runs, on a Ray that is up already, page and leak checks with it."""
    from ray_mlops.platform import runtime, tables
    from ray_mlops.stages import analyse
    from ray_mlops.stages.analyse import AnalyseConfig

    run = Run(root=str(path.parent), id="r", recipe="benchmark", uri=str(path.parent / "profile"), fingerprint="f")
    runtime.connect()
    import ray.data  # which reads its settings

    # Part by part, as `ingest` writes it: the memory of a profile is not that of a table.
    table: Table = tables.write(ray.data.read_parquet(str(path)), "benchmark.events", run, data=DATA)
    return lambda: analyse.run(AnalyseConfig(), run, table=table).rows


def pandas(path: Path) -> Callable[[], int]:
    """What a profiler made of pandas does."""
    import pandas as pd

    def work() -> int:
        frame = pd.read_parquet(path)
        told: dict[str, Any] = {"missing": frame.isna().mean(), "described": frame.describe(include="all")}
        for name in frame.columns:
            told[name] = frame[name].value_counts().head(10)
            if frame[name].dtype.kind in "if":
                told[f"{name} drawn"] = np.histogram(frame[name].dropna(), bins=40)
        told["correlations"] = frame.corr(method="spearman", numeric_only=True)
        told["repeated"] = frame.drop(columns="id").duplicated().sum()
        told["days"] = frame.groupby(frame["time"].dt.date)["fraud"].agg(["size", "mean"])
        return len(told)

    return work


ENGINES = {"kernel": kernel, "stage": stage, "pandas": pandas}


def measure(name: str, folder: Path) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of one engine; it has profiled a small file before."""
    source, small = folder / "events.parquet", folder / "small.parquet"
    if name != "stage":
        ENGINES[name](small)()
    work, peak = ENGINES[name](source), Peak()
    started, cpu = time.perf_counter(), cpu_seconds()
    work()
    found = {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - cpu, "peak_gb": peak.stop()}
    if name == "stage":
        from ray_mlops.platform import runtime

        runtime.disconnect()
    return {key: round(value, 2) for key, value in found.items()}


def environment(folder: Path) -> Path:
    """The Python of an environment with ydata-profiling, made where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *YDATA], check=True)
    return python


def main() -> None:
    """Each engine in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engines", default="kernel,stage,pandas")
    parser.add_argument("--environment", type=Path, help="folder of the environment of ydata-profiling, kept")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(measure(asked.worker[0], Path(asked.worker[1]))))
        return
    found = {}
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        write(Path(folder, "events.parquet"), asked.rows)
        write(Path(folder, "small.parquet"), 1_000)
        commands = {
            name: [sys.executable, __file__, "--worker", name, folder] for name in asked.engines.split(",") if name
        }
        if asked.environment:
            script = Path(__file__).with_name("profiles_ydata.py")
            commands["ydata"] = [str(environment(asked.environment)), str(script), folder]
        for name, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr}")
            found[name] = json.loads(done.stdout.splitlines()[-1])
            figures = "  ".join(f"{key} {value:8.2f}" for key, value in found[name].items())
            print(f"{name:<10} {figures}", flush=True)
    print(json.dumps({"rows": asked.rows, **found}))


if __name__ == "__main__":
    main()
