"""The gate before an endpoint: the same features online and in batch, or no deployment."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ray_mlops.contract import ModelVersion, Run, no_progress
from ray_mlops.errors import SkewError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online import ParityReport
from ray_mlops.serving import gate
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from tests import planted_skew
from tests.online.conftest import empty_redis
from tests.small_model import DEFINITION, study, transactions

PLANTED = [
    # The label counts before it can be known, cents are lost, a clock runs ahead.
    ("online/plan.py", "delay = 0 if by_arrival else window.delay_us", "delay = 0", "terminal_id_mean_is_fraud_7d"),
    ("fraud/features.py", "values.append(event.get(column))", "values.append(event[column] // 1)", "amount"),
    (
        "fraud/features.py",
        "time = np.array([integer_time(event[self.data.time])], np.int64)",
        "time = np.array([integer_time(event[self.data.time]) + 3_600_000_000], np.int64)",
        "night",
    ),
]
DEPLOY = """
import sys
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.stages import deploy
run = Run(root=sys.argv[1], id="r", recipe="small", uri=sys.argv[1] + "/artifact", fingerprint="f")
try:
    deploy.run(deploy.DeployConfig(), run, version=ModelVersion.model_validate_json(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def version(root: Path) -> Iterator[ModelVersion]:
    run = Run(root=str(root), id="r", recipe="small", uri=str(root / "artifact"), fingerprint="f")
    yield register.run(RegisterConfig(name="shop"), run, **study(root))


def fitted(table: pa.Table) -> FeatureDefinition:
    return DEFINITION.fitted(table)


def check(table: pa.Table, rows: int = 300, store: str = "sqlite:///x.db") -> int:
    return gate.check(fitted(table), table, rows, store=store, progress=no_progress)


def test_a_sample_passes_on_a_store_of_the_kind_of_the_endpoint(redis_url: str) -> None:
    table = transactions()
    assert check(table) == check(table, store=empty_redis(redis_url)) > 190
    assert not Path("x.db").exists()


def test_all_of_a_table_is_compared_when_asked_for() -> None:
    table = transactions(1500)
    steps: list[tuple[int, int, str]] = []
    report = gate.compare(fitted(table), table, None, store="memory://", progress=lambda *step: steps.append(step))
    assert (report.rows, report.history, report.mismatches) == (1500, 0, 0)
    assert steps[-1] == (1500, 1500, "rows")
    assert isinstance(report, ParityReport) and str(report).startswith("no skew: 9 features of 1,500 rows")


def test_a_row_that_no_request_could_bring_is_named() -> None:
    table = transactions(50)
    place = table.column_names.index("amount")
    amounts = table["amount"].to_pylist()
    odd = table.set_column(place, "amount", pa.array([*amounts[:-1], 200_000.0]))
    with pytest.raises(SkewError, match="the endpoint would refuse event 49 of the table: amount should be less than"):
        check(odd)


@pytest.mark.parametrize(("file", "line", "into", "column"), PLANTED)
def test_one_careless_line_and_nothing_is_deployed(
    version: ModelVersion, root: Path, tmp_path: Path, file: str, line: str, into: str, column: str
) -> None:
    copy = planted_skew.changed(tmp_path, file, line, into)
    called = planted_skew.call(copy, "-c", DEPLOY, str(root), version.model_dump_json())
    assert called.stdout.startswith("SkewError version 1 is not deployed as 'shop': skew in "), called.stderr
    assert re.search(rf"first: {column} of row \d+ \(event \d+, \w+_id \w+", called.stdout), called.stdout
    assert "mend the online path" in called.stdout
    assert not (root / "endpoints" / "shop" / "entities.db").exists()
