"""A command stopped or killed in any stage loses nothing: the next one goes on and ends with the same model."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.stage_names import STAGES
from tests import lifecycle
from tests.faults.rounds import ROUNDS

# After a stage has begun: as soon as that is said is the boundary, where the stage before has just been noted as done.
MOMENTS = (0.2, 0.0, 0.05, 0.5, 1.0, 2.0)
pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def no_endpoint_left(ray_session: None) -> Iterator[None]:
    """Whatever a failed test deployed is gone before the next one needs the port."""
    yield
    lifecycle.call("undeploy", "tiny")


def test_stopped_and_killed_in_each_stage_the_result_is_the_undisturbed_one(tmp_path: Path) -> None:
    quiet, disturbed = str(tmp_path / "quiet"), str(tmp_path / "disturbed")
    assert lifecycle.call("run", lifecycle.TINY, "--root", quiet).returncode == 0
    arguments = ("run", lifecycle.TINY, "--root", disturbed, "-v")
    for number, stage in enumerate(STAGES):
        stopped = lifecycle.call_until(stage, signal.SIGINT, 0.2, *arguments)
        # A stage of milliseconds may be over before the signal arrives; then the run is done, and says so.
        assert stopped.returncode in (130, 0), f"{stage}: {stopped.stdout} {stopped.stderr}"
        assert lifecycle.newest_run(disturbed)["status"] in (("stopped", "done") if stopped.returncode else ("done",))
        assert not stopped.returncode or "the same command goes on from there" in stopped.stderr
        for delay_s in MOMENTS if ROUNDS else MOMENTS[number % 2 : number % 2 + 1]:
            killed = lifecycle.call_until(stage, signal.SIGKILL, delay_s, *arguments)
            assert killed.returncode in (-signal.SIGKILL, 0), f"{stage}: {killed.stdout} {killed.stderr}"
    finished = lifecycle.call("run", lifecycle.TINY, "--root", disturbed)
    assert finished.returncode == 0, finished.stderr
    first, second = lifecycle.newest_run(quiet), lifecycle.newest_run(disturbed)
    # Every stage but the last had ended before the last one was struck, and was not run again.
    assert [each["stage"] for each in second["stages"] if each["status"] != "reused"] in ([], [STAGES[-1]])
    for stage, identity in (("ingest", "snapshot"), ("clean", "snapshot"), ("register", "digest")):
        assert lifecycle.artifact(first, stage)[identity] == lifecycle.artifact(second, stage)[identity], stage
    assert lifecycle.artifact(first, "evaluate")["metrics"] == lifecycle.artifact(second, "evaluate")["metrics"]
