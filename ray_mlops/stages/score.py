"""Score a file: batch scoring with a registered version, by the predictor that also answers over HTTP.

Features come from the rows of the file together with the history the model was made from, so that the windows of the
first rows are as full as those of the last. They are computed in this process; Ray scores the blocks in parallel.
"""

from functools import lru_cache, partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute

from ray_mlops.contract import ModelVersion, Schema, Table
from ray_mlops.errors import DataError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import ACTIONS, Predictor
from ray_mlops.platform import content, files, row_groups, tables
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.platform.casting import ERROR, cast
from ray_mlops.platform.formats import Csv, JsonLines, Parquet
from ray_mlops.platform.sources import FileSource

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_FORMATS: tuple[type[FileSource], ...] = (Parquet, Csv, JsonLines)
_ROWS_PER_BLOCK = 100_000
_PLACE = "place"


def score_file(version: ModelVersion, path: str, out: str, *, reasons: int = 0) -> int:
    """Score the transactions in a Parquet, CSV or JSON-lines file into the Parquet file `out`; returns their number.

    The result has key, `score`, `probability`, `decision`, `version` and, if asked for, the strongest `reasons` of each row in
    words, in the order of the file. Raises `DataError`
    when the file cannot be read as transactions; then nothing is written.
    """
    definition = _predictor(version.uri, version.digest).definition
    table = read_transactions(path, definition)
    scored = _score(features_of(table, definition, version.uri), version, reasons)
    key = definition.data.key
    numbered = scored.append_column("version", pa.array([version.version] * table.num_rows))
    row_groups.write(numbered.add_column(0, key, table[key]), out)
    return table.num_rows


def read_transactions(path: str, definition: FeatureDefinition) -> pa.Table:
    """The columns the model asks for, in their declared types; raises `DataError` for the first row that has not."""
    source, schema = _source(path), _asked(definition)
    clock, parts = source.clock(schema), []
    for piece in source.pieces(schema):
        for lines in piece.read():
            if lines.bad:
                raise DataError(f"{piece.label}, {lines.bad[0].where}: {lines.bad[0].why}")
            parts.append(_checked(cast(source.mapped(lines.table, schema, piece.label), schema, clock), schema, path))
    if not parts or not sum(part.num_rows for part in parts):
        raise DataError(f"{path} has no rows to score")
    return pa.concat_tables(parts).drop_columns(ERROR).combine_chunks()


def features_of(table: pa.Table, definition: FeatureDefinition, bundle: str) -> np.ndarray:
    """What the model reads of each row of a table with the `asked` columns: float32 `(rows, features)`, in its order."""
    for name in definition.needed:
        if name not in table.column_names:  # the label, which nobody knows yet
            kind = content.ARROW_TYPES[definition.data.column(name).type]
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    table = table.select(definition.needed)
    earlier = _history(table, definition, bundle)
    together = pa.concat_tables([earlier, table]) if earlier is not None else table
    return definition.encode(definition.compute(together).slice(together.num_rows - table.num_rows))


def _asked(definition: FeatureDefinition) -> Schema:
    """The schema of a file to be scored. A schema must name a label, and here there is none: the key stands in."""
    data = definition.data
    columns = tuple(data.column(name) for name in definition.asked)
    return Schema(columns=columns, key=data.key, time=data.time, label=data.key, timezone=data.timezone)


def _source(path: str) -> FileSource:
    for kind in _FORMATS:
        if path.lower().endswith(kind.suffixes):
            return kind(path=path)
    known = ", ".join(suffix for kind in _FORMATS for suffix in kind.suffixes)
    raise DataError(f"{path} has no known ending; known are {known}")


def _checked(table: pa.Table, schema: Schema, path: str) -> pa.Table:
    bad = table.filter(table[ERROR].is_valid())
    if bad.num_rows:
        row = bad.slice(0, 1).to_pylist()[0]
        values = ", ".join(f"{name} is {value!r}" for name, value in orjson.loads(row[ERROR])["values"].items())
        raise DataError(f"{path}: {schema.key} {row[schema.key]}: {values}; declared otherwise")
    for column in schema.columns:
        if not column.nullable and table[column.name].null_count:
            raise DataError(
                f"{path}: {table[column.name].null_count:,} rows have no {column.name}, which may not be missing"
            )
    return table


def _history(table: pa.Table, definition: FeatureDefinition, bundle: str) -> pa.Table | None:
    """The rows of the model's own history that the windows of the table reach, without those of the table."""
    path = origin(bundle)
    if not definition.windows or not files.exists(path):
        return None
    history = Table.model_validate(files.read_json(path)["history"])
    data, reach = definition.data, max(window.reach_us for window in definition.windows)
    times = table[data.time]
    start = pc.subtract(pc.min(times), pa.scalar(reach, pa.duration("us")))
    within = (pc.field(data.time) >= start) & (pc.field(data.time) <= pc.max(times))
    earlier = tables.load(history, table.column_names, within).cast(table.schema)
    return earlier.filter(pc.invert(pc.is_in(earlier[data.key], table[data.key].combine_chunks())))


def _score(rows: np.ndarray, version: ModelVersion, reasons: int) -> pa.Table:
    import ray.data

    places = np.array_split(np.arange(len(rows)), -(-len(rows) // _ROWS_PER_BLOCK))
    values = [pa.FixedSizeListArray.from_arrays(pa.array(rows[part].ravel()), rows.shape[1]) for part in places]
    blocks = [pa.table({_PLACE: part, "row": value}) for part, value in zip(places, values, strict=True)]
    scored = ray.data.from_arrow(blocks).map_batches(
        partial(_score_block, uri=version.uri, digest=version.digest, reasons=reasons),
        batch_size=None,
        batch_format="pyarrow",
    )
    found = pa.concat_tables(list(scored.iter_batches(batch_size=None, batch_format="pyarrow")))
    return found.sort_by(_PLACE).drop_columns(_PLACE)


def _score_block(block: pa.Table, uri: str, digest: str, reasons: int) -> pa.Table:
    column, predictor = block["row"].combine_chunks(), _predictor(uri, digest)
    rows = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    scores = predictor.score(rows)
    decisions = [ACTIONS[action] for action in scores.action]
    columns: dict[str, Any] = {"score": scores.score, "probability": scores.probability, "decision": decisions}
    if reasons:
        told = [[reason["text"] for reason in row] for row in predictor.reasons(rows, reasons)]
        columns["reasons"] = pa.array(told, pa.list_(pa.string()))
    return pa.table({_PLACE: block[_PLACE], **columns})


@lru_cache(maxsize=1)
def _predictor(uri: str, digest: str) -> Predictor:
    """One verified load per process."""
    return Predictor.load(Bundle.load(uri, digest=digest))
