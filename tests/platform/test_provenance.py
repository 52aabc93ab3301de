"""Where a model comes from: the commit only of code that lies in it, and what is changed there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ray_mlops.contract import Run, Trained
from ray_mlops.platform import files, provenance


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    asked = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return asked.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a recipe in it, committed."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text("LIMIT = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", "mine.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_recipe_is_of_the_commit_of_its_repository_and_its_changes_are_told(repository: Path) -> None:
    recipe = f"{repository}/mine.py:mine"
    assert provenance.git(recipe) == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}
    (repository / "mine.py").write_text("LIMIT = 2\n")
    told = provenance.git(recipe)
    assert told["dirty"] and "+LIMIT = 2" in told["diff"] and len(told["diff_sha256"]) == 64


def test_a_repository_that_does_not_hold_the_code_is_not_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    of_the_package = provenance.git("fraud")
    assert of_the_package.get("commit") != git(repository, "rev-parse", "HEAD")
    (repository / "untracked.py").write_text("")
    assert provenance.git("untracked.py") == of_the_package
    # As the environment of a project lies in its repository, and is not of it.
    installed = repository / "env" / "site-packages" / "ray_mlops"
    shutil.copytree(Path(provenance.__file__).parents[1], installed, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "__file__", str(installed / "platform" / "provenance.py"))
    assert provenance.git("fraud") == {}


def test_the_settings_of_a_run_are_kept_and_told_by_their_digest(tmp_path: Path) -> None:
    run = Run(root=str(tmp_path), id="r1", recipe="fraud", seed=7)
    files.write_text(provenance.config_file(run.root, run.id), "recipe: fraud\nconfig: {seed: 7}\n")
    bundle = str(tmp_path / "bundles" / "00")
    assert provenance.told(bundle) == {}
    hardware = {**provenance.machine(), "device": "cpu"}
    fitted = Trained(uri="", fingerprint="", algorithm={}, metrics={}, workers=2, threads=4, hardware=hardware, rows=9)
    provenance.note(bundle, run, fitted)
    made = files.read_json(provenance.beside(bundle))
    assert made["config"]["resolved"] == {"recipe": "fraud", "config": {"seed": 7}} and made["seed"] == 7
    told = provenance.told(bundle)
    assert told["config"] == {"digest": made["config"]["digest"]} and told["in_full"] == provenance.beside(bundle)
    assert told["lock"]["distributions"] == len(made["lock"]["distributions"])
    assert told["hardware"] == {**hardware, "workers": 2, "threads": 4} and hardware["cores"] >= 1
    assert hardware["memory_gib"] >= 1 and hardware["cpu"]
