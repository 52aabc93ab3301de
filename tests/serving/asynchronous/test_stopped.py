"""A replica that is told to stop while it works hands its request back at once, untried."""

from pathlib import Path

import httpx

from tests.serving.access.live import live, wait_for
from tests.serving.asynchronous.test_routes import LATER, ROWS, Site


def test_a_stopped_replica_hands_its_request_back(tmp_path: Path) -> None:
    site = Site(tmp_path, LATER.model_copy(update={"lease_s": 3600.0}))
    site.held.clear()
    with live(site.app) as url:
        taken = httpx.post(f"{url}/async", json=ROWS).json()
        wait_for(lambda: site.calls)
        assert httpx.get(f"{url}/async/{taken['id']}").json()["state"] == "running"
    lease = site.queue.claim()
    site.held.set()
    assert lease and lease.attempt == 1
