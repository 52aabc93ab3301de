"""What a row costs on one node and on several: `python tests/benchmarks/scaling.py --rows 5000000 --nodes 1 2 4`.

Ingest (CSV to a table), clean, windows (table to features) and batch scoring (Parquet to Parquet) on clusters of so many worker
nodes of one CPU, each in a network namespace of its own, with a head node that has none. As the nodes share the cores of
one machine, elapsed time says little; the processor time of all processes of all nodes, Ray's own and the driver's too,
over the rows says what scaling costs: efficiency is what a row costs on the first number of nodes over what it costs on
another. A small run before each, in which workers start, is not counted. What comes out is compared by content and must be the same everywhere.
Needs root, as `tests/faults/namespaces.py` says. Prints a table and, last, one JSON line.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults import at_work
from tests.faults.driver import Driver
from tests.faults.namespaces import Fleet, fleet, missing, network

STAGES = ("ingest", "clean", "windows", "score")
WARM = 8  # files of the run that is not counted, in which every node starts its workers
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(nodes: Fleet) -> float:
    """Processor time of all processes of all nodes, and of those they have waited for, since they began."""
    total = 0
    for node in (nodes.head, *nodes.workers):
        for process, _ in node.processes():
            try:
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def measure(workers: int, small: Path, large: Path) -> dict[str, dict[str, Any]]:
    """Elapsed and processor seconds of each stage on so many nodes, and what it made."""
    found: dict[str, dict[str, Any]] = {}
    with network() as joined, fleet(joined, workers, cpus=1) as nodes:
        driver = Driver(nodes, small)
        for folder in (small, large):
            for stage in STAGES:
                attempt = f"first-{workers}"
                started, cpu = time.monotonic(), cpu_seconds(nodes)
                driver.begin(stage, attempt, folder)
                made = driver.end(stage, attempt, folder)
                elapsed, cpu = time.monotonic() - started, cpu_seconds(nodes) - cpu
                found[stage] = {"elapsed_s": round(elapsed, 2), "cpu_s": round(cpu, 2), "made": made}
        driver.close()
    return found


def main() -> None:
    """Measure on each number of nodes, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    if reason := missing():
        raise SystemExit(f"no cluster of nodes that have addresses of their own: {reason}")
    files = -(-arguments.rows // at_work.ROWS_PER_FILE)
    rows = files * at_work.ROWS_PER_FILE
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name, "small"), Path(name, "large")
        at_work.prepare(small, WARM, WARM * at_work.ROWS_PER_FILE)
        at_work.prepare(large, files, rows)
        found = {workers: measure(workers, small, large) for workers in arguments.nodes}
    first, *others = found.values()
    differing = [stage for other in others for stage in STAGES if other[stage]["made"] != first[stage]["made"]]
    print(f"{rows:,} rows, nodes of one CPU on {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} at the end")
    print(f"{'stage':<10}{'nodes':>6}{'elapsed s':>11}{'CPU s':>9}{'CPU us/row':>12}{'efficiency':>12}")
    figures: dict[str, dict[str, float]] = {stage: {} for stage in STAGES}
    for stage in STAGES:
        for workers, measured in found.items():
            each, share = measured[stage], first[stage]["cpu_s"] / measured[stage]["cpu_s"]
            figures[stage][str(workers)] = round(1e6 * each["cpu_s"] / rows, 2)
            cells = (
                f"{workers:>6}{each['elapsed_s']:>11}{each['cpu_s']:>9}{figures[stage][str(workers)]:>12}{share:>12.2f}"
            )
            print(f"{stage:<10}{cells}")
    print(json.dumps({"rows": rows, "cpu_us_per_row": figures, "differing": differing}))
    if differing:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
