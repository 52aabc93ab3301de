"""One server for the tests of all protocols."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.protocols import served


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps what it writes."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def address(folder: Path) -> Iterator[str]:
    with served.serving(folder) as url:
        yield url


@pytest.fixture(scope="session")
def log(folder: Path) -> Path:
    """The capture log of the transactions."""
    return folder / "capture"


@pytest.fixture(scope="session")
def native(address: str) -> list[dict]:
    """The results of the native route for `served.ROWS`."""
    answer = httpx.post(f"{address}/small/score", json={"transactions": served.ROWS})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]
