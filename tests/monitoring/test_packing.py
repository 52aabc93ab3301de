"""Statistics travel as JSON and numbers, to the last bit, and nothing in them is run."""

import io
import pickle
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.monitoring.packing import packed, unpacked
from ray_mlops.monitoring.profile import Plan, TablePart
from tests.small_model import TRANSACTIONS, transactions


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return type(one) is type(other) and (one == other or str(one) == str(other) == "nan")


def odd(table: pa.Table) -> pa.Table:
    """Missing and infinite values, texts that are none, and numbers at the limits."""
    amounts = table["amount"].to_numpy().copy()
    amounts[:6] = [np.nan, np.inf, -np.inf, 1e308, 5e-324, -0.0]
    texts = [None, "", "a\0", "ü\n", "😀", *table["terminal_id"].to_pylist()[5:]]
    table = table.set_column(table.column_names.index("amount"), "amount", pa.array(amounts))
    return table.set_column(table.column_names.index("terminal_id"), "terminal_id", pa.array(texts, pa.string()))


@pytest.mark.parametrize(
    "table", [transactions(500), odd(transactions(500)), transactions(1)], ids=["plain", "odd", "one"]
)
def test_what_arrives_is_what_was_sent(table: pa.Table) -> None:
    part = TablePart.of(table, Plan(TRANSACTIONS, offsets={"amount": 0.01}))
    assert same(part, unpacked(packed(part)))
    assert same(TablePart.merged([part, part]), TablePart.merged([unpacked(packed(part))] * 2))


class Hostile:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was run",))


def test_what_would_run_code_is_refused() -> None:
    stream = io.BytesIO()
    np.savez(stream, np.array([Hostile()], dtype=object), allow_pickle=True)
    for content in (stream.getvalue(), pickle.dumps(Hostile())):
        with pytest.raises(ValueError, match="allow_pickle="):
            unpacked(content)
