"""Rollouts on real replicas, asked over real HTTP without pause: what goes through, what is taken back, and that nobody notices."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ray_mlops.contract import Algorithm, Endpoint, ModelVersion, Run
from ray_mlops.errors import EndpointError
from ray_mlops.platform.admission import RegisterConfig
from ray_mlops.platform.registry import open_registry
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.rollouts import ending
from ray_mlops.serving.rollouts import replicas as replicas_of
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.drive import Driver
from ray_mlops.serving.rollouts.plan import Judging, Plan
from ray_mlops.serving.rollouts.records import Records, Rollout, Side
from ray_mlops.serving.rollouts.replicas import Replicas
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from tests.serving.rollouts.load import Callers, under_load
from tests.serving.rollouts.planted_challenger import Planted
from tests.small_model import example, study, transactions

GOOD = example(transactions())
FAST = Judging(min_requests=40)
FIRST_IDS = iter(range(1_000_000, 100_000_000, 1_000_000))


def a_run(root: Path) -> Run:
    return Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print")


def registered(root: Path, folder: str, algorithm: Algorithm) -> ModelVersion:
    return register.run(RegisterConfig(name="shop"), a_run(root), **study(root / folder, algorithm))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rollout")


@pytest.fixture(scope="module")
def versions(root: Path) -> dict[str, ModelVersion]:
    """The champion `good`, and challengers with their faults."""
    made = {
        "good": Planted(),
        "raises": Planted(fault="raises"),
        "slow": Planted(fault="slow"),
        "shifted": Planted(fault="shifted"),
        "better": Planted(steepness=2.05),
    }
    return {name: registered(root, name, algorithm) for name, algorithm in made.items()}


@pytest.fixture(scope="module")
def endpoint(ray_session: None, root: Path, versions: dict[str, ModelVersion]) -> Iterator[Endpoint]:
    config = DeployConfig(port=free_port(22000, 22999), scale=Scale(min_replicas=2, max_replicas=2), parity_rows=100)
    yield deploy.run(config, a_run(root), version=versions["good"])
    deploy.undeploy("shop")


@pytest.fixture(scope="module")
def replicas(endpoint: Endpoint, root: Path) -> Replicas:
    return Replicas(replicas_of.known(str(root), "shop"), str(root))


@pytest.fixture
def loaded(endpoint: Endpoint) -> Iterator[Callers]:
    with under_load(endpoint.url, GOOD, next(FIRST_IDS)) as callers:
        yield callers


@pytest.fixture
def asked(endpoint: Endpoint) -> Iterator[Callers]:
    """One caller, beside whom a command has time to fill the store: SQLite takes one writer at a time."""
    with under_load(endpoint.url, GOOD, next(FIRST_IDS), threads=1) as callers:
        yield callers


def driven(root: Path, replicas: Replicas, version: ModelVersion, plan: Plan) -> Rollout:
    running = replicas.running.version
    begun = Rollout.begin(
        "shop", *(Side(model="shop", version=v.version, digest=v.digest) for v in (running, version)), plan
    )
    return Driver(begun, version, replicas, Records(str(root), "shop"), lambda text: None).drive()


def setting(version: ModelVersion, **fields: Any) -> Setting:
    named = {"bundle": version.uri, "digest": version.digest, "version": version.version}
    return Setting.model_validate({"rollout": "by-hand", "step": 1, **named, **fields})


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def counted(endpoint: Endpoint, customer: int) -> list[int]:
    """How many events of a customer each answer rested on, in the order of their ids."""
    lines = [
        json.loads(line) for path in Path(endpoint.capture).glob("*.jsonl") for line in path.read_text().splitlines()
    ]
    found = {
        line["id"]: line["features"]["customer_id_count_1d"]
        for line in lines
        if line["inputs"]["customer_id"] == customer
    }
    return [found[key] for key in sorted(found)]


@pytest.mark.parametrize(("name", "check"), [("raises", "errors"), ("slow", "latency")])
def test_a_bad_challenger_is_taken_back_and_no_caller_notices(
    name: str, check: str, root: Path, replicas: Replicas, versions: dict[str, ModelVersion], loaded: Callers
) -> None:
    ended = driven(root, replicas, versions[name], Plan(mode="canary", shares=(0.3,), bake_s=120, judging=FAST))
    assert ended.status == "rolled_back" and ended.reason.startswith(f"{check}: ")
    bad = next(one for one in ended.events[-1].checks if one.name == check)
    assert bad.verdict == "bad" and bad.evidence >= bad.needed and bad.numbers
    assert ended == Records(str(root), "shop").read(ended.id)
    assert {one.digest for one in replicas.status()} == {""}
    before = loaded.variants["champion"]
    wait_for(lambda: loaded.variants["champion"] > before + 20)
    assert loaded.failed == []


def test_a_shadow_answers_nobody_and_is_judged_all_the_same(
    root: Path, replicas: Replicas, versions: dict[str, ModelVersion], loaded: Callers, endpoint: Endpoint
) -> None:
    ended = driven(root, replicas, versions["shifted"], Plan(mode="shadow", shares=(0.0,), bake_s=120, judging=FAST))
    assert ended.status == "rolled_back"
    assert {one.name for one in ended.events[-1].checks if one.verdict == "bad"} & {"score_psi", "alerts", "agreement"}
    assert set(loaded.variants) == {"champion"} and loaded.failed == []


def test_a_metric_of_ones_own_is_asked_and_one_that_breaks_is_no_proof(
    root: Path, replicas: Replicas, versions: dict[str, ModelVersion], loaded: Callers
) -> None:
    judging = FAST.model_copy(update={"patience": 1.5})
    plan = Plan(mode="canary", shares=(0.5,), bake_s=4, metric="tests.serving.rollouts.metrics:breaks", judging=judging)
    ended = driven(root, replicas, versions["better"], plan)
    assert ended.status == "rolled_back" and "undecided" in ended.reason and "KeyError: 'revenue'" in ended.reason
    plan = plan.model_copy(update={"metric": "tests.serving.rollouts.metrics:says_no", "bake_s": 60.0})
    ended = driven(root, replicas, versions["better"], plan)
    assert ended.status == "rolled_back" and "too many alerts" in ended.reason
    assert loaded.failed == []


def test_a_variant_can_be_named_in_every_protocol_and_an_event_is_observed_once(
    replicas: Replicas, versions: dict[str, ModelVersion], endpoint: Endpoint
) -> None:
    replicas.turn(setting(versions["better"], share=0.5))
    first = next(FIRST_IDS)
    sent = [{**GOOD, "transaction_id": first + number, "customer_id": 777_777} for number in range(40)]
    for named, version in (("champion", "good"), ("challenger", "better")):
        answer = httpx.post(f"{endpoint.url}/score", json=sent[0], headers={"x-target-variant": named})
        assert (answer.json()["variant"], answer.json()["digest"]) == (named, versions[version].digest)
        assert answer.headers["x-served-variant"] == named
        assert answer.headers["x-served-version"] == versions[version].version
        assert httpx.post(f"{endpoint.url}/score?variant={named}", json=sent[0]).json()["variant"] == named
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=endpoint.url,
        region_name="eu-central-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"max_attempts": 0}),
    )
    asked = {"EndpointName": "shop", "ContentType": "application/json", "Body": json.dumps(sent[0])}
    assert client.invoke_endpoint(**asked, TargetVariant="challenger")["InvokedProductionVariant"] == "challenger"
    with pytest.raises(ClientError, match="'other' is no variant of shop; it has AllTraffic, champion, challenger"):
        client.invoke_endpoint(**asked, TargetVariant="other")
    refused = httpx.post(f"{endpoint.url}/score", json=sent[0], headers={"x-target-variant": "other"})
    assert refused.status_code == 404 and "champion, challenger" in refused.text

    chosen = [httpx.post(f"{endpoint.url}/score", json=one).json()["variant"] for one in sent]
    assert set(chosen) == {"champion", "challenger"}
    assert chosen == [httpx.post(f"{endpoint.url}/score", json=one).json()["variant"] for one in sent]
    replicas.turn(Setting(rollout="by-hand"))
    assert counted(endpoint, 777_777) == list(range(1, 41))
    assert httpx.post(f"{endpoint.url}/score?variant=challenger", json=sent[0]).status_code == 404


def test_a_challenger_that_cannot_be_loaded_harms_nobody(
    root: Path, replicas: Replicas, versions: dict[str, ModelVersion], loaded: Callers
) -> None:
    gone = versions["better"].model_copy(update={"uri": f"{root}/nowhere"})
    ended = driven(root, replicas, gone, Plan(mode="canary", shares=(0.5,), bake_s=60, judging=FAST))
    assert ended.status == "rolled_back" and "nowhere" in ended.reason
    assert loaded.failed == []


def command(root: Path, *arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "ray_mlops.cli", *arguments, "--root", str(root)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def called(root: Path, *arguments: str) -> tuple[int, str, str]:
    process = command(root, *arguments)
    out, errors = process.communicate(timeout=240)
    return process.returncode, out, errors


def test_commands_stop_heal_take_back_and_promote(
    root: Path, endpoint: Endpoint, versions: dict[str, ModelVersion], asked: Callers
) -> None:
    records, better = Records(str(root), "shop"), versions["better"]
    name = f"shop/{better.version}"
    slow = (name, "--canary", "20", "--bake", "1h")

    # A command that is killed leaves a record that says so, and the next one tidies up.
    killed = command(root, "deploy", *slow)
    wait_for(lambda: (found := records.running()) is not None and found.events[-1].what == "step", 120)
    code, _, errors = called(root, "deploy", *slow)
    assert code == 1 and "is under way" in errors and "rollback shop" in errors
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = records.running()
    assert left and not left.alive()
    assert "abandoned" in called(root, "rollouts", "shop")[1]

    # One that is stopped takes its challenger back itself.
    stopped = command(root, "deploy", *slow)
    wait_for(lambda: (found := records.all()[0]).id != left.id and found.events[-1].what == "step", 120)
    assert records.read(left.id).status == "interrupted"
    stopped.send_signal(signal.SIGINT)
    said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert records.all()[0].status == "interrupted" and records.running() is None

    # `rollback` ends one from another terminal.
    other = command(root, "deploy", *slow)
    wait_for(lambda: (found := records.running()) is not None and found.events[-1].what == "step", 120)
    code, out, _ = called(root, "rollback", "shop", "--reason", "the shop calls")
    assert code == 0 and "answers alone again" in out
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 1 and "the shop calls" in errors
    assert records.all()[0].status == "rolled_back"

    # And one that goes through moves the alias.
    judged = ("--judge", "min_requests=30", "--judge", "patience=60")
    code, out, errors = called(root, "deploy", name, "--linear", "20,50", "--bake", "2s", *judged)
    assert code == 0, errors
    assert records.all()[0].status == "promoted" and records.all()[0].challenger.digest == better.digest
    known = open_registry(a_run(root))
    champion = known.champion("shop")
    assert champion and champion.digest == better.digest
    assert [change.action for change in champion.changes][-2:] == ["rolled_back", "promoted"]
    assert httpx.get(f"{endpoint.url}/health").json()["digest"] == better.digest
    assert "promoted" in called(root, "rollouts", "shop")[1]
    assert "score_psi" in called(root, "rollouts", "shop", records.all()[0].id)[1]

    # `rollback` afterwards brings back what was replaced.
    code, out, errors = called(root, "rollback", "shop")
    assert code == 0, errors
    assert httpx.get(f"{endpoint.url}/health").json()["digest"] == versions["good"].digest
    champion = known.champion("shop")
    assert champion and champion.digest == versions["good"].digest
    assert asked.failed == []


def test_tidying_leaves_a_rollout_alone_that_is_under_way(root: Path, replicas: Replicas) -> None:
    records = Records(str(root), "shop")
    side = Side(model="shop", version="1", digest="d")
    mine = records.write(Rollout.begin("shop", side, side, Plan(mode="shadow", shares=(0.0,))))
    with pytest.raises(EndpointError, match=f"process {os.getpid()}"):
        ending.tidy(str(root), "shop", "another rollout began")
    records.write(mine.then("interrupted"))
    ending.tidy(str(root), "shop", "another rollout began")
