"""The command line as a person meets it: help at once, wrong names corrected, exit codes that mean something."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_mlops.cli import main
from ray_mlops.stage_names import STAGES


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    administration = (
        "run",
        "runs",
        "models",
        "promote",
        "reject",
        "deploy",
        "undeploy",
        "score",
        "config",
        "parity",
        "keys",
    )
    assert [name for name in (*STAGES, *administration) if f" {name} " not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rnu", "fraud"], 2, "run"),
        (["run", "fruad"], 1, "Did you mean 'fraud'"),
        (["run", "missing.py"], 1, "missing.py is not there"),
        (["run", "fraud", "--to", "trian"], 1, "Did you mean 'train'"),
        (["run", "fraud", "--set", "tune.trails=1"], 1, "tune has no field 'trails'. Did you mean 'trials'"),
        (["run", "fraud", "--set", "tune.trials=lots"], 1, "tune.trials: Input should be a valid integer"),
        (["run", "fraud", "--rot", "x"], 2, "--root"),
        (["run", "fraud", "--set", "deploy.store=memory://"], 1, "use sqlite:///… or redis://…"),
        (["run", "fraud", "--set", "deploy.store=sqlit:///x.db"], 1, "did you mean sqlite://?"),
        (["parity", "fraud", "--store", "sqlte"], 1, "use sqlite:///path.db, redis://host:6379/0"),
        (["parity", "fraud", "--rows", "-1"], 2, "--rows"),
        (["promote", "fraud"], 1, "no model is called 'fraud'"),
    ],
)
def test_a_wrong_name_gets_the_nearest_legal_one(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_MLOPS_ROOT", str(tmp_path / "root"))
    assert main(arguments) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_dumped_config_is_a_recipe_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "fraud", "-s", "tune.trials=3", "-s", "algorithm={kind: lightgbm}"]) == 0
    dumped = capsys.readouterr().out
    assert "kind: lightgbm" in dumped and "trials: 3" in dumped
    saved = tmp_path / "config.yaml"
    saved.write_text(dumped)
    assert main(["config", str(saved)]) == 0
    assert capsys.readouterr().out == dumped


def test_there_is_nothing_to_list_before_the_first_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--root", str(tmp_path)]) == 0
    assert "ray-mlops run fraud" in capsys.readouterr().out


def test_the_installed_script_answers() -> None:
    script = Path(sys.executable).parent / "ray-mlops"
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert "raw data to a monitored endpoint" in shown


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1])
def test_ctrl_c_after_the_last_word_does_not_look_like_a_kill(delay_s: float) -> None:
    command = [sys.executable, "-m", "ray_mlops.cli", "config", "fraud"]
    # A test runner in the background ignores Ctrl-C, and its children would inherit that.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"recipe: fraud\n"
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode in (0, 130)
