"""`ray-mlops plan` on the small recipe, in the session's Ray."""

from pathlib import Path

import pytest

from tests import lifecycle

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_every_stage_is_estimated_and_nothing_is_left(tmp_path: Path) -> None:
    done = lifecycle.call("plan", lifecycle.TINY, "--share", "0.25", "--price", "0.05", "--root", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition("\nstage ")[2].splitlines()
    named = [line.split()[0] for line in table[1:11]]
    assert named == ["ingest", "clean", "analyse", "decide", "features", "tune", "train", "evaluate", "all", "cost:"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_what_will_never_be_there_is_said_at_once(tmp_path: Path) -> None:
    done = lifecycle.call("plan", lifecycle.TINY, "-s", "train.gpu=true", "--root", str(tmp_path))
    assert done.returncode == 1 and "will never fit" in done.stderr, done.stdout + done.stderr


def test_a_sample_that_is_too_small_is_named(tmp_path: Path) -> None:
    done = lifecycle.call("plan", lifecycle.TINY, "--share", "0.0002", "--root", str(tmp_path))
    assert done.returncode == 1 and "--share" in done.stderr, done.stdout + done.stderr
