"""Ray's autoscaler, with nodes that are processes: they come while a job of ours has work for them, and go afterwards."""

import time
from pathlib import Path

import pytest

from tests.faults import at_work
from tests.faults.driver import Driver
from tests.faults.namespaces import Autoscaled, fleet, missing, network, until
from tests.faults.rounds import ROUNDS

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not ROUNDS, reason="takes a minute or two: RAY_MLOPS_FAULT_ROUNDS=1"),
]
MOST = 3
IDLE_S = 6


def test_nodes_come_for_a_job_and_go_when_it_is_done(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(f"no head node with an address of its own: {reason}")
    at_work.prepare(tmp_path)
    with network() as joined, fleet(joined, 0, autoscaled=Autoscaled(MOST, IDLE_S)) as nodes:
        assert nodes.alive() == 1
        driver, most = Driver(nodes, tmp_path), 0
        for work in ("ingest", "clean", "windows", "tune"):
            driver.begin(work, "first")
            while not driver.ended(work, "first"):
                most = max(most, nodes.alive() - 1)
                time.sleep(0.3)
            driver.end(work, "first")
        assert 1 <= most <= MOST, f"{most} nodes came"
        until(lambda: nodes.alive() == 1, "the nodes do not go")
        driver.close()
