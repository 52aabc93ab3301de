"""A log of lines and its compaction: the same lines whatever form they are in and wherever a compaction is killed."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from ray_mlops.errors import StorageError
from ray_mlops.platform import segments
from ray_mlops.platform.compaction import Compacted, compact
from ray_mlops.platform.segments import Read
from ray_mlops.serving.appender import Appender

TOMORROW = datetime.now(UTC).date() + timedelta(days=1)
ODD = b'{"time": "2026-01\n\n[1]\n{"score": "x", "id": {"a": 1}, "time": 5}\n\xff\xfe\n'
# Kills itself at the given change to the files of the folder: whatever is opened to write, renamed or removed.
KILLED = """
import os, signal, sys
from datetime import date
from ray_mlops.platform.compaction import compact
folder, left = sys.argv[1], int(sys.argv[2])
def hook(event, arguments):
    global left
    changes = event in ("os.rename", "os.remove") or event == "open" and arguments[2] & os.O_CREAT
    if changes and str(arguments[0]).startswith(folder):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
compact(folder, today=date.fromisoformat(sys.argv[3]), most_bytes=1500)
"""


def line(number: int, **more: object) -> bytes:
    moment = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.25Z"
    content = {"time": moment, "id": number, "score": number / 8, "decision": "approve", **more}
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def fill(folder: Path, count: int = 5, size: int = 10, end: bytes = b"") -> None:
    for number in range(count):
        first = number * size
        content = b"".join(line(each) for each in range(first, first + size))
        (folder / f"v1-{number:04d}.jsonl").write_bytes(content + end)


def read(folder: Path) -> list[tuple[str, bytes]]:
    return sorted(segments.lines(str(folder)))


def names(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


def test_the_lines_are_the_same_before_and_after(tmp_path: Path) -> None:
    fill(tmp_path, end=ODD)
    before, identity = read(tmp_path), segments.identity(str(tmp_path))
    done = compact(str(tmp_path), today=TOMORROW)
    assert (done.segments, done.lines, len(done.files)) == (5, 75, 1)
    assert read(tmp_path) == before and segments.identity(str(tmp_path)) == identity
    assert segments.found(str(tmp_path)).names == list(done.files) and names(tmp_path) == {".parquet"}
    assert compact(str(tmp_path), today=TOMORROW) == Compacted()


def test_what_is_asked_for_most_is_in_columns_and_the_line_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(3, kind="label", degraded="rule") + line(4, id="x", score=None) + ODD)
    (name,) = compact(str(tmp_path), today=TOMORROW).files
    table = parquet.read_table(tmp_path / name)
    first, second = table.to_pylist()[:2]
    moment = datetime(2026, 1, 1, 0, 0, 3, 250_000, UTC)
    assert (first["time"], first["id"], first["score"], first["degraded"]) == (moment, "3", 0.375, "rule")
    assert (second["id"], second["kind"], second["score"], second["decision"]) == ("x", None, None, "approve")
    assert orjson.loads(first["line"])["kind"] == "label" == first["kind"]
    assert table["line"].to_pylist()[2:] == ODD.splitlines()


def test_a_segment_that_is_appended_to_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    appender = Appender(str(tmp_path), "v2")
    appender.write([line(100)])
    assert appender.flush()
    assert compact(str(tmp_path), today=TOMORROW).segments == 5
    appender.write([line(101)])
    appender.close()
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {appender.path.name}
    assert [each for name, each in read(tmp_path) if name == appender.path.name] == [line(100), line(101)]
    assert compact(str(tmp_path), today=TOMORROW).segments == 1
    assert len(read(tmp_path)) == 52


def test_one_file_a_day_and_today_only_what_fills_one(tmp_path: Path) -> None:
    fill(tmp_path, count=6)
    noon, size = datetime(2026, 3, 4, 12, tzinfo=UTC), (tmp_path / "v1-0000.jsonl").stat().st_size
    for number, path in enumerate(sorted(tmp_path.glob("*.jsonl"))):
        moment = (noon + timedelta(days=number // 2)).timestamp()
        os.utime(path, (moment, moment))
    done = compact(str(tmp_path), today=date(2026, 3, 6))
    assert [name[:10] for name in done.files] == ["2026-03-04", "2026-03-05"]
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert len(compact(str(tmp_path), today=date(2026, 3, 6), most_bytes=size).files) == 2
    assert names(tmp_path) == {".parquet"} and len(read(tmp_path)) == 60


@pytest.mark.parametrize("compacted", [(), (0, 1), (0, 1, 2, 3, 4)])
def test_reading_goes_on_where_it_ended_whatever_was_compacted_meanwhile(
    tmp_path: Path, compacted: tuple[int, ...]
) -> None:
    fill(tmp_path, count=2)
    (tmp_path / "v1-0002.jsonl").write_bytes(line(900) + b'{"tor')
    since: dict[str, Read] = {}
    for name, each in segments.lines(str(tmp_path)):
        if each.endswith(b"\n"):
            since[name] = Read(since.get(name, Read()).bytes + len(each), since.get(name, Read()).lines + 1)
    fill(tmp_path, count=5)
    if compacted:
        hidden = [
            path.rename(path.with_suffix(".away"))
            for path in tmp_path.glob("*.jsonl")
            if int(path.stem[3:]) not in compacted
        ]
        compact(str(tmp_path), today=TOMORROW)
        for path in hidden:
            path.rename(path.with_suffix(".jsonl"))
    since["v1-0002.jsonl"] = Read(len(line(20)), 1)  # as if the first of its lines had been read
    found = [each for _, each in segments.lines(str(tmp_path), since)]
    assert sorted(found) == sorted(line(number) for number in range(21, 50))


def killed(folder: Path, changes: int) -> bool:
    """Compact in a process of its own that is killed at a change to the folder; whether it was."""
    code = [sys.executable, "-c", KILLED, str(folder), str(changes), TOMORROW.isoformat()]
    ended = subprocess.run(code, check=False).returncode
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def test_killed_at_each_step_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    dead, changes = True, 0
    for changes in range(40):
        folder = tmp_path / str(changes)
        folder.mkdir()
        fill(folder, count=4, size=12, end=b'{"torn')
        before, identity = (
            [(name, each.removesuffix(b"\n")) for name, each in read(folder)],
            segments.identity(str(folder)),
        )
        dead = killed(folder, changes)
        for _ in range(2):
            assert [(name, each.removesuffix(b"\n")) for name, each in read(folder)] == before, f"at change {changes}"
            assert segments.identity(str(folder)) == identity
            compact(str(folder), today=TOMORROW, most_bytes=1500)
        assert names(folder) == {".parquet"} and len(list(folder.iterdir())) == 2
        if not dead:
            break
    assert not dead and changes == 8  # for each of two files: made, renamed, and its two segments removed


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_killed_while_a_file_was_written_its_part_is_no_part_of_the_log(tmp_path: Path, share: float) -> None:
    fill(tmp_path)
    before = read(tmp_path)
    (name,) = compact(str(tmp_path), today=TOMORROW).files
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    fill(tmp_path)
    (tmp_path / f".compacting-{name[11:]}").write_bytes(content[: int(share * len(content))])
    assert read(tmp_path) == before
    assert compact(str(tmp_path), today=TOMORROW).files == (name,)
    assert read(tmp_path) == before and names(tmp_path) == {".parquet"}


def test_a_full_disk_gets_its_room_back_and_the_log_is_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path, count=20, size=500)
    before, there = read(tmp_path), sorted(tmp_path.iterdir())
    limit, handled = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        with pytest.raises(StorageError, match="cannot compact the log .* check free space"):
            compact(str(tmp_path), today=TOMORROW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handled)
    assert sorted(tmp_path.iterdir()) == there and read(tmp_path) == before
    assert compact(str(tmp_path), today=TOMORROW).segments == 20 and read(tmp_path) == before


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
NAMED = st.sampled_from(["time", "kind", "id", "request_id", "version", "score", "probability", "decision"])
LINES = st.dictionaries(NAMED, VALUES).map(lambda record: json.dumps(record).encode()) | st.binary().map(
    lambda content: content.replace(b"\n", b"")
)


@given(st.lists(st.lists(LINES, max_size=5), max_size=4), st.binary(max_size=5))
def test_whatever_is_in_a_line_it_is_kept(segments_of_lines: list[list[bytes]], torn: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(segments_of_lines):
            Path(folder, f"v1-{number}.jsonl").write_bytes(b"".join(each + b"\n" for each in content) + torn)
        before = [(name, each.removesuffix(b"\n")) for name, each in segments.lines(folder)]
        compact(folder, today=TOMORROW)
        assert [(name, each.removesuffix(b"\n")) for name, each in segments.lines(folder)] == before


def test_a_line_as_deep_and_as_large_as_json_may_be_is_kept(tmp_path: Path) -> None:
    deep = (
        b'{"id": '
        + b"[" * 900
        + b"]" * 900
        + b', "score": 1'
        + b"0" * 300
        + b', "time": "9999-12-31T23:59:59-23:59"}\n'
    )
    (tmp_path / "v1-0.jsonl").write_bytes(deep)
    assert compact(str(tmp_path), today=TOMORROW).lines == 1 and read(tmp_path) == [("v1-0.jsonl", deep)]


def test_readers_beside_compactions_see_every_line_once(tmp_path: Path) -> None:
    fill(tmp_path, count=20, size=50)
    before = read(tmp_path)
    code = [sys.executable, "-c", KILLED, str(tmp_path), "1000000", TOMORROW.isoformat()]
    both = [subprocess.Popen(code) for _ in range(2)]
    while any(each.poll() is None for each in both):
        assert read(tmp_path) == before
    assert [each.returncode for each in both] == [0, 0] and names(tmp_path) == {".parquet"}
    assert read(tmp_path) == before


def test_the_latest_lines_come_from_the_newest_file(tmp_path: Path) -> None:
    assert segments.latest(str(tmp_path / "none"), 5) == []
    fill(tmp_path, count=2)
    compact(str(tmp_path), today=TOMORROW)
    stripped = [line(number).strip() for number in range(30)]
    assert segments.latest(str(tmp_path), 3) == stripped[17:20]
    (tmp_path / "v1-0002.jsonl").write_bytes(b"")
    assert segments.latest(str(tmp_path), 100) == stripped[:20]
    (tmp_path / "v1-0002.jsonl").write_bytes(b"".join(line(number) for number in range(20, 30)) + b'{"torn')
    assert segments.latest(str(tmp_path), 4) == stripped[26:30]


@pytest.fixture()
def damaged(tmp_path: Path) -> Iterator[Path]:
    fill(tmp_path)
    (name,) = compact(str(tmp_path), today=TOMORROW).files
    (tmp_path / name).write_bytes(b"PAR1 and then nothing")
    yield tmp_path


def test_a_damaged_file_is_named(damaged: Path) -> None:
    for work in (segments.identity, compact):
        with pytest.raises(StorageError, match=r"\.parquet is damaged"):
            work(str(damaged))


def test_a_log_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path / "none")
    assert list(segments.lines(folder)) == [] and segments.identity(folder) == "" and compact(folder) == Compacted()
