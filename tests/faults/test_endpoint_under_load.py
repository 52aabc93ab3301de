"""One endpoint that is asked without pause while all around it is replaced and killed: how many requests fail.

`pytest -s tests/faults/test_endpoint_under_load.py` prints what was counted; `steady.py` says what counts as failed.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.platform import ingress, runtime
from ray_mlops.platform.admission import RegisterConfig
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.replica import Replica
from ray_mlops.serving.rollouts import replicas as replicas_of
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.replicas import Replicas
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from tests.faults.steady import Seen, Steady, rows
from tests.serving.processes import replicas, wait
from tests.small_model import study

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(400)]
RATE = 100
AFTERWARDS_S = 2.0  # what a fault leaves behind shows when it is over
NAME = f"steady{os.getpid()}"


class Deployed:
    """The endpoint, two versions of its model, and who asks it."""

    def __init__(self, root: Path) -> None:
        self.run = Run(root=str(root), id="r", recipe="small", uri=str(root / "artifact"), fingerprint="f")
        self.versions = [self._registered(root, rounds) for rounds in (10, 12)]
        self.config = DeployConfig(port=runtime.free_port(), scale=Scale(min_replicas=2, max_replicas=2), parity_rows=0)
        self.url = deploy.run(self.config, self.run, version=self.versions[0]).url
        self.report: list[tuple[str, Seen]] = []

    def _registered(self, root: Path, rounds: int) -> ModelVersion:
        made = study(root / str(rounds), XGBoost(rounds=rounds))
        return register.run(RegisterConfig(name=NAME), self.run, **made)

    @contextmanager
    def during(self, fault: str, caller: Steady) -> Iterator[None]:
        """Ask while the block runs and a little longer, and report how it went."""
        caller.seen()
        yield
        time.sleep(AFTERWARDS_S)
        seen = caller.seen()
        self.report.append((fault, seen))
        assert seen.sent > RATE * AFTERWARDS_S / 2, "the caller did not keep its rate"

    def failed(self) -> list[tuple[float, str]]:
        """What failed during the last fault."""
        return self.report[-1][1].failed

    def scale(self, number: int) -> None:
        """As an autoscaler does: the replicas that there are stay, others come or go."""
        from ray import serve

        running = replicas_of.known(self.run.root, NAME)
        scale = Scale(min_replicas=number, max_replicas=number)
        target = endpoints.target(running.settings, scale, Replica, code=running.code)
        serve.run_many([target], wait_for_applications_running=False)
        wait(lambda: len(replicas(NAME)) == number and ready(number))


def ready(number: int) -> bool:
    """Whether so many replicas run, as Serve sees it."""
    from ray import serve

    application = serve.status().applications[NAME]
    states = application.deployments["Replica"].replica_states
    return application.status == "RUNNING" and dict(states) == {"RUNNING": number}


def actor(named: str) -> int:
    """The process of one of Serve's actors."""
    import ray

    found = next(name for name in ray.util.list_named_actors(all_namespaces=True) if name["name"].startswith(named))
    return ray.get(ray.get_actor(**found).__ray_call__.remote(lambda self: os.getpid()))


@pytest.fixture(scope="module")
def deployed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(tmp_path_factory.mktemp("steady"))
    yield made
    deploy.undeploy(NAME)
    print(f"\n{'fault':32} {'sent':>6} {'failed':>6} {'outage s':>8} {'slowest s':>9}")
    for fault, seen in made.report:
        print(f"{fault:32} {seen.sent:6} {len(seen.failed):6} {seen.outage_s:8.2f} {seen.slowest_s:9.2f}")


@pytest.fixture(scope="module")
def caller(deployed: Deployed) -> Iterator[Steady]:
    with Steady(f"{deployed.url}/score?reasons=0", rows(), rate=RATE, first_id=10_000_000) as steady:
        yield steady


def test_nothing_fails_while_nothing_happens(deployed: Deployed, caller: Steady) -> None:
    with deployed.during("none", caller):
        pass
    assert deployed.failed() == []


