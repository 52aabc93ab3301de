"""One server for the tests of all protocols."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serving.protocols import served


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served.serving(tmp_path_factory.mktemp("served")) as url:
        yield url


@pytest.fixture(scope="session")
def native(address: str) -> list[dict]:
    """The results of the native route for `served.ROWS`."""
    answer = httpx.post(f"{address}/small/score", json={"transactions": served.ROWS})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]
