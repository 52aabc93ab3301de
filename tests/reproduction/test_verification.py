"""A recorded run is made again, bit for bit, wherever its rows lie; what is not the same is named."""

from pathlib import Path

import pytest

from ray_mlops import commands, runs
from tests.lifecycle import TINY
from tests.reproduction import laid_out

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=(TINY, "vision"))
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> tuple[str, str]:
    """A root with one run of a recipe, up to the registered model, and the id of the run."""
    root = str(tmp_path_factory.mktemp("recorded"))
    commands.lifecycle(request.param, root, (), span=("ingest", "register"))
    return root, runs.known(root)[0]["id"]


def test_neither_files_nor_order_of_the_rows_change_a_bit(recorded: tuple[str, str], tmp_path: Path) -> None:
    assert laid_out.differing(*recorded, tmp_path, parts=5) == {}
