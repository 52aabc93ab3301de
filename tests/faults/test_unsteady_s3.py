"""S3 that answers 503 for a while: the command waits, and ends with what it would have ended with. S3 that refuses for good:
it ends soon, with one error that says what was refused, where, and what to do."""

import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from ray_mlops.errors import StorageError
from ray_mlops.platform import files
from tests import lifecycle
from tests.faults.rounds import ROUNDS
from tests.faults.unsteady_s3 import DENIED, SLOW_DOWN, Proxy, proxied

pytestmark = pytest.mark.timeout(600)
SECONDS = 30 if ROUNDS else 8  # Arrow by itself gives up after six


@pytest.fixture
def unsteady(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy through which this process, and those it starts, see S3; there is a bucket `unsteady`."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="unsteady")
    with proxied(s3_server["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.mark.skipif(not ROUNDS, reason="takes a minute: RAY_MLOPS_FAULT_ROUNDS=1")
@pytest.mark.usefixtures("ray_session")
def test_the_first_stages_wait_for_a_server_that_is_overloaded(unsteady: Proxy, tmp_path: Path) -> None:
    here, there = str(tmp_path / "root"), "s3://unsteady/mlops"
    assert lifecycle.call("run", lifecycle.TINY, "--root", here, "--to", "clean").returncode == 0
    own = {**os.environ, "RAY_MLOPS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    own.pop("RAY_ADDRESS", None)
    unsteady.refuse(SECONDS, after=12)
    command = lifecycle.command("run", lifecycle.TINY, "--root", there, "--to", "clean")
    done = subprocess.run(command, check=False, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert unsteady.refused > 3 and not unsteady.refusing.is_set()
    (run,) = files.listing(f"{there}/runs")
    told, expected = files.read_json(f"{there}/runs/{run}/run.json"), lifecycle.newest_run(here)
    for stage in ("ingest", "clean"):
        found, wanted = lifecycle.artifact(told, stage), lifecycle.artifact(expected, stage)
        assert (found["snapshot"], found["rows"]) == (wanted["snapshot"], wanted["rows"])


def test_a_file_system_keeps_its_patience_in_another_process(unsteady: Proxy) -> None:
    there = "s3://unsteady/one"
    filesystem, path = pickle.loads(pickle.dumps(files.filesystem(there)))
    unsteady.refuse(SECONDS)
    with filesystem.open_output_stream(path) as stream:
        stream.write(b"kept")
    assert unsteady.refused > 3 and files.read_bytes(there) == b"kept"
    unsteady.refuse(2)
    assert not files.create_bytes(there, b"another") and files.create_bytes("s3://unsteady/two", b"new")


REFUSALS = {"denied": (403, DENIED, "ACCESS_DENIED"), "overloaded": (503, SLOW_DOWN, "SLOW_DOWN")}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_command_ends_with_one_error_where_s3_refuses_for_good(
    unsteady: Proxy, tmp_path: Path, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, body, told = REFUSALS[refusal]
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    unsteady.refuse_for_good(status, body)
    own = {**os.environ, "RAY_MLOPS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    command = lifecycle.command("run", lifecycle.TINY, "--root", "s3://unsteady/never")
    done = subprocess.run(command, check=False, env=own, capture_output=True, text=True, timeout=60)
    error = " ".join(done.stderr.split())
    assert done.returncode == 1 and "Traceback" not in error and error.count("cannot ") == 1, error
    assert "cannot write s3://unsteady/never/runs/tiny-" in error and told in error
    assert f"Check that {unsteady.url} answers and that the credentials are allowed" in error
    assert "AWS_MAX_ATTEMPTS" in error and 0 < unsteady.refused <= 3


@pytest.mark.parametrize("refusal", REFUSALS)
def test_whatever_is_asked_of_it_says_what_was_refused(
    unsteady: Proxy, tmp_path: Path, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    (tmp_path / "file").write_text("")
    unsteady.refuse_for_good(*REFUSALS[refusal][:2])
    place = "s3://unsteady/place"
    asked = {
        "read": lambda: files.read_bytes(place),
        "look up": lambda: files.exists(place),
        "list": lambda: files.listing(place),
        "create": lambda: files.create_bytes(place, b""),
        "delete": lambda: files.remove(place),
        "copy to": lambda: files.upload(str(tmp_path), place),
        "copy from": lambda: files.download(place, str(tmp_path)),
    }
    for action, ask in asked.items():
        with pytest.raises(StorageError, match=rf"^cannot {action} {place}: .*Check that {unsteady.url} answers"):
            ask()


def test_a_number_of_attempts_that_is_none_is_named(unsteady: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(StorageError, match="AWS_MAX_ATTEMPTS is 'many'"):
        files.read_bytes("s3://unsteady/place")