def test_a_new_version_is_rolled_out(deployed: Deployed, caller: Steady) -> None:
    with deployed.during("new version", caller):
        deploy.run(deployed.config, deployed.run, version=deployed.versions[1])
    assert deployed.failed() == []
    assert set(deployed.report[-1][1].versions) == {"1", "2"}


def test_a_challenger_is_rolled_back(deployed: Deployed, caller: Steady) -> None:
    turned = Replicas(replicas_of.known(deployed.run.root, NAME), deployed.run.root)
    other = deployed.versions[0]
    named: Any = {"bundle": other.uri, "digest": other.digest, "version": other.version}
    with deployed.during("challenger, rolled back", caller):
        turned.turn(Setting(rollout="by-hand", step=1, share=0.5, **named))
        time.sleep(1)
        turned.turn(Setting(rollout="by-hand", step=2))
    assert deployed.failed() == []
    assert set(deployed.report[-1][1].versions) == {"1", "2"}


def test_a_replica_is_killed(deployed: Deployed, caller: Steady) -> None:
    with deployed.during("replica killed", caller):
        kill_a_replica(set())
    assert deployed.failed() == []


def test_both_replicas_are_killed_in_turn(deployed: Deployed, caller: Steady) -> None:
    known = set(replicas(NAME))
    with deployed.during("two of two replicas, in turn", caller):
        left = kill_a_replica(set())
        kill_a_replica(left - known)
    assert deployed.failed() == [] and not known & set(replicas(NAME))


def kill_a_replica(spared: set[int]) -> set[int]:
    """Kill one and wait for another in its place; all that there are then."""
    before = set(replicas(NAME))
    os.kill(min(before - spared), signal.SIGKILL)
    wait(lambda: len(set(replicas(NAME)) - before) == 1 and ready(2))
    return set(replicas(NAME))


def test_the_number_of_replicas_goes_from_one_to_four_and_back(deployed: Deployed, caller: Steady) -> None:
    deployed.scale(1)
    with deployed.during("1 to 4 to 1 replicas", caller):
        deployed.scale(4)
        deployed.scale(1)
    assert deployed.failed() == []
    deployed.scale(2)


def test_the_controller_is_killed(deployed: Deployed, caller: Steady) -> None:
    before = actor("SERVE_CONTROLLER_ACTOR")
    with deployed.during("controller killed", caller):
        os.kill(before, signal.SIGKILL)
        wait(lambda: replaced("SERVE_CONTROLLER_ACTOR", before))
    assert deployed.failed() == []


def replaced(named: str, process: int) -> bool:
    """Whether another process is Serve's actor of that name."""
    from ray.exceptions import RayError

    try:
        return actor(named) != process
    except (RayError, StopIteration, ValueError):
        return False


def haproxy() -> int:
    folder = runtime.ingress_folder()
    assert folder
    return int((folder / ingress.RUNNING).read_text())


def manager() -> int:
    """Serve's actor that started HAProxy, by its process: its name begins as that of the proxy for want of replicas does."""
    parent = int(Path(f"/proc/{haproxy()}/stat").read_text().rpartition(")")[2].split()[1])
    assert "HAProxyManager" in Path(f"/proc/{parent}/cmdline").read_text()
    return parent


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(("fault", "killed"), [("proxy killed", haproxy), ("manager of proxy killed", manager)])
def test_the_proxy_is_killed_and_comes_back(
    fault: str, killed: Callable[[], int], deployed: Deployed, caller: Steady
) -> None:
    process, before = killed(), haproxy()
    with deployed.during(fault, caller):
        os.kill(process, signal.SIGKILL)
        wait(lambda: haproxy() != before and answers(deployed.url))
    with deployed.during(f"{fault}: afterwards", caller):
        deploy.run(deployed.config, deployed.run, version=deployed.versions[0])
    assert deployed.failed() == []
