"""A driver on a head node that does one piece of work after another: `python at_work.py`.

Each line on its standard input, `{"work": ..., "attempt": ..., "folder": ...}`, is answered by the file `<folder>/<attempt>/<work>-told.json`: what
came out, by content. An attempt has a run root of its own, so that nothing of another is found there. What a work reads was made by
the first attempt, which runs them all.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import Decision, Features, ModelVersion, Run, Table
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.platform import files, runtime, tables
from ray_mlops.platform.admission import RegisterConfig
from ray_mlops.platform.formats import Csv
from ray_mlops.stages import clean, features, ingest, register, score, train, tune
from ray_mlops.stages.ingest import IngestConfig
from ray_mlops.stages.train import TrainConfig
from ray_mlops.stages.tune import TuneConfig
from tests.planted import EVENTS, FEATURES, by_many_causes, events
from tests.small_model import study, transactions

FILES, ROWS_PER_FILE = 4, 95_000  # 9 MB each: a task each
SCORED = 400_000  # four blocks
YES = Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("it pays",))
SLICED = FEATURES.model_copy(update={"in_process_rows": 0})


class Attempt:
    """One run root, and the artifacts of the first one, or of itself where it is called `first`-something."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.root = folder, folder / name
        self._made = self.root if name.startswith("first") else folder / "first"

    def run(self, stage: str) -> Run:
        return Run(root=str(self.root), id="r", recipe="test", seed=3, uri=f"{self.root}/{stage}", fingerprint=stage)

    def note(self, name: str, artifact: Any) -> None:
        files.write_text(str(self.root / f"{name}.json"), artifact.model_dump_json())

    def first(self, name: str, kind: Any) -> Any:
        return kind.model_validate_json((self._made / f"{name}.json").read_text())


def prepare(folder: Path, files: int = FILES, scored: int = SCORED) -> None:
    """The sources, a registered model and a file that it is to score."""
    given = study(folder / "small")
    run = Run(root=str(folder), id="r", recipe="test", seed=3, uri=str(folder / "register"), fingerprint="register")
    version = register.run(RegisterConfig(name="small"), run, **given)
    (folder / "version.json").write_text(version.model_dump_json())
    rows = events(by_many_causes, files * ROWS_PER_FILE)
    (folder / "in").mkdir()
    for number in range(files):
        part = rows.slice(number * ROWS_PER_FILE, ROWS_PER_FILE)
        pa.csv.write_csv(part, folder / "in" / f"{number}.csv")
    pq.write_table(transactions(scored, seed=1), folder / "scored.parquet")


def _ingest(attempt: Attempt) -> dict[str, Any]:
    config = IngestConfig(data=EVENTS, sources=(Csv(path=str(attempt.folder / "in")),), name="test.events")
    table = ingest.run(config, attempt.run("ingest"))
    attempt.note("raw", table)
    return {**_table(table), "read": files.read_json(f"{table.uri}/ingest.json")}


def _clean(attempt: Attempt) -> dict[str, Any]:
    table = clean.run(clean.CleanConfig(), attempt.run("clean"), table=attempt.first("raw", Table))
    attempt.note("table", table.plain())
    return _table(table)


def _windows(attempt: Attempt) -> dict[str, Any]:
    made = features.run(SLICED, attempt.run("features"), table=attempt.first("table", Table))
    attempt.note("features", made)
    return {**_table(made.table), "positives": dict(made.positives)}


def _exchange(attempt: Attempt) -> dict[str, Any]:
    """The windows as they are made where slices of time are no way: rows are brought together by card, then by shop."""
    table = attempt.first("table", Table)
    definition = FeatureDefinition.of(FEATURES, table.data)
    rows = features.add_windows(tables.read(table), definition, table.rows)
    return _table(tables.write(rows, "test.exchanged", attempt.run("exchange"), data=EVENTS))


def _tune(attempt: Attempt) -> dict[str, Any]:
    config, given = TuneConfig(trials=4, max_rows=60_000), attempt.first("features", Features)
    found = tune.run(config, attempt.run("tune"), features=given, decision=YES, algorithm=XGBoost(rounds=20))
    lines = [json.loads(line) for line in files.read_text(found.log).splitlines()]
    return {"best": dict(found.best), "value": found.value, "lines": [{**line, "seconds": 0} for line in lines]}


def _train(attempt: Attempt, workers: int) -> dict[str, Any]:
    config = TrainConfig(workers=workers, in_process_rows=0, checkpoint_seconds=0)
    given = attempt.first("features", Features)
    made = train.run(config, attempt.run("train"), features=given, decision=YES, algorithm=XGBoost(rounds=15))
    model = sorted(Path(made.uri, "model").iterdir())
    return {"metrics": dict(made.metrics), "model": {path.name: _digest(path) for path in model}}


def _score(attempt: Attempt) -> dict[str, Any]:
    out = attempt.root / "scores.parquet"
    out.parent.mkdir(exist_ok=True)
    version = ModelVersion.model_validate_json((attempt.folder / "version.json").read_text())
    rows = score.score_file(version, str(attempt.folder / "scored.parquet"), str(out))
    return {"rows": rows, "scores": _digest(out)}


def _table(table: Any) -> dict[str, Any]:
    return {"rows": table.rows, "snapshot": table.snapshot}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


WORK: dict[str, Callable[[Attempt], dict[str, Any]]] = {
    "ingest": _ingest,
    "clean": _clean,
    "windows": _windows,
    "exchange": _exchange,
    "tune": _tune,
    "train": partial(_train, workers=1),
    "train2": partial(_train, workers=2),
    "score": _score,
}


NEEDED = ("ingest", "clean", "windows")  # what others read


def main() -> None:
    """Answer until the input ends."""
    runtime.connect()
    for line in sys.stdin:
        wanted = json.loads(line)
        attempt = Attempt(Path(wanted["folder"]), wanted["attempt"])
        try:
            told = WORK[wanted["work"]](attempt)
        except Exception as error:  # noqa: BLE001  whatever it is, the caller is to see it
            told = {"error": repr(error)}
        files.write_json(str(attempt.root / f"{wanted['work']}-told.json"), told)


if __name__ == "__main__":
    main()
