"""What a watch does about a report, and what it leaves alone; the endpoint is one that only tells its health."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cfnlint.decode import cfn_yaml

from ray_mlops import cli, crontab, watch
from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.clusters import exporting
from ray_mlops.contract import Endpoint, ModelVersion, Run
from ray_mlops.errors import ConfigError, StorageError
from ray_mlops.monitoring.attempts import Attempt, Attempts, Ongoing
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.platform.ray_settings import NODES
from ray_mlops.platform.registry import Registry, open_registry
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.replica import Settings, log_id
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.rollouts.plan import Plan
from ray_mlops.serving.rollouts.records import Records, Rollout, Side
from ray_mlops.stages.deploy import DeployConfig
from tests import lifecycle, small_model
from tests.monitoring.watched import in_alarm

ROOT = Path(__file__).resolve().parents[1]
RECIPE = str(Path(__file__).parent / "recipes" / "watched.py")
SLOW_RECIPE = RECIPE.replace("watched.py", "watched_slowly.py")


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
            log = log_id(told["capture"] or "elsewhere")
            self.wfile.write(json.dumps({"digest": told["digest"], "log": log}).encode())

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


def test_what_is_proposed_waits_for_a_cluster_that_does_not_answer(watched, capsys, monkeypatch):
    watched.alarm()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert watched.watch().look()
    assert "waits until the Ray cluster at 127.0.0.1:1 answers" in capsys.readouterr().out and not watched.attempts


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


def test_an_exported_endpoint_is_looked_at_and_left_alone(watched, url, capsys):
    """As one whose replicas count into the root and whose log and record are on another cluster."""
    shutil.rmtree(watched.root / "endpoints")
    exporting.remember(str(watched.root), "watched/1", [], url)
    report = in_alarm(str(watched.root / "endpoints" / "watched" / "monitoring"), watched.first, "retrain")
    assert watched.watch().look()
    told = capsys.readouterr().out
    assert report.id in told and "export the version that shall answer" in told
    assert not Attempts(str(watched.root / "endpoints" / "watched" / "monitoring")).all()


CRON = """
set -e
mount --make-rprivate /
mount --bind crontabs /var/spool/cron/crontabs
mount --bind nothing /etc/cron.d
mount --bind run /run
if [ -e /etc/crontab ]; then mount --bind /dev/null /etc/crontab; fi
crontab line
exec cron -f
"""


@pytest.mark.timeout(300)
def test_cron_looks_by_the_line_that_is_printed_for_it(watched, tmp_path, monkeypatch, capsys):
    if os.geteuid() or not shutil.which("cron", path="/usr/sbin") or not shutil.which("unshare"):
        pytest.skip("needs root, cron and unshare (Debian's cron and util-linux)")
    report = watched.alarm()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["watch", RECIPE, "--every", "1m", "--crontab", "--root", str(watched.root), "-s", "watch.act=[]"]
    assert cli.main(words) == 0
    (tmp_path / "line").write_text(capsys.readouterr().out)
    for name in ("crontabs", "nothing", "run"):
        (tmp_path / name).mkdir(mode=0o755)
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", CRON]
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # nothing of the test's environment reaches it
    log = watched.root / "watch-watched.log"
    with (tmp_path / "errors").open("w") as out, subprocess.Popen(apart, cwd=tmp_path, env=path, stderr=out) as process:
        try:
            deadline = time.monotonic() + 200
            while not log.exists() or "--act" not in log.read_text():
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "errors").read_text()
                time.sleep(0.5)
        finally:
            process.kill()
    told = log.read_text()
    assert f"cause report {report.id}: retrain" in told and "not allowed: --act retrain allows it" in told, told


def test_the_head_looks_by_the_command_that_the_scheduler_sends(watched, tmp_path):
    stack = cfn_yaml.load(str(ROOT / "cluster" / "watch.yaml"))["Resources"]["Look"]["Properties"]["Target"]
    (sent,) = json.loads(stack["Input"]["Fn::Sub"])["Parameters"]["commands"]
    watched.alarm()
    words = {"${Recipe}": RECIPE, "${Act}": "retrain", "s3://${Bucket}/mlops": str(watched.root)}
    for word, value in words.items():
        assert word in sent
        sent = sent.replace(word, value)
    docker = tmp_path / "docker"  # its `exec --env NAME=VALUE CONTAINER COMMAND...`, on this machine
    docker.write_text(
        '#!/bin/sh\n[ "$1 $2 $4" = "exec --env ray" ] || exit 2\nset_=$3\nshift 4\nexec env "$set_" "$@"\n'
    )
    docker.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"
    bare = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", sent], check=False, capture_output=True, text=True, env=bare, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "retrain waits until the Ray cluster at 127.0.0.1:6379 answers" in done.stdout


@pytest.mark.parametrize(("every_s", "fields"), [
    (60, "*/1 * * * *"), (300, "*/5 * * * *"), (3_600, "0 */1 * * *"), (21_600, "0 */6 * * *"), (86_400, "0 0 * * *"),
])  # fmt: skip
def test_times_that_cron_keeps(every_s, fields):
    assert crontab.when(every_s) == fields


def test_who_waits_for_a_cluster_that_is_gone_ends_although_the_root_is_gone_too(watched, monkeypatch):
    class Gone(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("S3 does not answer")

    def end(code: int) -> None:
        raise Gone(code)

    monkeypatch.setattr(watch.os, "_exit", end)
    attempts = Attempts(watched.endpoint.monitoring)
    with Ongoing(attempts, attempts.begin(watched.alarm(), "watch")) as ongoing:
        monkeypatch.setattr(ongoing, "note", refuse)
        with pytest.raises(Gone, match="1"):
            watched.watch()._cut_off(ongoing, "the cluster is gone")


def test_the_line_for_cron_says_where_things_are_and_no_secrets(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    line = crontab.line(RECIPE, "s3://runs/mlops", ["watch.every_s=60"])
    assert " AWS_ENDPOINT_URL_S3=http://minio:9000 " in line and " AWS_REGION=eu-west-1 " in line
    assert "secret" not in line


@pytest.mark.parametrize("every_s", [30, 90, 420, 5_400, 18_000, 172_800])
def test_times_that_cron_cannot_keep_are_refused(every_s):
    with pytest.raises(ConfigError, match="cron"):
        crontab.when(every_s)


def test_the_line_is_for_this_folder_and_what_is_set_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    found = crontab.line("fraud", "a root", ["watch.act=[retrain]", "monitor.webhook=http://x/%20"])
    assert found.startswith(f"*/5 * * * * cd {tmp_path} && env RAY_ADDRESS=10.0.0.1:6379 ")
    assert f"--root '{tmp_path}/a root'" in found and "http://x/\\%20" in found
    assert found.endswith(f">> '{tmp_path}/a root/watch-fraud.log' 2>&1")


class Head:
    """A head node at an address of its own, which can be lost and replaced by another one there."""

    def __init__(self) -> None:
        self.port, self._folders = free_port(), []
        self.environment = {**os.environ, **NODES, "RAY_AUTH_MODE": "disabled"}
        self.environment |= {"RAY_ADDRESS": f"127.0.0.1:{self.port}", "PYTHONPATH": str(ROOT)}
        self.start()

    def start(self) -> None:
        self._folders.append(tempfile.mkdtemp(prefix="rw-"))  # short: the paths of Ray's sockets lie below it
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        more = [f"--port={self.port}", f"--temp-dir={self._folders[-1]}", "--num-cpus=4", "--include-dashboard=false"]
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        self._process = subprocess.Popen(
            [*ray, *more], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def lose(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self.lose()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def head() -> Iterator[Head]:
    made = Head()
    yield made
    made.close()


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_watch_goes_on_with_the_cluster_that_takes_the_place_of_its_own(watched, head, tmp_path):
    def wait_for(what: Callable[[], object]) -> None:
        deadline = time.monotonic() + 240
        while not what():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    log, words = tmp_path / "log", ["--root", str(watched.root), "--override", "a test", "--act", "retrain"]
    command = lifecycle.command("watch", SLOW_RECIPE, *words, "-s", f"algorithm.place={tmp_path}")
    watched.alarm()
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=head.environment) as process:
        try:
            wait_for((tmp_path / "began").exists)
            head.lose()
            head.start()
            wait_for(lambda: "cut off: another Ray cluster has taken the place" in log.read_text())
            (tmp_path / "go").touch()
            wait_for(lambda: len(watched.attempts) == 2 and watched.attempts[-1].ended)
        finally:
            process.kill()
    first, second = watched.attempts
    # Trained and registered on the other cluster; the endpoint of this test only tells its health, so there it ends.
    assert (first.status, second.made, second.status) == ("interrupted", "3", "failed"), log.read_text()
    assert "another Ray cluster has taken the place of the one before" in log.read_text()
