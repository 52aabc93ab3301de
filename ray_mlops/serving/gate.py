"""The gate before an endpoint: part of the history goes through the code that answers requests, and must give what the
batch path gave."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pyarrow as pa

from ray_mlops.contract import Progress, Table
from ray_mlops.errors import SkewError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.split import EPOCH
from ray_mlops.online import ParityReport, parity
from ray_mlops.online.contract import Event
from ray_mlops.online.replay import Reader
from ray_mlops.online.sample import sample
from ray_mlops.serving.schema import BATCH, BadRequest, transaction_schema

ROWS_PER_REQUEST = 100


def check(definition: FeatureDefinition, history: pa.Table, rows: int, *, store: str, progress: Progress) -> int:
    """Compare a sample of at most `rows` rows, on an empty store of the kind that the URL `store` names; the number
    compared.

    A third of the sample is history, as at a first deployment, the rest comes in requests. Raises `SkewError` naming
    feature, entity and row where they differ, or the field of a row that no request could bring.
    """
    chosen = sample(definition, history, rows)
    return compare(definition, chosen, chosen.num_rows - chosen.num_rows // 3, store=store, progress=progress).rows


def compare(
    definition: FeatureDefinition, table: pa.Table | Table, rows: int | None, *, store: str, progress: Progress
) -> ParityReport:
    """`online.parity` of the last `rows` rows (None: all), which come in requests; `SkewError` where they differ."""
    report = parity(
        definition,
        table,
        rows,
        url=store,
        rows_per_batch=ROWS_PER_REQUEST,
        read=requests(definition, most=ROWS_PER_REQUEST),
        progress=progress,
    )
    if report.first:
        raise SkewError(str(report))
    return report


def requests(definition: FeatureDefinition, *, most: int) -> Reader:
    """Makes of at most `most` rows the events that the endpoint would make of a request with them."""
    schema, time, key = transaction_schema(definition, most=most), definition.data.time, definition.data.key

    def read(rows: list[dict[str, Any]]) -> Sequence[Event]:
        sent = [{**row, time: EPOCH + timedelta(microseconds=row[time])} for row in rows]
        try:
            return schema.read(orjson.dumps({BATCH: sent}))[0]
        except BadRequest as error:
            _, place, field = error.problems[0].field.split(".", 2)
            event = rows[int(place)][key]
            raise SkewError(
                f"the endpoint would refuse event {event} of the table: {field} {error.problems[0].message}"
            ) from None

    return read
