"""What a watch does about a report, and what it leaves alone; the endpoint is one that only tells its health."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ray_mlops import watch
from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.monitoring.attempts import Attempt, Attempts, Ongoing
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.platform.registry import Registry, open_registry
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.replica import Settings, log_id
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.rollouts.plan import Plan
from ray_mlops.serving.rollouts.records import Records, Rollout, Side
from ray_mlops.stages.deploy import DeployConfig
from tests import small_model
from tests.monitoring.watched import in_alarm

RECIPE = str(Path(__file__).parent / "recipes" / "watched.py")


@dataclass
class Watched:
    """A run root whose endpoint is in alarm."""

    root: Path
    endpoint: Endpoint
    first: ModelVersion
    second: ModelVersion

    @property
    def attempts(self) -> list[Attempt]:
        return Attempts(self.endpoint.monitoring).all()

    @property
    def registry(self) -> Registry:
        return open_registry(Run(root=str(self.root), id="", recipe=""))

    def watch(self, *more: str, act: str = "[retrain, rollback]") -> watch.Watch:
        return watch.Watch(RECIPE, str(self.root), [f"watch.act={act}", *(f"watch.{one}" for one in more)])

    def alarm(self, action: str = "retrain") -> CauseReport:
        return in_alarm(self.endpoint.monitoring, self.first, action)

    def cut_off(self, report: CauseReport, **changes: str) -> None:
        """An attempt whose process is gone."""
        attempts = Attempts(self.endpoint.monitoring)
        attempt = attempts.begin(report, "watch")
        assert attempt
        with Ongoing(attempts, attempt) as ongoing:
            ongoing.note("it began", **changes)

    def serves(self, version: ModelVersion) -> None:
        settings = Settings(
            name="watched", bundle=version.uri, digest=version.digest, version=version.version, store="",
            capture=self.endpoint.capture, queue="", monitoring=self.endpoint.monitoring, limits=DeployConfig().limits,
        )  # fmt: skip
        replicas.remember(version, DeployConfig(name="watched"), settings, "code", str(self.root))
        endpoints.remember(self.endpoint.model_copy(update={"digest": version.digest}), str(self.root))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelVersion, ModelVersion]:
    """A run root with two versions."""
    root = tmp_path_factory.mktemp("root")
    known = open_registry(Run(root=str(root), id="", recipe=""))
    made = [small_model.bundle(root / f"b{rounds}", XGBoost(rounds=rounds)) for rounds in (3, 4)]
    first, second = (known.register("watched", bundle).artifact() for bundle in made)
    known.promote("watched", "1")
    return root, first, second


@pytest.fixture(scope="module")
def url(versions: tuple[Path, ModelVersion, ModelVersion]) -> Iterator[str]:
    """What tells the health of the endpoint that was deployed last."""
    deployed = versions[0] / "endpoints" / "watched" / "endpoint.json"

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = json.loads(deployed.read_text())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"digest": told["digest"], "log": log_id(told["capture"])}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/watched"
    server.shutdown()
    server.server_close()


@pytest.fixture
def watched(versions: tuple[Path, ModelVersion, ModelVersion], url: str, tmp_path: Path) -> Watched:
    root, first, second = versions
    shutil.rmtree(root / "endpoints", ignore_errors=True)
    endpoint = Endpoint(
        uri="", fingerprint="f", name="watched", url=url, version="1", digest=first.digest,
        capture=str(tmp_path / "capture"), monitoring=str(tmp_path / "monitoring"),
    )  # fmt: skip
    it = Watched(root, endpoint, first, second)
    it.serves(first)
    return it


def test_an_endpoint_without_an_alarm_is_left_alone(watched, capsys):
    assert watched.watch().look()
    assert "insufficient_data" in capsys.readouterr().out and not watched.attempts


def test_an_endpoint_that_does_not_answer_is_told_and_nothing_is_done(watched, capsys):
    watched.alarm()
    gone = watched.endpoint.model_copy(update={"url": "http://127.0.0.1:1/watched"})
    endpoints.remember(gone, str(watched.root))
    assert not watched.watch().look()
    assert "does not answer" in capsys.readouterr().out and not watched.attempts


@pytest.mark.parametrize(("action", "act", "told"), [
    ("retrain", "[]", "--act retrain allows it"), ("retrain", "[rollback]", "--act retrain allows it"),
    ("roll back", "[retrain]", "--act rollback allows it"), ("keep", "[retrain, rollback]", ": keep"),
])  # fmt: skip
def test_nothing_is_done_that_is_not_proposed_and_allowed(watched, capsys, action, act, told):
    watched.alarm(action)
    assert watched.watch(act=act).look()
    assert told in capsys.readouterr().out and not watched.attempts


def test_a_training_that_fails_is_recorded_and_not_tried_again_for_the_same_report(watched, capsys):
    report = watched.alarm()
    it = watched.watch()
    assert not it.look()  # the recipe's source is not there
    (attempt,) = watched.attempts
    assert (attempt.status, attempt.report, attempt.by) == ("failed", report.id, "watch")
    assert "DataError" in attempt.reason and "retrain failed" in capsys.readouterr().err
    assert it.look() and watched.watch().look()
    assert watched.attempts == [attempt]


def test_a_look_alone_ends_with_1_where_it_failed(watched):
    watched.alarm()
    arguments = (RECIPE, str(watched.root), ["watch.act=[retrain]"])
    assert watch.run(*arguments, once=True) == 1
    assert watch.run(*arguments, once=True) == 0


def test_one_training_waits_for_the_cooldown_of_the_last(watched, capsys):
    watched.alarm()
    assert not watched.watch().look()
    second = watched.alarm()
    assert watched.watch("cooldown_s=3600").look()
    assert "not before" in capsys.readouterr().out and len(watched.attempts) == 1
    assert not watched.watch("cooldown_s=0").look()
    assert [one.report for one in watched.attempts][-1] == second.id


def test_a_rollout_that_is_under_way_is_waited_for(watched, capsys):
    watched.alarm()
    side = Side(model="watched", version="1", digest="d")
    rollout = Rollout.begin("watched", side, side, Plan(mode="shadow", shares=(0.0,)))
    Records(str(watched.root), "watched").write(rollout)
    assert watched.watch().look()
    assert "its end is waited for" in capsys.readouterr().out and not watched.attempts


def test_what_was_cut_off_goes_on_and_is_given_up_in_the_end(watched):
    report = watched.alarm()
    watched.cut_off(report)
    assert not watched.watch().look()
    assert [(one.number, one.status) for one in watched.attempts] == [(1, "running"), (2, "failed")]
    later = watched.alarm()
    watched.cut_off(later)
    assert watched.watch("attempts=1").look()
    assert (watched.attempts[-1].status, watched.attempts[-1].reason) == ("given up", "it was cut off 1 times")


def test_what_is_not_allowed_any_more_does_not_go_on(watched):
    watched.cut_off(watched.alarm())
    assert watched.watch(act="[]").look()
    (attempt,) = watched.attempts
    assert attempt.status == "given up" and "not allowed any more" in attempt.reason


def test_what_another_version_has_overtaken_is_given_up(watched):
    watched.cut_off(watched.alarm())
    watched.serves(watched.second)
    assert watched.watch().look()
    assert "version 2 answers meanwhile" in watched.attempts[-1].reason


def test_a_challenger_that_its_rollout_took_back_is_rejected(watched):
    report = watched.alarm()
    watched.cut_off(report, made="2", made_digest=watched.second.digest)
    sides = [Side(model="watched", version=one.version, digest=one.digest) for one in (watched.first, watched.second)]
    plan = Plan(mode="canary", shares=(0.1,))
    rollout = Rollout.begin("watched", *sides, plan, f"watch, cause report {report.id}").then(
        "rolled_back", reason="slow"
    )
    Records(str(watched.root), "watched").write(rollout)
    assert watched.watch().look()
    assert watched.attempts[-1].status == "rejected" and "slow" in watched.attempts[-1].reason
    version = watched.registry.version("watched", "2")
    assert version.approval == "rejected" and report.id in version.changes[-1].reason
    again = watched.alarm()
    watched.cut_off(again, made="2", made_digest=watched.second.digest)
    assert watched.watch().look()
    assert (watched.attempts[-1].report, watched.attempts[-1].status) == (again.id, "nothing new")


def test_a_watch_that_died_after_the_challenger_took_over_has_promoted_it(watched):
    watched.cut_off(watched.alarm(), made="2", made_digest=watched.second.digest)
    watched.serves(watched.second)
    assert watched.watch().look()
    assert watched.attempts[-1].status == "promoted"
    champion = watched.registry.champion("watched")
    assert champion and champion.version == "2" and "cause report watched-1-1" in champion.changes[-1].reason
