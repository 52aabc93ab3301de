"""What a job takes along: what the recipe needs, and nothing that has no place in a job."""

from pathlib import Path

import pytest
import yaml

from ray_mlops.clusters import packing, pins
from ray_mlops.errors import ConfigError

RECIPE = """
import thresholds
from features.windows import WINDOWS
from ray_mlops.pipeline import Config


def mine() -> Config:
    raise NotImplementedError(thresholds.LIMIT, WINDOWS)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, what it imports, and what must not travel."""
    written = {
        "mine.py": RECIPE,
        "thresholds.py": "LIMIT = 1",
        "features/__init__.py": "",
        "features/windows.py": "from features.spans import SPANS\nWINDOWS = SPANS",
        "features/spans.py": "SPANS = (1, 7)",
        "features/unused.py": "",
        "notebook.py": "",
        "data/rows.parquet": "PAR1",
        ".git/HEAD": "ref: refs/heads/main",
        "env/pyvenv.cfg": "home = /usr",
        "sql/query.sql": "select 1",
    }
    for name, text in written.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(package: packing.Package) -> set[str]:
    found = {path.relative_to(package.folder).as_posix() for path in Path(package.folder).rglob("*") if path.is_file()}
    assert package.files == len(found)
    return {name for name in found if not name.startswith("ray_mlops/")}


def test_a_recipe_takes_what_it_imports_along_and_no_more(project: Path) -> None:
    package = packing.pack("mine.py:mine", ["sql"])
    needed = {"mine.py", "thresholds.py", "features/__init__.py", "features/windows.py", "features/spans.py"}
    assert names(package) == needed | {"sql/query.sql"}
    assert package.recipe == "mine.py:mine" and package.bytes < packing.MOST_BYTES
    assert (Path(package.folder) / "ray_mlops" / "reports" / "templates").is_dir()
    assert not list(Path(package.folder).rglob("__pycache__"))
    package.discard()
    assert not Path(package.folder).exists()


def test_a_dumped_config_takes_the_file_of_its_recipe_along(project: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump({"recipe": "mine.py", "config": {"name": "x"}}))
    package = packing.pack("config.yaml")
    assert {"config.yaml", "mine.py", "thresholds.py"} <= names(package)
    assert yaml.safe_load((Path(package.folder) / "config.yaml").read_text())["recipe"] == "mine.py"
    package.discard()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "git repository"),
        (".git", "git repository"),
        ("env", "env is a virtual environment"),
        ("data", "rows.parquet is data: put it on s3://"),
        ("missing", "missing, which is to be taken along, is not there"),
    ],
)
def test_what_has_no_place_in_a_job_is_refused(project: Path, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        packing.pack("fraud", [path])


def test_too_much_is_refused_and_the_largest_file_named(project: Path) -> None:
    with Path("weights.bin").open("wb") as stream:
        stream.truncate(packing.MOST_BYTES + 1)
    with pytest.raises(ConfigError, match="largest file is weights.bin"):
        packing.pack("fraud", ["weights.bin"])


def test_what_is_installed_there_can_be_found_on_an_index() -> None:
    pinned = {"python": "3.11.9", "ray": "2.60.0", "torch": "2.14.1+cpu", "numpy": "2.4.6"}
    assert pins.requirements(pinned) == ["torch==2.14.1", "numpy==2.4.6"]


def test_pins_hold_every_library_and_find_what_differs() -> None:
    pinned = pins.pinned()
    assert {"python", "ray", "numpy", "xgboost-cpu", "pyarrow", "starlette"} <= set(pinned)
    assert "pytest" not in pinned, "what only tests need does not travel"
    assert pins.differences(pinned) == []
    wrong = {"numpy": "0.1", "python": "3.9.1", "no-such-library": "1", "torch": pinned["torch"] + "+cpu"}
    assert [line.split()[0] for line in pins.differences(wrong)] == ["numpy", "python", "no-such-library"]
