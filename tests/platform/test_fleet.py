"""What is left of a fit's checkpoints, and what a driver is told, played without Ray."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ray_mlops.contract import Run
from ray_mlops.errors import ConfigError
from ray_mlops.platform import fleet
from ray_mlops.platform.ray_worker import SCORE, UNJUDGED


def a_run(root: Path, told: list[tuple[int, int, str]] | None = None) -> Run:
    told = [] if told is None else told
    return Run(root=str(root), id="r", recipe="t", uri=str(root), progress=lambda *step: told.append(step))


@dataclass
class Folder:
    """A checkpoint as Ray hands it out."""

    path: str

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        yield self.path


def test_the_best_checkpoints_stay_in_the_order_of_their_scores(tmp_path: Path) -> None:
    found = []
    for name, score in (("a", 0.5), ("b", 0.9), ("c", UNJUDGED), ("d", 0.7)):
        (tmp_path / "ray" / name).mkdir(parents=True)
        (tmp_path / "ray" / name / "weights").write_text(name)
        found.append((Folder(str(tmp_path / "ray" / name)), {SCORE: score}))
    kept = fleet._kept(found, a_run(tmp_path), 2)
    assert list(kept.values()) == [0.9, 0.7]
    assert [Path(folder, "weights").read_text() for folder in kept] == ["b", "d"]
    assert len(fleet._kept(found, a_run(tmp_path / "more"), 9)) == 3
    assert fleet._kept(found, a_run(tmp_path / "none"), 0) == {}


@pytest.mark.parametrize(("record", "stays"), [('{"a": 1}', True), ('{"a": ', False), (None, True)])
def test_a_list_of_checkpoints_that_a_kill_cut_off_is_forgotten(
    record: str | None, stays: bool, tmp_path: Path
) -> None:
    folder = tmp_path / fleet.FOLDER
    folder.mkdir()
    if record is not None:
        (folder / fleet._RECORD).write_text(record)
    fleet._mend(a_run(tmp_path))
    assert folder.exists() is stays


def test_progress_is_passed_on(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    with fleet.watched(a_run(tmp_path, told)):
        (tmp_path / fleet.PROGRESS_FILE).write_text(json.dumps({"progress": 0.4}))
        while not told:
            pass
    assert set(told) == {(40, 100, "%")}
    assert not (tmp_path / fleet.PROGRESS_FILE).exists()


def test_workers_that_could_not_meet_are_refused() -> None:
    with pytest.raises(ConfigError, match="backend 'none'.*--train.workers 1"):
        fleet.backend_config("none")


def test_a_failure_names_the_worker_and_the_last_line_of_its_error() -> None:
    class Failed(Exception):
        def __init__(self) -> None:
            self.worker_failures = {1: ValueError("Traceback\n  File x\nValueError: the stars were not right\n")}

    place = {"num_workers": 2, "resources_per_worker": {"CPU": 1}}
    assert fleet._reason(Failed(), place) == "the fit failed on worker 1 of 2: ValueError: the stars were not right"
    assert "cannot start 2 workers with {'CPU': 1} each: no room" in fleet._reason(Exception("no room"), place)
