"""The product as a person uses it: one command to a live endpoint, and all that can be done with it afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from ray_mlops.platform import provenance
from tests import lifecycle, planted_skew

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]
CLAIMS = str(Path(__file__).parent / "recipes" / "vehicle_claims.py")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[str]:
    """A root in which the tiny recipe has run once; its endpoint goes with the module."""
    root = str(tmp_path_factory.mktemp("root"))
    done = lifecycle.call("run", lifecycle.TINY, "--root", root)
    assert done.returncode == 0, done.stdout + done.stderr
    yield root
    lifecycle.call("undeploy", "tiny", "--root", root)


def test_one_command_leaves_a_model_that_answers(root: str) -> None:
    record = lifecycle.newest_run(root)
    assert [stage["status"] for stage in record["stages"]] == ["done"] * 11
    url = lifecycle.artifact(record, "deploy")["url"]
    example = httpx.get(f"{url}/model").json()["example"]
    reply = httpx.post(f"{url}/score", json=example)
    assert reply.status_code == 200 and reply.json()["decision"] in ("approve", "review", "block")
    refused = httpx.post(f"{url}/score", json={**example, "amount": "much"})
    assert refused.status_code == 422 and refused.json()["error"]["problems"][0]["field"] == "amount"
    for stage in ("analyse", "decide", "evaluate", "monitor"):
        assert "<html" in Path(lifecycle.artifact(record, stage)["report"]).read_text()


def test_the_lineage_holds_what_it_takes_to_make_the_model_again(root: str) -> None:
    record = lifecycle.newest_run(root)
    asked = lifecycle.call("lineage", "tiny", "--root", root)
    assert asked.returncode == 0, asked.stderr
    told = yaml.safe_load(asked.stdout)
    assert told["digest"] == lifecycle.artifact(record, "register")["digest"]
    assert told["tables"]["history"]["snapshot"] == lifecycle.artifact(record, "clean")["snapshot"]
    fitted_on = {**provenance.machine(), "device": "cpu", "workers": 1}
    assert {**told["hardware"], **fitted_on} == told["hardware"] and told["git"] == provenance.conditions(
        lifecycle.TINY
    )["git"]
    in_full = json.loads(Path(told["in_full"]).read_text())
    config = yaml.safe_load(Path(root, "runs", record["id"], "config.yaml").read_text())
    assert told["seed"] == in_full["seed"] == config["config"]["seed"]
    assert in_full["config"] == {"digest": told["config"]["digest"], "resolved": config}
    assert in_full["lock"]["distributions"] == provenance.distributions()
    page = Path(root, "runs", record["id"], "report.html").read_text()
    assert f"{provenance.machine()['memory_gib']} GiB</text>" in page and ">code</text>" in page


def test_an_unchanged_run_skips_every_stage_but_a_look_at_new_requests(root: str) -> None:
    first = lifecycle.job("monitor", lifecycle.TINY, "--root", root)  # the last test's requests are new to the monitor
    again = lifecycle.call("run", lifecycle.TINY, "--root", root)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert {stage["status"] for stage in lifecycle.newest_run(root)["stages"]} == {"reused"}


def test_a_change_runs_what_depends_on_it_and_nothing_else(root: str) -> None:
    changed = lifecycle.call("run", lifecycle.TINY, "--root", root, "-s", "evaluate.bootstrap=60", "--to", "evaluate")
    assert changed.returncode == 0, changed.stderr
    statuses = {stage["stage"]: stage["status"] for stage in lifecycle.newest_run(root)["stages"]}
    assert statuses.pop("evaluate") == "done" and set(statuses.values()) == {"reused"}


def test_from_a_stage_on_everything_runs_again(root: str) -> None:
    done = lifecycle.call("run", lifecycle.TINY, "--root", root, "--from", "train", "--to", "evaluate")
    assert done.returncode == 0, done.stderr
    statuses = [stage["status"] for stage in lifecycle.newest_run(root)["stages"]]
    assert statuses == ["reused"] * 6 + ["done"] * 2


def test_a_gate_that_is_missed_keeps_the_model_out(root: str) -> None:
    missed = lifecycle.call("run", lifecycle.TINY, "--root", root, "-s", "register.gates={average_precision: 0.99}")
    assert missed.returncode == 1
    assert "average_precision is 0." in missed.stderr and "0.99" in missed.stderr


def test_features_are_the_same_online_and_in_batch(root: str) -> None:
    proved = lifecycle.job("parity", lifecycle.TINY, "--root", root, "--rows", "500")
    assert proved.returncode == 0, proved.stderr
    assert "no skew: " in proved.stdout and "features of 500 rows" in proved.stdout


def test_a_careless_change_of_the_online_path_is_not_deployed(root: str, tmp_path: Path) -> None:
    careless = str(
        planted_skew.changed(tmp_path, "online/plan.py", "delay = 0 if by_arrival else window.delay_us", "delay = 0")
    )
    # The folder a command is started in would come before PYTHONPATH.
    elsewhere = {"PYTHONPATH": careless, "PYTHONSAFEPATH": "1"}
    refused = lifecycle.call("deploy", "tiny", "--root", root, "-s", "name=careless", **elsewhere)
    assert refused.returncode == 1 and "is not deployed as 'careless': skew in " in refused.stderr, refused.stderr
    assert not Path(root, "endpoints", "careless").exists()


def test_files_are_scored_and_versions_administered(root: str, tmp_path: Path) -> None:
    clean = lifecycle.artifact(lifecycle.newest_run(root), "clean")
    part = next(Path(root, "tables", *clean["name"].split("."), "data").glob("*.parquet"))
    out = tmp_path / "scores.parquet"
    scored = lifecycle.job("score", str(part), "--model", "tiny", "--out", str(out), "--root", root)
    assert scored.returncode == 0, scored.stderr
    assert pq.read_metadata(out).num_rows == pq.read_metadata(part).num_rows
    assert "champion" in lifecycle.call("models", "--root", root).stdout
    assert lifecycle.call("reject", "tiny/1", "--reason", "test", "--root", root).returncode == 0
    assert "rejected" in lifecycle.call("models", "--root", root).stdout
    assert lifecycle.call("promote", "tiny/1", "--root", root).returncode == 0
    assert lifecycle.call("deploy", "tiny", "--root", root).returncode == 0
    assert lifecycle.call("undeploy", "tiny", "--root", root).returncode == 0


def test_real_claims_need_no_model_and_an_override_is_recorded(tmp_path: Path, shared_data: Path) -> None:
    root = str(tmp_path)
    source = f"ingest.sources.0.path={shared_data}/vehicle_claims/claims.parquet"
    arguments = ("run", CLAIMS, "--root", root, "-s", source, "-s", "tune.trials=2", "--to", "register")
    refused = lifecycle.call(*arguments)
    assert refused.returncode == 1 and "--override" in refused.stderr, refused.stderr
    assert lifecycle.artifact(lifecycle.newest_run(root), "decide")["verdict"] == "no_ml"
    forced = lifecycle.call(*arguments, "--override", "the investigators want a ranking")
    assert forced.returncode == 0, forced.stderr
    record = lifecycle.newest_run(root)
    assert record["override"] == "the investigators want a ranking"
    assert lifecycle.artifact(record, "evaluate")["metrics"]["roc_auc"] > 0.75
