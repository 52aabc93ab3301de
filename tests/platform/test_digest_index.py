"""The index saves reading files again and never hides that one changed."""

import os
import time
from pathlib import Path

import pytest

from ray_mlops.platform.digest_index import content_digests, folder_digest
from ray_mlops.platform.inputs import InputFile, expand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "home"))
    for number in range(4):
        path = tmp_path / "in" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number]) * 10)
        settle(path)
    return tmp_path / "in"


def settle(path: Path, seconds: float = 100) -> None:
    """As if it had last been changed some time ago."""
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def found(folder: Path) -> list[InputFile]:
    return expand((str(folder),), (".png",))


def test_what_is_known_is_not_read_again(folder: Path) -> None:
    listed = found(folder)
    first = content_digests("in", listed)
    for path in folder.iterdir():
        path.unlink()
    assert content_digests("in", listed) == first


def test_a_change_of_size_or_time_is_seen(folder: Path) -> None:
    first = content_digests("in", found(folder))
    (folder / "0.png").write_bytes(b"longer than before")
    (folder / "1.png").write_bytes(b"y" * 10)
    settle(folder / "0.png")
    settle(folder / "1.png", 50)
    second = content_digests("in", found(folder))
    assert [first[label] == second[label] for label in sorted(first)] == [False, False, True, True]


def test_a_file_changed_just_now_is_read_again(folder: Path) -> None:
    changed = folder / "0.png"
    changed.write_bytes(b"a" * 10)
    when = changed.stat().st_mtime_ns
    first = content_digests("in", found(folder))
    changed.write_bytes(b"b" * 10)
    os.utime(changed, ns=(when, when))  # within the tick of a coarse clock
    assert content_digests("in", found(folder)) != first


def test_names_count_and_the_place_does_not(folder: Path) -> None:
    first = folder_digest(str(folder), found(folder))
    moved = folder.rename(folder.with_name("elsewhere"))
    assert folder_digest(str(moved), found(moved)) == first
    (moved / "0.png").rename(moved / "9.png")
    assert folder_digest(str(moved), found(moved)) != first


def test_a_broken_index_only_costs_time(folder: Path, tmp_path: Path) -> None:
    first = content_digests("in", found(folder))
    (index,) = (tmp_path / "home" / "cache").iterdir()
    index.write_bytes(b"broken")
    assert content_digests("in", found(folder)) == first
