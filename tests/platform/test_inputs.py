"""Files are found by name, glob or folder; what is missing or empty is named, with the nearest name."""

from pathlib import Path

import pytest

from ray_mlops.errors import DataError
from ray_mlops.platform.inputs import digests, expand

SUFFIXES = (".csv",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("2024/01.csv", "2024/02.csv", "2025/01.csv", "notes.md", "2025/_SUCCESS", "2025/.hidden.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def found(folder: Path, *locations: str) -> list[str]:
    files = expand([str(folder / location) for location in locations], SUFFIXES)
    return [file.path.removeprefix(f"{folder}/") for file in files]


def test_a_file_a_folder_and_several_of_them(folder: Path) -> None:
    assert found(folder, "notes.md") == ["notes.md"]
    assert found(folder, "2025") == ["2025/01.csv"]
    assert found(folder, "") == ["2024/01.csv", "2024/02.csv", "2025/01.csv"]
    assert found(folder, "2025", "2024/01.csv", "2025/01.csv") == ["2025/01.csv", "2024/01.csv"]


def test_globs(folder: Path) -> None:
    assert found(folder, "*/01.csv") == ["2024/01.csv", "2025/01.csv"]
    assert found(folder, "2024/*.csv") == ["2024/01.csv", "2024/02.csv"]
    assert found(folder, "**/0[12].csv") == ["2024/01.csv", "2024/02.csv", "2025/01.csv"]
    assert found(folder, "202?/02*") == ["2024/02.csv"]
    assert found(folder, "**/*.md") == ["notes.md"]


def test_a_name_with_brackets_is_a_name_when_it_exists(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("x")
    assert found(tmp_path, "a[1].csv") == ["a[1].csv"]


def test_a_relative_path_is_read_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert expand(["notes.md"], SUFFIXES)[0].label == str(folder / "notes.md")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("2024/01.cvs", r"no file or folder .*/2024/01\.cvs\. Did you mean 01\.csv\?"),
        ("2023/01.csv", r"2023 does not exist either"),
        ("2024/9*.csv", r"matches none of the 2 files in"),
        ("2023/*.csv", r"no folder .*/2023 for the pattern .*Did you mean 202"),
        ("zzz", r"holds 3 other names"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, location: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(folder, location)


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("x")
    with pytest.raises(DataError, match=r"no file ending in \.csv: only a\.parquet"):
        found(tmp_path, "")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match=r"a\.csv is empty \(0 bytes\)"):
        found(tmp_path, "")


def test_digests_follow_the_content_not_the_name(tmp_path: Path) -> None:
    for name, text in (("a.csv", "x"), ("b.csv", "x"), ("c.csv", "y")):
        (tmp_path / name).write_text(text)
    values = digests(expand([str(tmp_path)], SUFFIXES))
    assert list(values) == [str(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv")]
    a, b, c = values.values()
    assert a == b != c


def test_a_compressed_file_is_digested_as_it_lies(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"not really compressed")
    assert len(digests(expand([str(tmp_path / "a.gz")], SUFFIXES))) == 1
