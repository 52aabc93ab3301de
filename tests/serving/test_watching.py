import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.monitoring import windows
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import watching
from ray_mlops.serving.watching import BASELINE, Watch, Watcher, Watching
from tests.monitoring.watched import NAMES, baseline, rows

SLOW = Watching(flush_s=1000)  # only what is asked for is written


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    source = tmp_path_factory.mktemp("source")
    (source / BASELINE).write_text(baseline().model_dump_json())
    return Bundle.write(str(source), str(tmp_path_factory.mktemp("bundles")))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000_020.0]
    monkeypatch.setattr(watching.time, "time", lambda: now[0])
    return now


def ask(watch: Watch, size: int) -> None:
    random = np.random.default_rng(size)
    watch.seen(rows(random, size), [0.1] * size, ["approve"] * size)


def found(watcher: Watcher, bundle: Bundle, folder: Path) -> list[tuple[int, int, int]]:
    watcher.flush()
    return [(one.start, one.counts[0], one.late) for one in windows.read(windows.folder_of(str(folder), bundle.digest))]


def test_each_window_is_one_file_with_all_its_requests(bundle, clock, tmp_path):
    watcher = Watcher(str(tmp_path), "r1", watching=SLOW)
    watch = watcher.watch(bundle, NAMES)
    assert watch and watch is watcher.watch(bundle, NAMES)
    for _ in range(6):
        ask(watch, 10)
        clock[0] += 20
        found(watcher, bundle, tmp_path)
    assert found(watcher, bundle, tmp_path) == [(1_000_020, 30, 0), (1_000_080, 30, 0)]
    clock[0] -= 300  # a clock that is set back
    ask(watch, 1)
    assert sum(counted for _, counted, _ in found(watcher, bundle, tmp_path)) == 61
    watcher.close()


def test_what_a_clock_put_forward_had_judged_too_early_is_added_to(bundle, clock, tmp_path):
    watcher = Watcher(str(tmp_path), "r1", watching=SLOW)
    watch = watcher.watch(bundle, NAMES)
    assert watch
    ask(watch, 10)
    assert found(watcher, bundle, tmp_path) == [(1_000_020, 10, 0)]
    ask(watch, 5)  # not written yet
    clock[0] += 3_600  # whoever judges now takes the file for whole
    ask(watch, 3)
    assert sorted(found(watcher, bundle, tmp_path)) == [(1_000_020, 5, 1), (1_000_020, 10, 0), (1_003_620, 3, 0)]
    clock[0] -= 3_600
    ask(watch, 2)
    assert sum(counted for _, counted, _ in found(watcher, bundle, tmp_path)) == 20
    watcher.close()


def test_the_first_request_is_written_at_once_and_the_rest_at_the_end(bundle, tmp_path):
    watcher = Watcher(str(tmp_path), "r1", watching=Watching(flush_s=30))
    watch = watcher.watch(bundle, NAMES)
    assert watch
    ask(watch, 3)
    folder = Path(windows.folder_of(str(tmp_path), bundle.digest))
    while not (folder.is_dir() and [name for name in os.listdir(folder) if not name.startswith(".")]):
        pass
    watch.degraded(2)
    watch.refused()
    watcher.close()
    (kept,) = windows.read(str(folder))
    assert kept.counts[:3] == [3, 2, 1]


def test_a_full_disk_costs_nothing_but_time(bundle, clock, tmp_path, monkeypatch):
    """The disk is full where files are written: `mkstemp` says so, as the operating system would."""
    lines = {"written": 0, "dropped": 0}
    watcher = Watcher(str(tmp_path), "r1", watching=SLOW, capture=lambda: dict(lines))
    watch = watcher.watch(bundle, NAMES)
    assert watch
    ask(watch, 10)
    assert found(watcher, bundle, tmp_path) == [(1_000_020, 10, 0)]

    def full(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", full)
        for _ in range(4):
            ask(watch, 10)
            lines["dropped"] += 10
            clock[0] += 60
            watcher.flush()
        assert "No space left" in watcher.failing
    ask(watch, 5)
    kept = sorted(found(watcher, bundle, tmp_path))
    assert not watcher.failing
    # What the first window's file lacked comes in one of its own: somebody may have read the other one.
    assert kept[:2] == [(1_000_020, 10, 0), (1_000_020, 10, 1)]
    assert sum(counted for _, counted, _ in kept) == 55
    all_windows = windows.read(windows.folder_of(str(tmp_path), bundle.digest))
    assert windows.captured(all_windows)["dropped"] == 40
    watcher.close()


def test_a_bundle_without_a_baseline_is_not_watched(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.json").write_text(json.dumps(1))
    watcher = Watcher(str(tmp_path / "m"), "r1")
    assert watcher.watch(Bundle.write(str(tmp_path / "source"), str(tmp_path / "bundles")), NAMES) is None
    watcher.close()
