"""One side of `profiles.py` in an environment of its own: `python tests/benchmarks/profiles_ydata.py FOLDER`.

ydata-profiling in its minimal mode on the file of the benchmark, after a small one. Prints one JSON line: seconds, processor
seconds, GB at most.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from peak_memory import Peak, cpu_seconds
from ydata_profiling import ProfileReport


def profiled(path: Path) -> int:
    """The length of the profile as JSON."""
    return len(ProfileReport(pd.read_parquet(path), minimal=True, progress_bar=False).to_json())


def main(folder: Path) -> None:
    """Profile the small file, then the large one, measured."""
    profiled(folder / "small.parquet")
    peak, started, cpu = Peak(), time.perf_counter(), cpu_seconds()
    profiled(folder / "events.parquet")
    found = {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - cpu, "peak_gb": peak.stop()}
    print(json.dumps({key: round(value, 2) for key, value in found.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
