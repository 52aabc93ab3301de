"""The capture log as it is read again."""

from pathlib import Path

import orjson

from ray_mlops.online import CaptureLog

NAMES = ("id", "amount")


def line(received: int, **content: object) -> bytes:
    return orjson.dumps({"time": f"2026-01-01T00:00:{received:02d}Z", **content}, option=orjson.OPT_APPEND_NEWLINE)


def test_lines_of_all_replicas_come_in_the_order_in_which_they_were_received(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(1, inputs={"id": 1, "amount": 2.5}) + line(4, kind="label", id=1, label=1))
    (tmp_path / "b.jsonl").write_bytes(line(3, kind="label", id=2, label=0) + line(0, inputs={"id": 2}))
    found = CaptureLog(str(tmp_path)).read(NAMES)
    assert found.events == [(2, None), (1, 2.5)]
    assert [each["id"] for each in found.labels] == [2, 1]


def test_each_reading_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    whole, started = line(1, inputs={"id": 1}), line(2, inputs={"id": 2})
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole + started[:20])
    log = CaptureLog(str(tmp_path))
    assert [id for id, _ in log.read(NAMES).events] == [1]
    with path.open("ab") as file:
        file.write(started[20:])
    (tmp_path / "b.jsonl").write_bytes(line(3, inputs={"id": 3}))
    assert [id for id, _ in log.read(NAMES).events] == [2, 3]
    assert log.read(NAMES) == ([], [])


def test_what_is_no_line_of_a_request_is_passed_over(tmp_path: Path) -> None:
    odd = b'{"a": \n[1]\n"x"\n{"inputs": [1]}\n\n\xff\xfe\n'
    (tmp_path / "a.jsonl").write_bytes(odd + line(1, inputs={"id": 1}))
    (tmp_path / "notes.txt").write_bytes(line(1, inputs={"id": 2}))
    assert CaptureLog(str(tmp_path)).read(NAMES).events == [(1, None)]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert CaptureLog(str(tmp_path / "nowhere")).read(NAMES) == ([], [])
