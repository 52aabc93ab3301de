"""An endpoint that is sent whatever comes to mind: it answers others all the while, never with 5xx, and does not grow.

`RAY_MLOPS_FUZZ_S=60 pytest -s tests/faults/test_fuzz.py` makes requests up for a minute instead of some seconds, and prints
what was counted.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis

from ray_mlops.platform import ingress, runtime
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Settings
from tests.faults import hostile
from tests.faults.steady import Steady, rows
from tests.serving import made_up
from tests.serving.processes import replicas
from tests.small_model import bundle, example, transactions

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(400)]
FUZZ_S = float(os.environ.get("RAY_MLOPS_FUZZ_S", "20"))
SIEGE_S = 15  # longer than the ingress waits for a request
MOST_MB = 200  # by which a process may grow
NAME = f"besieged{os.getpid()}"
GOOD = {**example(transactions()), "time": "2026-01-31T12:00:00Z"}


@pytest.fixture(scope="module")
def url(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("besieged")
    made = bundle(root)
    settings = Settings(
        name=NAME,
        bundle=made.uri,
        digest=made.digest,
        version="1",
        store=f"sqlite:///{root}/entities.db",
        capture=f"{root}/capture",
        queue=f"{root}/async/{NAME}",
        limits=Limits(),
    )
    yield endpoints.start(settings, Scale(max_replicas=1), port=runtime.free_port())
    endpoints.undeploy(NAME)


@pytest.fixture(scope="module")
def caller(url: str) -> Iterator[Steady]:
    with Steady(f"{url}/score?reasons=0", rows(), rate=20, first_id=10_000_000) as steady:
        yield steady


def megabytes() -> dict[str, float]:
    """What the ingress and the replica hold."""
    folder = runtime.ingress_folder()
    assert folder
    (replica,) = replicas(NAME)
    processes = {"ingress": int((folder / ingress.RUNNING).read_text()), "replica": replica}
    return {name: resident(process) for name, process in processes.items()}


def resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS"))


def grown(before: dict[str, float]) -> dict[str, float]:
    return {name: round(now - before[name], 1) for name, now in megabytes().items()}


def test_made_up_requests_get_the_documented_answers_and_disturb_nobody(url: str, caller: Steady) -> None:
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    before, deadline, bodies, rounds = megabytes(), time.monotonic() + FUZZ_S, 0, 0
    caller.seen()
    while time.monotonic() < deadline:
        mode = made_up.MODES[rounds % 2]
        bodies += sum(made_up.ask(document, mode, examples=5, seed=rounds).values())
        rounds += 1
    seen, more = caller.seen(), grown(before)
    print(
        f"\n{rounds} rounds, {bodies} bodies made up; {seen.sent} sent beside them, {len(seen.failed)} failed; MB: {more}"
    )
    assert seen.failed == [] and seen.sent and bodies
    assert max(more.values()) < MOST_MB


def test_a_siege_of_hostile_connections_disturbs_nobody(url: str, caller: Steady) -> None:
    before, place = megabytes(), urlsplit(url)
    caller.seen()
    command = [
        sys.executable,
        hostile.__file__,
        str(place.hostname),
        str(place.port),
        f"{place.path}/score",
        str(SIEGE_S),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    during = caller.seen()
    time.sleep(1)
    afterwards, more, became = caller.seen(), grown(before), json.loads(done.stdout)
    for kind, count in became.items():
        print(f"\n{kind:20} {count}", end="")
    print(f"\n{during.sent} sent meanwhile, slowest {during.slowest_s:.2f} s, {len(during.failed)} failed; MB: {more}")
    if (idle := sum(became["idle"].values())) < hostile.IDLE:
        print(f"the limit on file descriptors allows {idle:,} idle connections, not {hostile.IDLE:,}")
    assert during.failed == [] and afterwards.failed == [] and afterwards.sent
    assert not [status for count in became.values() for status in count if status.startswith("5")]
    assert set(became["slow_headers"]) | set(became["slow_body"]) | set(became["slow_large_body"]) == {"408"}
    assert "413" in became["large_body"] and not became["large_chunked_body"].keys() - {"413", "closed"}
    assert "refused" not in became["idle"]
    assert max(more.values()) < MOST_MB


def test_a_large_upload_passes_the_ingress(url: str) -> None:
    body = json.dumps({"transactions": [GOOD]}).encode() + b" " * 60_000_000
    answer = httpx.post(f"{url}/async", content=body, headers={"content-type": "application/json"}, timeout=60)
    assert answer.status_code == 202, answer.text
