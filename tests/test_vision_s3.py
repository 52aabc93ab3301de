"""The lifecycle of images on S3: the folder, the root, the bundle that the replica loads, and what is scored."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pyarrow.parquet as pq
import pytest

from ray_mlops.platform import files
from ray_mlops.platform.runtime import free_port
from tests import lifecycle, small_images

pytestmark = pytest.mark.timeout(600)
IMAGES = 500
ROOT = "s3://pictures/mlops"


@pytest.fixture
def environment(s3_server: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """That of a command with a Ray of its own, which is started with the address of the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="pictures")
        for number, row in enumerate(small_images.digits().slice(0, IMAGES).to_pylist()):
            client.put_object(Bucket="pictures", Key=f"in/{row['label']}/{number:04d}.png", Body=row["image"])
        own = {"RAY_MLOPS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
        found = {**os.environ, **own}
        found.pop("RAY_ADDRESS", None)
        yield found
        subprocess.run(lifecycle.command("undeploy", "vision", "--root", ROOT), check=False, env=found, timeout=120)


def call(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        lifecycle.command(*arguments), check=False, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr.strip()
    return done.stdout


def test_every_stage_runs_from_s3_into_s3(environment: dict[str, str]) -> None:
    port = free_port()
    settings = (
        "ingest.sources.0={kind: folder, path: 's3://pictures/in'}",
        "algorithm.batch_size=32",  # eleven steps an epoch: with three it depends on the processor what is learnt
        "register.gates={}",
        f"deploy.port={port}",
    )
    given = [part for setting in settings for part in ("-s", setting)]
    call(environment, "run", "vision", "--root", ROOT, "--override", "so few images may do without", *given)
    (run,) = files.listing(f"{ROOT}/runs")
    record = files.read_json(f"{ROOT}/runs/{run}/run.json")
    assert [stage["status"] for stage in record["stages"]] == ["done"] * 11
    assert lifecycle.artifact(record, "ingest")["rows"] == IMAGES
    assert lifecycle.artifact(record, "register")["uri"].startswith(ROOT)
    for stage in ("analyse", "decide", "evaluate", "monitor"):
        assert "<html" in files.read_text(lifecycle.artifact(record, stage)["report"])

    call(
        environment, "score", "s3://pictures/in", "--model", "vision", "--out", f"{ROOT}/scores.parquet", "--root", ROOT
    )
    filesystem, path = files.filesystem(f"{ROOT}/scores.parquet")
    rows = pq.read_table(path, filesystem=filesystem).to_pylist()
    assert len(rows) == IMAGES and sum(row["class"] == row["id"][0] for row in rows) > 0.9 * IMAGES

    again = call(
        environment, "verify", run, "--root", ROOT, "--stage", "features", "--stage", "train", "--stage", "register"
    )
    assert "3 stages: bitwise equal" in again and files.listing(f"{ROOT}/verify") == []
    freed = call(environment, "gc", "--older-than", "0s", "--root", ROOT)
    assert "are freed" in freed and "artifact" not in freed and "version" not in freed

    picture = small_images.digits().slice(IMAGES, 1).to_pylist()[0]
    answer = httpx.post(f"http://127.0.0.1:{port}/vision/predict", content=picture["image"], timeout=60)
    assert answer.status_code == 200 and answer.json()["digest"] == lifecycle.artifact(record, "register")["digest"]
