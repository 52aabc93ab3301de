"""A recorded run is made again, bit for bit, wherever its rows lie; what is not the same is named."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from ray_mlops import commands, runs
from ray_mlops.cli import main
from tests import lifecycle
from tests.lifecycle import TINY
from tests.reproduction import laid_out

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=(TINY, "vision"))
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> tuple[str, str]:
    """A root with one run of a recipe, up to the registered model, and the id of the run."""
    root = str(tmp_path_factory.mktemp("recorded"))
    commands.lifecycle(request.param, root, (), span=("ingest", "register"))
    return root, runs.known(root)[0]["id"]


def test_neither_files_nor_order_of_the_rows_change_a_bit(recorded: tuple[str, str], tmp_path: Path) -> None:
    assert laid_out.differing(*recorded, tmp_path, parts=5) == {}


def test_a_run_is_made_again_and_left_alone(recorded: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, identity = recorded
    before = _files(root)
    assert main(["verify", identity, "--root", root]) == 0
    told = capsys.readouterr().out
    assert told.count("bitwise equal") == 10 and "9 stages: bitwise equal" in told
    assert _files(root) == before


def test_on_one_core_it_is_made_again_bit_for_bit(recorded: tuple[str, str], tmp_path: Path) -> None:
    root, identity = recorded
    core = min(os.sched_getaffinity(0))
    environment = {
        **os.environ,
        "RAY_MLOPS_HOME": str(tmp_path),
        "RAY_AUTH_MODE": "disabled",
    }  # a Ray of its own, there too
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        lifecycle.command("verify", identity, "--root", root),
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    assert done.returncode == 0 and "9 stages: bitwise equal" in done.stdout, done.stdout + done.stderr


def test_what_changed_since_is_named(recorded: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, identity = recorded
    path = Path(root, "runs", identity, "config.yaml")
    kept = path.read_text()
    assert kept.count("confidence: 0.95") > 1
    path.write_text(kept.replace("confidence: 0.95", "confidence: 0.8"))
    code = main(["verify", identity, "--root", root, "--stage", "features", "--stage", "evaluate"])
    path.write_text(kept)
    told = capsys.readouterr().out
    # An evaluation of images has no interval among its metrics: there what is not equal is different.
    assert code == (3 if identity.startswith("tiny-") else 4)
    assert "features  bitwise equal" in told
    assert "first to differ: evaluate; changed since the run: config.confidence was 0.95, is 0.8" in told


@pytest.mark.parametrize("recorded", [TINY], indirect=True)
def test_other_sources_are_named_and_missing_ones_are_said(
    recorded: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root, identity = recorded
    path = Path(root, "runs", identity, "config.yaml")
    kept = yaml.safe_load(path.read_text())
    (simulator,) = kept["config"]["ingest"]["sources"]
    for source, told in (
        ({**simulator, "customers": 50}, "ingest    different"),
        ({"kind": "csv", "path": "/not/there.csv"}, "ingest    not made"),
    ):
        kept["config"]["ingest"]["sources"] = [source]
        path.write_text(yaml.safe_dump(kept))
        assert main(["verify", identity, "--root", root, "--stage", "ingest", "--stage", "features"]) == 4
        said = capsys.readouterr().out
        assert told in said and "first to differ: ingest; changed since the run: " in said
        assert "config.sources" in said and "features  bitwise equal" in said
        assert ("source simulator#" if source["kind"] == "simulator" else "no file or folder /not/there.csv") in said
    kept["config"]["ingest"]["sources"] = [simulator]
    path.write_text(yaml.safe_dump(kept))


def test_what_cannot_be_verified_is_refused_in_words(
    recorded: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root, identity = recorded
    assert main(["verify", f"{identity}x", "--root", root]) == 1
    assert f"Did you mean '{identity}'?" in capsys.readouterr().err
    assert main(["verify", identity, "--root", root, "--stage", "monitor"]) == 1
    assert "monitor is not verified" in capsys.readouterr().err


def _files(root: str) -> dict[str, int]:
    """The files of a root with the times of their last change, without the lock of MLflow."""
    return {str(path): path.stat().st_mtime_ns for path in Path(root).rglob("*") if path.is_file()}
