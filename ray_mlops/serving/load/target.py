"""What load an endpoint gets: rows of a file, what it was asked before, or the example of its bundle."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import csv, parquet

from ray_mlops.contract import LABEL_LINE, Endpoint
from ray_mlops.errors import DataError
from ray_mlops.platform import segments
from ray_mlops.serving import probe
from ray_mlops.serving.load.client import Target

_MOST_ROWS = 5000


def target(endpoint: Endpoint, *, file: str = "", log: str = "", key: str = "", renew: bool) -> tuple[Target, str]:
    """Requests for an endpoint, and in words where they come from: `file`, the capture log `log`, or the bundle's example.

    With `renew` each transaction has an id of its own, and so takes the whole way, into the history of its entities;
    without, those that the endpoint knows count as sent again. `key` is an API key.
    """
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    where = f"{endpoint.url}/{endpoint.route}"
    model = probe.get(f"{endpoint.url}/model", key=key)
    if endpoint.route == "predict":
        picture = base64.b64decode(model["example"]["image"]).decode("latin-1")
        return Target(
            url=where, content=picture, headers={**headers, "content-type": "image/*"}
        ), "the bundle's picture"
    rows, source = _rows(model, file, log)
    name, example = model["key"], model["example"]
    text = isinstance((rows[0] if rows else example).get(name), str)
    first = (secrets.randbits(31) << 31) + 1  # no id that anybody has used
    return Target(
        url=where, rows=tuple(rows), headers=headers, key=name if renew else None, key_text=text, first_key=first
    ), source


def _rows(model: Mapping[str, Any], file: str, log: str) -> tuple[Sequence[Mapping[str, Any]], str]:
    if file:
        rows = _from_file(Path(file))
        asked = model["schema"]["anyOf"][0]["properties"]
        known = [{name: value for name, value in row.items() if name in asked and value is not None} for row in rows]
        if not known or not known[0]:
            raise DataError(f"{file} has no row with the fields of the endpoint: {', '.join(asked)}")
        return known, f"{len(known):,} rows of {file}"
    if captured := _captured(log) if log else []:
        return captured, f"{len(captured):,} captured requests"
    return [model["example"]], "the bundle's example"


def _from_file(path: Path) -> list[Mapping[str, Any]]:
    """The first rows of a Parquet, CSV or JSON lines file, times as text."""
    try:
        if path.suffix in (".jsonl", ".json"):
            with path.open("rb") as lines:
                return [orjson.loads(line) for line, _ in zip(lines, range(_MOST_ROWS), strict=False)]
        table = csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
    except (OSError, orjson.JSONDecodeError, pa.ArrowException) as error:
        raise DataError(f"cannot read requests from {path}: {error}. Give Parquet, CSV or JSON lines.") from error
    return orjson.loads(orjson.dumps(table.slice(0, _MOST_ROWS).to_pylist(), default=str))


def _captured(folder: str) -> list[Mapping[str, Any]]:
    """What was asked last, from the newest file of a capture log."""
    found = [orjson.loads(line) for line in segments.latest(folder, _MOST_ROWS)]
    asked = [
        line["inputs"] for line in found if line.get("kind") != LABEL_LINE and isinstance(line.get("inputs"), dict)
    ]
    return [{name: value for name, value in row.items() if value is not None} for row in asked]
