"""The whole loop without a hand on it: drift comes, quality falls, a challenger is trained, canaried and promoted, quality is
back; though the watch is killed in the midst of it."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from ray_mlops.contract import Run
from ray_mlops.fraud.simulate import Drift, Simulator, simulate
from ray_mlops.monitoring.attempts import Attempts
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.history import History
from ray_mlops.platform.registry import Version, open_registry
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving.rollouts.records import Records
from ray_mlops.watch import Watch
from tests import lifecycle
from tests.monitoring.watched import in_alarm

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(600)]
RECIPE = str(Path(__file__).parent / "recipes" / "watched.py")
LEARNED, DRIFTED, KNOWN, DAYS = 58, 60, 78, 84
"""Days until which the first model's data go, the drift begins, the second model's data go, and traffic goes on."""
SIMULATOR = Simulator(
    customers=200, terminals=250, days=DAYS, radius=10, compromised_terminals=1, compromised_cards=1,
    drift=Drift(day=DRIFTED, testing_cards=5),
)  # fmt: skip


class Shop:
    """Asks an endpoint to score transactions, in their order, and remembers which version answered what."""

    def __init__(self, url: str, table: pa.Table) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)
        self.rows: list[dict[str, Any]] = table.to_pylist()
        self.answers: dict[int, tuple[str, float]] = {}
        self.failed: list[str] = []

    def days(self, first: int, last: int) -> None:
        """Send the transactions of some days, each day's labels after it."""
        for day in range(first, last):
            rows = self.of(day, day + 1)
            for start in range(0, len(rows), 100):
                self.send(rows[start : start + 100])
            labels = [{"transaction_id": row["transaction_id"], "is_fraud": row["is_fraud"]} for row in rows]
            assert self._client.post("/labels", json={"labels": labels}).status_code == 200

    def of(self, first: int, last: int) -> list[dict[str, Any]]:
        return [row for row in self.rows if first <= row["day"] < last]

    def send(self, rows: list[dict[str, Any]]) -> None:
        sent = [
            {name: row[name] for name in ("transaction_id", "customer_id", "terminal_id", "amount")}
            | {"time": row["time"].isoformat()}
            for row in rows
        ]
        answer = self._client.post("/score?reasons=0", json={"transactions": sent})
        if answer.status_code != 200:
            self.failed.append(answer.text)
            return
        told = answer.json()
        self.answers |= {one["id"]: (told["version"], one["score"]) for one in told["results"]}

    def average_precision(self, version: str, first: int, last: int) -> float:
        """Of what a version answered to the transactions of some days."""
        rows = [row for row in self.of(first, last) if self.answers.get(row["transaction_id"], ("",))[0] == version]
        scores = [self.answers[row["transaction_id"]][1] for row in rows]
        return float(average_precision_score([row["is_fraud"] for row in rows], scores))

    @contextmanager
    def going_on(self, first: int, last: int) -> Iterator[None]:
        """Send single transactions of some days, over and over, while the block runs."""
        over, rows = threading.Event(), self.of(first, last)

        def call() -> None:
            place = 0
            while not over.is_set():
                self.send([rows[place % len(rows)]])
                place += 1

        thread = threading.Thread(target=call)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def table() -> pa.Table:
    made = pa.concat_tables(simulate(SIMULATOR, chunk) for chunk in range(SIMULATOR.chunks)).sort_by("time")
    start = np.datetime64(SIMULATOR.start, "us").astype(np.int64)
    day = (made["time"].cast(pa.int64()).to_numpy() - start) // (86_400 * 1_000_000)
    return made.append_column("day", pa.array(day))


def deliver(made: pa.Table, folder: Path, first: int, last: int) -> None:
    """Add the transactions of some days, with their labels, to the source of the recipe."""
    chosen = made.filter((pc.field("day") >= first) & (pc.field("day") < last))
    pq.write_table(chosen.drop_columns(["day", "fraud_scenario"]), folder / f"until-{last}.parquet")


