"""Checkpoints and the model on S3, against a server of our own; Ray is a second one, started with its address."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from tests.stages.stepwise import steps

ROOT = Path(__file__).resolve().parents[2]

FIT = """
import json, sys
from pathlib import Path
from ray_mlops.contract import Decision, Run
from ray_mlops.platform import files, runtime
from ray_mlops.stages import features, train
from ray_mlops.stages.train import TrainConfig
from tests.planted import FEATURES, a_run, by_many_causes, clean_table, events
from tests.stages.stepwise import Stepwise

folder, diary = Path(sys.argv[1]), sys.argv[2]
runtime.connect()
try:
    made = features.run(FEATURES, a_run(folder, "features"), table=clean_table(events(by_many_causes), folder))
    run = Run(root="s3://checkpoints", id="r", recipe="test", uri="s3://checkpoints/train", fingerprint="t")
    decision = Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("it pays",))
    config = TrainConfig(checkpoint_seconds=0, checkpoints=1)
    result = train.run(
        config, run, features=made, decision=decision, algorithm=Stepwise(fatal=7, fate="kill", diary=diary)
    )
    found = {"kept": list(result.checkpoints), "model": files.read_json("s3://checkpoints/train/model/model.json")}
finally:
    runtime.disconnect()
    runtime.stop()
print(json.dumps(found))
runtime.leave(0)
"""


@pytest.mark.timeout(300)
def test_a_killed_worker_goes_on_from_its_checkpoint_on_s3(s3_server: dict[str, str], tmp_path: Path) -> None:
    found = fitted(tmp_path, s3_server)
    done = [(step, way) for _, step, way in steps(tmp_path)]
    again = [step for step, way in done if way == "resumed"]
    assert 0 < again[0] <= 7
    assert again == list(range(again[0], 12))
    assert found["model"]["done"] == 12
    assert found["kept"] == ["s3://checkpoints/train/checkpoints/0"]


def fitted(folder: Path, server: dict[str, str]) -> dict:
    environment = {**os.environ, **server, "PYTHONPATH": str(ROOT)}
    environment["RAY_MLOPS_HOME"] = str(folder / "home")
    environment.pop("RAY_ADDRESS", None)
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    session.client("s3", endpoint_url=server["AWS_ENDPOINT_URL"]).create_bucket(Bucket="checkpoints")
    command = [sys.executable, "-c", FIT, str(folder), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
