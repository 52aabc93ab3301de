"""Worker nodes that are cut off or killed in the middle of the work: what comes out is what an undisturbed run makes."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.faults import at_work
from tests.faults.driver import Driver
from tests.faults.namespaces import Fleet, Node, fleet, missing, network, until
from tests.faults.rounds import ROUNDS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
WORKERS = 2
# What a process calls itself while it does the work.
AT_WORK = {
    "ingest": "MapBatches(_read)",
    "clean": "MapBatches",
    "windows": "MapBatches(_work_on)",
    "exchange": "deal",
    "tune": "ray::ImplicitFunc",
    "train": "RayTrainWorker",
    "train2": "RayTrainWorker",
    "score": "MapBatches(_score_block)",
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Fleet]:
    if reason := missing():
        pytest.skip(f"no cluster of nodes that have addresses of their own: {reason}")
    with network() as joined, fleet(joined, WORKERS) as made:
        yield made


@pytest.fixture(scope="module")
def driver(nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder = tmp_path_factory.mktemp("nodes")
    at_work.prepare(folder)
    made = Driver(nodes, folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(driver: Driver) -> dict[str, dict[str, Any]]:
    """What each work makes when nothing happens."""
    found = {}
    for work in at_work.WORK:
        if work in dict(CASES) or work in at_work.NEEDED:
            driver.begin(work, "first")
            found[work] = driver.end(work, "first")
    return found


def strike(nodes: Fleet, work: str) -> tuple[Node, int]:
    """The first worker node that is seen at work, with the process, which is stopped in the middle of it."""
    found: list[tuple[Node, int]] = []

    def seen() -> bool:
        for node in nodes.workers:
            for process, title in node.processes():
                if title.startswith("ray::") and AT_WORK[work] in title:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGSTOP)
                        found.append((node, process))
                        return True
        return False

    until(seen, f"nobody was seen at {AT_WORK[work]}", 60)
    return found[0]


def kill(nodes: Fleet, node: Node, process: int) -> None:
    """The node is gone in the middle of the work."""
    nodes.lose(node)


def cut(nodes: Fleet, node: Node, process: int) -> None:
    """Nobody hears of the node any more; it works on, and writes what it writes."""
    node.cut()
    os.kill(process, signal.SIGCONT)


FAULTS = {"killed": kill, "cut off": cut}
IN_SUITE = [("windows", "cut off"), ("train2", "killed"), ("score", "cut off")]
CASES = [(work, fault) for _ in range(ROUNDS) for work in at_work.WORK for fault in FAULTS] if ROUNDS else IN_SUITE


@pytest.mark.parametrize(("number", "work", "fault"), [(number, *case) for number, case in enumerate(CASES)])
def test_a_worker_node_is_lost_and_the_result_is_the_undisturbed_one(
    number: int, work: str, fault: str, nodes: Fleet, driver: Driver, undisturbed: dict[str, Any]
) -> None:
    attempt = str(number)
    driver.begin(work, attempt)
    node, process = strike(nodes, work)
    FAULTS[fault](nodes, node, process)
    try:
        assert driver.end(work, attempt) == undisturbed[work]
    finally:
        if node in nodes.workers:
            nodes.lose(node)
        nodes.add()
        nodes.wait(WORKERS)
