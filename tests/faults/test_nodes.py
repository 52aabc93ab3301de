"""Nodes that come and go while a fit runs: it grows, shrinks, and saves itself when it is given notice."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.diarist import Diarist
from tests.faults.patient import Patient, diary

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(600)


def lived_through(case: str, folder: Path) -> tuple[dict[str, Any], list[tuple[int, int, str]]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_MLOPS_HOME": str(folder / "home")}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(ROOT / "tests" / "faults" / "nodes.py"), case, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=580)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1]), diary(folder / "diary")


def changes(done: list[tuple[int, int, str]]) -> list[int]:
    """The numbers of workers, one after the other."""
    sizes = [size for _, size, _ in done]
    return [sizes[0], *(after for before, after in pairwise(sizes) if before != after)]


def test_an_elastic_fit_grows_with_the_cluster_and_goes_on_when_a_node_is_lost(tmp_path: Path) -> None:
    result, done = lived_through("grow", tmp_path)
    assert changes(done) == [1, 2, 1]
    assert result["workers"] == 1
    assert {step for step, _, _ in done} == set(range(1, Patient().steps + 1))
    again = [before - after for (before, *_), (after, *_) in pairwise(done) if after <= before]
    assert (
        max(again, default=0) <= 2
    )  # checkpoints of every step: the one under way, and the one being stored, are done again


def test_a_network_learns_on_while_the_number_of_its_workers_changes(tmp_path: Path) -> None:
    result, done = lived_through("learn", tmp_path)
    assert changes(done) == [1, 2, 1]
    assert {epoch for epoch, _, _ in done} == set(range(1, Diarist().epochs + 1))
    assert result["metrics"]["accuracy"] > 0.95  # with sixteen seeds, undisturbed: 0.963 to 0.981


def test_a_notice_is_answered_with_a_checkpoint_from_which_the_fit_goes_on(tmp_path: Path) -> None:
    _, done = lived_through("drain", tmp_path)
    resumed = [step for step, _, way in done if way == "resumed"]
    assert resumed, "the fit began anew: no checkpoint was made on notice"
    assert resumed[0] > 5
    assert resumed == list(range(resumed[0], Patient().steps + 1))
