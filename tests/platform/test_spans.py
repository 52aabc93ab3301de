"""A text file is the same in any number of parts."""

import bz2
import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_mlops.errors import DataError
from ray_mlops.platform import inputs
from ray_mlops.platform import spans as spans_module
from ray_mlops.platform.spans import Span, read_span, spans


def input_file(path: Path) -> inputs.InputFile:
    return inputs.expand([str(path)], [])[0]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text("ab1é", max_size=9), min_size=1, max_size=12),
    st.lists(st.integers(1, 80), max_size=6),
    st.booleans(),
)
def test_cutting_a_file_anywhere_gives_each_line_once(
    tmp_path: Path, texts: list[str], cuts: list[int], ends_with_break: bool
) -> None:
    path = tmp_path / "f.txt"
    path.write_text("\n".join(["x", *texts]) + "\n" * ends_with_break)
    file = input_file(path)
    edges = sorted({0, file.size, *(cut for cut in cuts if cut < file.size)})
    parts = [read_span(file, Span(start, end, 0)) for start, end in pairwise(edges)]
    assert b"".join(parts) == path.read_bytes()
    assert all(part.endswith(b"\n") for part in [part for part in parts if part][:-1])


def test_a_large_file_is_cut_and_a_compressed_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "SPAN_BYTES", 10)
    text = b"1,2\n" * 10
    (tmp_path / "f.csv").write_bytes(text)
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "f.csv.bz2").write_bytes(bz2.compress(text))
    assert [(part.start, part.end) for part in spans(input_file(tmp_path / "f.csv"))] == [
        (0, 10),
        (10, 20),
        (20, 30),
        (30, 40),
    ]
    assert len(spans(input_file(tmp_path / "f.csv"), split=False)) == 1
    for name in ("f.csv.gz", "f.csv.bz2"):
        file = input_file(tmp_path / name)
        assert [read_span(file, part) for part in spans(file)] == [text]


def test_a_truncated_compressed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 100)[:-200])
    file = input_file(path)
    with pytest.raises(DataError, match=r"f\.csv\.gz.*truncated"):
        read_span(file, spans(file)[0])