def started(options: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("a") as out:
        return subprocess.Popen(
            lifecycle.command("watch", RECIPE, *options),
            stdout=out,
            stderr=subprocess.STDOUT,
            env=lifecycle.environment(),
            # A test runner in the background ignores Ctrl-C, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no thread runs yet
        )


def wait_for(what: Callable[[], Any], seconds: float, log: Path) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"it did not happen: {log.read_text()}"
        time.sleep(0.2)
    return found


class Deployed(NamedTuple):
    """The endpoint of the recipe, the options of its commands, and all transactions there will be."""

    root: Path
    source: Path
    options: list[str]
    endpoint: dict[str, Any]
    made: pa.Table

    def champion(self) -> Version:
        found = open_registry(Run(root=str(self.root), id="", recipe="")).champion("watched")
        assert found
        return found


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[Deployed]:
    folder, made = tmp_path_factory.mktemp("loop"), table()
    root, source = folder / "root", folder / "transactions"
    source.mkdir()
    deliver(made, source, 0, LEARNED)
    options = ["--root", str(root), "-s", f"ingest.sources.0.path={source}"]
    options += ["-s", f"deploy.port={free_port(21_000, 21_999)}"]
    done = lifecycle.call("run", RECIPE, *options, "--to", "deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    yield Deployed(root, source, options, lifecycle.artifact(lifecycle.newest_run(root), "deploy"), made)
    lifecycle.call("undeploy", "watched", "--root", str(root))


def test_drift_is_seen_explained_and_mended_without_a_hand(deployed: Deployed, tmp_path: Path) -> None:
    log, monitoring = tmp_path / "watch.log", deployed.endpoint["monitoring"]
    shop, attempts = Shop(deployed.endpoint["url"], deployed.made), Attempts(monitoring)
    watch = started(deployed.options, log)
    try:
        shop.days(LEARNED, DRIFTED)
        wait_for(lambda: "window(s) judged" in log.read_text(), 60, log)
        assert not attempts.all()

        # At once, so that the watch trains on the same rows whenever it does.
        deliver(deployed.made, deployed.source, LEARNED, KNOWN)
        shop.days(DRIFTED, KNOWN)
        wait_for(attempts.all, 120, log)
        watch.kill()
        watch.wait(30)
        watch = started(deployed.options, log)
        with shop.going_on(KNOWN, KNOWN + 3):
            attempt = wait_for(lambda: next((one for one in attempts.all() if one.ended), None), 240, log)
        shop.days(KNOWN + 3, DAYS)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 130
    finally:
        watch.kill()

    assert attempt.status == "promoted", (attempt, log.read_text())
    assert attempt.number == 2 and len(attempts.all()) == 2  # the first was killed; nothing was done twice
    before, after = shop.average_precision("1", DRIFTED, KNOWN), shop.average_precision("2", KNOWN + 3, DAYS)
    assert after > before + 0.1, (before, after)
    assert not shop.failed

    reports = CauseFiles(monitoring, deployed.endpoint["digest"]).all()
    report = next(one for one in reports if one.id == attempt.report)
    assert report.action == "retrain" and report.reasons and any(cause.samples for cause in report.causes)
    champion = deployed.champion()
    assert champion.version == "2" == attempt.made and champion.metrics["gain_over_champion"] > 0.1
    assert champion.changes[-1].action == "promoted" and report.id in champion.changes[-1].reason
    (rollout,) = Records(str(deployed.root), "watched").all()
    assert rollout.status == "promoted" and report.id in rollout.why
    print(f"average precision on drifted traffic: {before:.3f} of version 1, {after:.3f} of version 2")


def test_a_version_that_broke_something_is_taken_back(deployed: Deployed) -> None:
    looking = Watch(RECIPE, str(deployed.root), [*deployed.options[3::2], "watch.act=[]"])
    history, before = History(deployed.endpoint["monitoring"], deployed.champion().digest), -1
    while before != (before := len(history.judged())):  # until all that was asked of it is judged
        assert looking.look()
        time.sleep(3)
    report = in_alarm(deployed.endpoint["monitoring"], deployed.champion(), "roll back")
    acted = lifecycle.call("watch", RECIPE, *deployed.options, "--once", "--act", "rollback")
    assert acted.returncode == 0, acted.stdout + acted.stderr
    last = Attempts(deployed.endpoint["monitoring"]).all()[-1]
    assert (last.report, last.status) == (report.id, "rolled back"), acted.stdout + acted.stderr
    assert httpx.get(f"{deployed.endpoint['url']}/health").json()["digest"] == deployed.endpoint["digest"]
    assert deployed.champion().version == "1" and report.id in deployed.champion().changes[-1].reason
