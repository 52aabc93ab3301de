"""What load an endpoint gets: rows of a file, what it was asked before, its example, or its picture."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from ray_mlops.contract import Endpoint
from ray_mlops.errors import DataError, EndpointError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.app import build_app
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.load.process import Load
from ray_mlops.serving.load.target import target
from ray_mlops.serving.scoring import Scorer
from tests.serving.access.live import live
from tests.serving.protocols import served
from tests.small_model import bundle, transactions


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def key(root: Path) -> str:
    return keys.create(str(root), "load", ["score"])[1]


@pytest.fixture(scope="module")
def endpoint(root: Path, key: str) -> Iterator[Endpoint]:
    scorer = Scorer(
        Predictor.load(bundle(root, definition=served.DEFINITION)), None, Capture(str(root / "log"), "v1"), "1", "d"
    )
    model = {"name": "small", "version": "1", "digest": "d", "example": served.ROWS[0], "key": "transaction_id"}
    ring = KeyRing(opening.access(str(root), Network())[0], every_s=3600)
    with live(build_app(scorer, model, Limits(), health={"status": "ok"}, ring=ring)) as url:
        yield _endpoint(url)
    ring.close()


def _endpoint(url: str, **fields: Any) -> Endpoint:
    return Endpoint(uri="", fingerprint="", name="small", url=url, version="1", digest="d", capture="", **fields)


def test_the_example_is_sent_each_time_with_an_id_that_nobody_has_used(
    endpoint: Endpoint, key: str, root: Path
) -> None:
    asked, source = target(endpoint, key=key, renew=True)
    assert source == "the bundle's example" and asked.rows == (served.ROWS[0],)
    with Load(asked, 0.2) as load:
        step = load.measure(50.0)
    assert not step.errors and step.sent >= 10
    lines = [json.loads(line) for path in (root / "log").glob("*.jsonl") for line in path.read_text().splitlines()]
    ids = [line["id"] for line in lines]
    assert len(set(ids)) == len(ids) >= step.sent and min(ids) > 1 << 30
    as_it_is, _ = target(endpoint, key=key, renew=False)
    assert as_it_is.key is None


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_rows_of_a_file_are_sent_with_the_fields_of_the_endpoint(
    endpoint: Endpoint, key: str, tmp_path: Path, kind: str
) -> None:
    table, path = transactions(30), tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path)
    elif kind == "csv":
        csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
    asked, source = target(endpoint, file=str(path), key=key, renew=True)
    assert source == f"30 rows of {path}" and "is_fraud" not in asked.rows[0] and "note" not in asked.rows[0]
    with Load(asked, 0.2) as load:
        assert not load.measure(50.0).errors


def test_what_was_asked_before_is_sent_again(endpoint: Endpoint, key: str, root: Path) -> None:
    httpx.post(f"{endpoint.url}/score", json=served.ROWS[1], headers={"x-api-key": key})
    asked, source = target(endpoint, log=str(root / "log"), key=key, renew=True)
    assert source.endswith("captured requests") and asked.rows[-1]["amount"] == served.ROWS[1]["amount"]
    with Load(asked, 0.2) as load:
        assert not load.measure(50.0).errors


def test_a_picture_is_sent_as_it_is(tmp_path: Path) -> None:
    with live(served.image_app(tmp_path)) as url:
        asked, source = target(_endpoint(url, route="predict"), renew=True)
        assert source == "the bundle's picture"
        with Load(asked, 0.2) as load:
            assert not load.measure(50.0).errors


def test_what_cannot_be_sent_is_named(endpoint: Endpoint, key: str, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="401.*--key or RAY_MLOPS_KEY"):
        target(endpoint, renew=True)
    with pytest.raises(DataError, match="cannot read requests from"):
        target(endpoint, file=str(tmp_path / "none.csv"), key=key, renew=True)
    parquet.write_table(pa.table({"other": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no row with the fields of the endpoint: transaction_id"):
        target(endpoint, file=str(tmp_path / "other.parquet"), key=key, renew=True)
