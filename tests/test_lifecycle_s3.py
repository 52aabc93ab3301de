"""The lifecycle of either family on S3: what is read, the root, the bundle that the replica loads, and what is scored."""

import os
import subprocess
from collections.abc import Iterator

import boto3
import httpx
import pyarrow.parquet as pq
import pytest

from ray_mlops.monitoring.history import History
from ray_mlops.platform import files
from ray_mlops.platform.runtime import free_port
from tests import lifecycle, small_images
from tests.faults.unsteady_s3 import DENIED, proxied
from tests.serving.access.live import wait_for

pytestmark = pytest.mark.timeout(600)
IMAGES = 500
PICTURES, PAYMENTS = "s3://pictures/mlops", "s3://payments/mlops"


@pytest.fixture(scope="module")
def environment(s3_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """That of a command with a Ray of its own, which is started with the address of the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.items():
            patch.setenv(name, value)
        for bucket in ("pictures", "payments"):
            boto3.client("s3").create_bucket(Bucket=bucket)
        own = {"RAY_MLOPS_HOME": str(tmp_path_factory.mktemp("home")), "HOME": str(tmp_path_factory.mktemp("user"))}
        found = {**os.environ, **own}
        found.pop("RAY_ADDRESS", None)
        yield found
        for name, root in (("tiny", PAYMENTS), ("vision", PICTURES)):
            command = lifecycle.command("undeploy", name, "--root", root)
            subprocess.run(command, check=False, capture_output=True, env=found, timeout=120)


def call(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        lifecycle.command(*arguments), check=False, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr.strip()
    return done.stdout


def whole(root: str) -> dict:
    """The record of the only run below a root, in which every stage ran."""
    (run,) = files.listing(f"{root}/runs")
    record = files.read_json(f"{root}/runs/{run}/run.json")
    assert [stage["status"] for stage in record["stages"]] == ["done"] * 11
    assert lifecycle.artifact(record, "register")["uri"].startswith(root)
    for stage in ("analyse", "decide", "evaluate", "monitor"):
        assert "<html" in files.read_text(lifecycle.artifact(record, stage)["report"])
    return record


def scored(environment: dict[str, str], root: str, file: str, model: str) -> list[dict]:
    """The rows that `score` writes."""
    out = f"{root}/scores.parquet"
    call(environment, "score", file, "--model", model, "--out", out, "--root", root)
    filesystem, path = files.filesystem(out)
    return pq.read_table(path, filesystem=filesystem).to_pylist()


def test_every_stage_of_fraud_runs_into_s3_and_its_endpoint_answers(environment: dict[str, str]) -> None:
    port = free_port()
    call(environment, "run", lifecycle.TINY, "--root", PAYMENTS, "-s", f"deploy.port={port}")
    record = whole(PAYMENTS)
    url, digest = (lifecycle.artifact(record, "deploy")[name] for name in ("url", "digest"))
    known = httpx.get(f"{url}/model", timeout=60).json()
    answer = httpx.post(f"{url}/score", json=known["example"], timeout=60)
    assert answer.status_code == 200 and answer.json()["decision"] in ("approve", "review", "block"), answer.text
    assert known["digest"] == digest == lifecycle.artifact(record, "register")["digest"]

    endpoint = lifecycle.artifact(record, "deploy")
    counted = History(endpoint["monitoring"], digest).counted
    wait_for(lambda: counted()[0] > lifecycle.artifact(record, "monitor")["requests"])
    call(environment, "monitor", lifecycle.TINY, "--root", PAYMENTS, "-s", f"deploy.port={port}")
    verdicts = f"{PAYMENTS}/artifacts/monitor"
    told = [files.read_json(f"{verdicts}/{name}/manifest.json")["artifact"] for name in files.listing(verdicts)]
    before = lifecycle.artifact(record, "monitor")["requests"]  # that of the deployment, which asks once
    assert sorted(verdict["requests"] for verdict in told) == [before, before + 1]

    clean = lifecycle.artifact(record, "clean")
    part = files.below(f"{PAYMENTS}/tables/{clean['name'].replace('.', '/')}/data")[0]
    rows = scored(
        environment, PAYMENTS, f"{PAYMENTS}/tables/{clean['name'].replace('.', '/')}/data/{part.name}", "tiny"
    )
    assert rows and {row["decision"] for row in rows} <= {"approve", "review", "block"}
    call(environment, "undeploy", "tiny", "--root", PAYMENTS)


def test_a_run_from_which_its_bucket_is_taken_ends_with_one_error(environment: dict[str, str]) -> None:
    root = f"{PAYMENTS}-denied"
    with proxied(environment["AWS_ENDPOINT_URL"]) as proxy:
        proxy.refuse_for_good(403, DENIED, after=12)
        asked = {**environment, "AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "3"}
        command = lifecycle.command("run", lifecycle.TINY, "--root", root, "--to", "ingest")
        done = subprocess.run(command, check=False, env=asked, capture_output=True, text=True, timeout=300)
        assert proxy.refused
    error = " ".join(done.stderr.split())
    assert done.returncode == 1 and "Traceback" not in error and error.count("cannot ") == 1, done.stdout + done.stderr
    assert f"{root}/" in error and "ACCESS_DENIED" in error and "credentials are allowed" in error, error


def test_every_stage_of_vision_runs_from_s3_into_s3(environment: dict[str, str]) -> None:
    for number, row in enumerate(small_images.digits().slice(0, IMAGES).to_pylist()):
        key = f"in/{row['label']}/{number:04d}.png"
        boto3.client("s3").put_object(Bucket="pictures", Key=key, Body=row["image"])
    port = free_port()
    settings = (
        "ingest.sources.0={kind: folder, path: 's3://pictures/in'}",
        "algorithm.batch_size=32",  # eleven steps an epoch: with three it depends on the processor what is learnt
        "register.gates={}",
        f"deploy.port={port}",
    )
    given = [part for setting in settings for part in ("-s", setting)]
    call(environment, "run", "vision", "--root", PICTURES, "--override", "so few images may do without", *given)
    record = whole(PICTURES)
    assert lifecycle.artifact(record, "ingest")["rows"] == IMAGES

    rows = scored(environment, PICTURES, "s3://pictures/in", "vision")
    assert len(rows) == IMAGES and sum(row["class"] == row["id"][0] for row in rows) > 0.9 * IMAGES

    checked = [part for stage in ("features", "train", "register") for part in ("--stage", stage)]
    again = call(environment, "verify", record["id"], "--root", PICTURES, *checked)
    assert "3 stages: bitwise equal" in again and files.listing(f"{PICTURES}/verify") == []
    freed = call(environment, "gc", "--older-than", "0s", "--root", PICTURES)
    assert "are freed" in freed and "artifact" not in freed and "version" not in freed

    picture = small_images.digits().slice(IMAGES, 1).to_pylist()[0]
    answer = httpx.post(f"http://127.0.0.1:{port}/vision/predict", content=picture["image"], timeout=60)
    assert answer.status_code == 200 and answer.json()["digest"] == lifecycle.artifact(record, "register")["digest"]
