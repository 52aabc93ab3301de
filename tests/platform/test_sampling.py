"""A share of the rows: about as many as asked for, the same ones however they come, a smaller share inside a larger."""

import pyarrow as pa
import pytest

from ray_mlops.platform.sampling import thinned

ROWS = 20_000


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_about_the_share_is_kept_whatever_the_blocks(kind: pa.DataType, share: float) -> None:
    table = pa.table({"id": pa.array(range(ROWS)).cast(kind), "x": range(ROWS)})
    kept = thinned(table, "id", share)
    assert abs(kept.num_rows / ROWS - share) < 0.02
    parts = [thinned(table.slice(start, 777), "id", share) for start in range(0, ROWS, 777)]
    assert pa.concat_tables(parts).combine_chunks() == kept.combine_chunks()
    assert set(thinned(table, "id", share / 2)["x"].to_pylist()) < set(kept["x"].to_pylist())


def test_all_means_all_and_lines_without_a_key_stay() -> None:
    table = pa.table({"id": pa.array([1, None, 3])})
    assert thinned(table, "id", 1.0) is table
    assert None in thinned(table, "id", 1e-9)["id"].to_pylist()
