import json
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.monitoring import captured
from ray_mlops.monitoring.sketches import Baseline

KNOWN = Baseline.of(["amount", "count"], np.arange(40, dtype=np.float32).reshape(20, 2), np.linspace(0, 1, 20))


def record(number: int, digest: str = "ours", **changes: object) -> dict:
    moment = f"2024-01-01T00:{number % 60:02d}:00Z"
    features = {"amount": float(number), "count": None}
    return {"time": moment, "features": features, "score": 0.5, "decision": "approve", "digest": digest, **changes}


def write(path: Path, *lines: object) -> None:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))


def test_all_files_are_counted_whatever_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(captured, "LINES_AT_ONCE", 3)
    write(tmp_path / "a.jsonl", *(record(number) for number in range(10)))
    write(tmp_path / "b.jsonl", *(record(number) for number in range(10, 14)))
    found = captured.count(str(tmp_path), KNOWN, "ours")
    assert found.sketch.requests == 14 and found.files == ["a.jsonl", "b.jsonl"]
    assert found.sketch.features["count"].missing == 14
    assert sum(found.sketch.features["amount"].counts) == 14
    assert found.sketch.decisions == {"approve": 14}
    assert (found.first, found.last) == ("2024-01-01T00:00:00Z", "2024-01-01T00:13:00Z")


def test_labels_are_no_requests(tmp_path):
    label = {"kind": "label", "id": 1, "label": 1, "digest": "ours", "time": "2025-01-01T00:00:00Z"}
    write(tmp_path / "a.jsonl", record(1), label, record(2))
    found = captured.count(str(tmp_path), KNOWN, "ours")
    assert (found.sketch.requests, found.unreadable, found.other_versions) == (2, 0, 0)
    assert found.last == "2024-01-01T00:02:00Z"


def test_what_no_model_answered_is_only_numbered(tmp_path):
    degraded = {key: value for key, value in record(2, degraded="rule").items() if key != "features"}
    write(tmp_path / "a.jsonl", record(1), degraded)
    found = captured.count(str(tmp_path), KNOWN, "ours")
    assert (found.sketch.requests, found.degraded, found.unreadable) == (1, 1, 0)


@pytest.mark.parametrize(
    "torn", ['{"time": "2024', "[1, 2]\n", '{"score": 1}\n', '{"features": null, "score": 1,', "\n"]
)
def test_a_torn_line_costs_itself_only(tmp_path, torn):
    write(tmp_path / "a.jsonl", record(1), record(2), torn)
    found = captured.count(str(tmp_path), KNOWN, "ours")
    assert (found.sketch.requests, found.unreadable) == (2, 1)


def test_other_versions_are_left_out(tmp_path):
    write(tmp_path / "a.jsonl", record(1), record(2, digest="theirs"))
    found = captured.count(str(tmp_path), KNOWN, "ours")
    assert (found.sketch.requests, found.other_versions, found.unreadable) == (1, 1, 0)


def test_an_absent_folder_holds_nothing(tmp_path):
    assert captured.count(str(tmp_path / "none"), KNOWN, "ours").sketch.requests == 0
    assert captured.identity(str(tmp_path / "none")) == captured.identity(str(tmp_path))


def test_the_identity_changes_with_every_request(tmp_path):
    names = {captured.identity(str(tmp_path))}
    for number in range(1, 4):
        write(tmp_path / "a.jsonl", *(record(each) for each in range(number)))
        names.add(captured.identity(str(tmp_path)))
    assert len(names) == 4
    assert captured.identity(str(tmp_path)) in names
