"""`ray-mlops loadtest` on Serve: one replica of its own, asked over HTTP, gone afterwards; a record and a size."""

import json
from pathlib import Path

import pytest

from ray_mlops import load_testing
from ray_mlops.errors import EndpointError
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving.load.ramp import Bounds
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from tests.serving.processes import replicas
from tests.small_model import study

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(400)]


def test_one_replica_is_tested_recorded_and_taken_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ray_mlops.contract import Run

    run = Run(root=str(tmp_path), id="r", recipe="small", uri=str(tmp_path / "artifact"), fingerprint="f")
    register.run(RegisterConfig(name="shop"), run, **study(tmp_path))
    opened = load_testing.twin(str(tmp_path), "shop", [f"port={free_port()}", "scale.max_replicas=4"])
    asking = load_testing.Asking(rate=100.0, seconds=0.5, as_json=True)
    load_testing.run(str(tmp_path), opened, Bounds(p99_ms=20_000, start=20, most=40), asking)
    out = capsys.readouterr().out
    record = json.loads(out.splitlines()[-1])
    assert (record["rate"], record["breaks"], record["one_replica"]) == (40, None, True)
    assert [step["rate"] for step in record["steps"]] == [20, 40] and not any(
        step["errors"] for step in record["steps"]
    )
    assert record["recommendation"]["replicas"] == 4 and record["recommendation"]["size"] == "medium"
    assert "one replica answers 40 requests/s" in out and "size medium: -s deploy.scale.size=medium" in out
    (kept,) = (tmp_path / "loadtests").glob("shop-loadtest-*.json")
    assert json.loads(kept.read_text()) == record
    assert not replicas("shop-loadtest") and not (tmp_path / "endpoints" / "shop-loadtest").exists()
    with pytest.raises(EndpointError, match="no endpoint called 'shop'"), load_testing.live(str(tmp_path), "shop"):
        pass
