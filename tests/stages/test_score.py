"""Scoring a file: the numbers of training, whatever the format, and nothing written when the file is not right."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ray_mlops.contract import ModelVersion, Run
from ray_mlops.errors import DataError, StorageError
from ray_mlops.fraud.predictor import ACTIONS, Predictor
from ray_mlops.platform.bundle import Bundle
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.stages.score import score_file
from tests.small_model import study, transactions

LATE = 3000  # the file holds the rows from here on


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    root = tmp_path_factory.mktemp("root")
    run = Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print")
    return register.run(RegisterConfig(name="small"), run, **study(root))


def saved(folder: Path, kind: str) -> str:
    """The late transactions in a file, without their labels."""
    table, path = transactions().slice(LATE).drop_columns(["is_fraud", "note"]), folder / f"late.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "csv":
        pa.csv.write_csv(table.set_column(1, "time", table["time"].cast(pa.string())), path)
    else:
        table.to_pandas().to_json(path, orient="records", lines=True, date_format="iso", date_unit="us")
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_the_scores_are_those_of_the_rows_within_their_history(
    ray_session: None, version: ModelVersion, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "made" / "scores.parquet"
    assert score_file(version, saved(tmp_path, kind), str(out)) == 1000
    scored, predictor = pq.read_table(out), Predictor.load(Bundle.load(version.uri))
    definition, table = predictor.definition, transactions()
    expected = predictor.score(definition.encode(definition.compute(table))[LATE:])
    assert scored.column_names == ["transaction_id", "score", "probability", "decision", "version"]
    assert scored["transaction_id"].to_pylist() == list(range(LATE, 4000))
    np.testing.assert_allclose(scored["score"].to_numpy(), expected.score, rtol=1e-6)
    assert scored["decision"].to_pylist() == [ACTIONS[action] for action in expected.action]
    assert set(scored["version"].to_pylist()) == {"1"}


def test_reasons_are_told_in_words_where_they_are_asked_for(
    ray_session: None, version: ModelVersion, tmp_path: Path
) -> None:
    out = tmp_path / "scores.parquet"
    score_file(version, saved(tmp_path, "parquet"), str(out), reasons=2)
    scored, predictor = pq.read_table(out), Predictor.load(Bundle.load(version.uri))
    definition = predictor.definition
    rows = definition.encode(definition.compute(transactions()))[LATE : LATE + 3]
    expected = [[reason["text"] for reason in row] for row in predictor.reasons(rows, 2)]
    assert scored["reasons"].slice(0, 3).to_pylist() == expected
    assert all(len(told) == 2 for told in scored["reasons"].to_pylist())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "absent.csv"),
        ("empty.csv", "", "empty.csv"),
        ("bare.csv", "transaction_id,time,customer_id,terminal_id,amount,channel\n", "no rows"),
        ("short.csv", "transaction_id,time,customer_id,terminal_id,amonut,channel\n1,2026-01-01,1,t,5,chip\n", "amonut"),
        ("typed.csv", "transaction_id,time,customer_id,terminal_id,amount,channel\n1,2026-01-01,1,t,five,chip\n", "five"),
        ("nulls.csv", "transaction_id,time,customer_id,terminal_id,amount,channel\n1,2026-01-01,,t,5,chip\n", "no customer_id"),
        ("half.parquet", "PAR1 and then nothing", "half.parquet"),
        ("image.png", "PNG", "no known ending"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_right_is_named_and_nothing_is_written(
    version: ModelVersion, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    path, out = tmp_path / name, tmp_path / "scores.parquet"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        score_file(version, str(path), str(out))
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_named(ray_session: None, version: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        score_file(version, saved(tmp_path, "parquet"), str(tmp_path / "file" / "scores.parquet"))
