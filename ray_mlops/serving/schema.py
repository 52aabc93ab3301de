"""What a caller may send: validators made from the declared schema, and errors that name the field.

A request to score is one transaction (`{...}`) or a batch (`{"transactions": [{...}, ...]}`). It must bring every column
the features ask for; other declared columns are welcome and checked; anything else is refused. A label, or a batch of
`labels`, is what a transaction lacked: its key and its label, and when the label became known where the data say that.
Types are strict: a number in quotes is no number. A time without an offset is read in the schema's time zone.
"""

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired
from zoneinfo import ZoneInfo

import orjson
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ray_mlops.contract import Column, Frozen
from ray_mlops.fraud.features import FeatureDefinition

BATCH = "transactions"
LABELS = "labels"
_INT64 = 1 << 63
_YEARS = (1900, 2200)  # inside what nanosecond and microsecond clocks can hold, whatever the time zone
_LONGEST_STRING = 10_000
_MOST_PROBLEMS = 20
_LARGE = 4 << 20  # bytes
_PART = 500  # rows


class Problem(Frozen):
    """What is wrong with one field; `field` is its path, `transactions.3.amount`, or empty for the whole body."""

    field: str
    message: str


class BadRequest(Exception):
    """A request that cannot be scored, with its HTTP status and the problems found."""

    def __init__(self, status: int, problems: Sequence[Problem]) -> None:
        super().__init__(status, problems)
        self.status = status
        self.problems = tuple(problems)


def transaction_schema(definition: FeatureDefinition, *, most: int) -> "RequestSchema":
    """What `POST /score` takes: one transaction or at most `most`."""
    names = [name for name in definition.data.names if name not in _answers(definition)]
    return RequestSchema("transaction", BATCH, {name: _field(definition, name) for name in names}, most=most)


def label_schema(definition: FeatureDefinition, *, most: int) -> "RequestSchema":
    """What `POST /labels` takes: one label or at most `most`."""
    data = definition.data
    names = [data.key, data.label] + ([data.label_time] if data.label_time else [])
    fields = {name: _described(data.column(name), data.timezone) for name in names}
    return RequestSchema("label", LABELS, fields, most=most)


class RequestSchema:
    """Reads request bodies into mappings from column to value, times as aware UTC `datetime`; `names` are the columns."""

    def __init__(self, item: str, batch: str, fields: Mapping[str, Any], *, most: int) -> None:
        self._item, self._list, self.names, self._most = item, batch, list(fields), most
        one = _record(item.title(), fields)
        listed = Annotated[list[one], Field(min_length=1, max_length=most)]
        self._one = TypeAdapter(one)
        self._batch = TypeAdapter(_record("Batch", {batch: listed}))

    def read(self, body: bytes) -> tuple[list[Mapping[str, Any]], bool]:
        """What a request body holds, and whether it was a batch.

        Raises `BadRequest`: 400 when it is not JSON, 413 when it is too many, 422 naming the fields otherwise.
        """
        if len(body) > _LARGE and (rows := self._rows(body)):
            return self._in_parts(rows), True
        try:
            return [self._one.validate_json(body)], False
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise BadRequest(
                400,
                [Problem(field="", message=f"the body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")],
            )
        if not any(problem["loc"] == (self._list,) for problem in found):
            raise BadRequest(422, self._problems(found))
        try:
            return self._batch.validate_json(body)[self._list], True
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        raise BadRequest(413 if found[0]["type"] == "too_long" else 422, self._problems(found))

    def _rows(self, body: bytes) -> list[Any]:
        """What a batch holds, unchecked; nothing where it is none, or too large."""
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError:
            return []
        rows = given[self._list] if isinstance(given, dict) and given.keys() == {self._list} else []
        return rows if isinstance(rows, list) and len(rows) <= self._most else []

    def _in_parts(self, rows: list[Any]) -> list[Mapping[str, Any]]:
        """The rows of a large batch, some at a time: other threads have their turn in between."""
        read: list[Mapping[str, Any]] = []
        for start in range(0, len(rows), _PART):
            part = orjson.dumps({self._list: rows[start : start + _PART]})
            try:
                read += self._batch.validate_json(part)[self._list]
            except ValidationError as error:
                found = error.errors(include_url=False, include_input=False)
                placed = [{**one, "loc": (self._list, int(one["loc"][1]) + start, *one["loc"][2:])} for one in found]
                raise BadRequest(422, self._problems(placed)) from None
        return read

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of a request body, without references: it goes into larger documents."""
        one = self._one.json_schema()
        listed = {"type": "array", "items": one, "minItems": 1, "maxItems": self._most}
        batch = {
            "title": "Batch",
            "type": "object",
            "required": [self._list],
            "additionalProperties": False,
            "properties": {self._list: listed},
        }
        return {"title": f"One {self._item} or a batch", "anyOf": [one, batch]}

    def _problems(self, found: Sequence[Any]) -> list[Problem]:
        return [
            Problem(field=".".join(map(str, problem["loc"])), message=self._message(problem))
            for problem in found[:_MOST_PROBLEMS]
        ]

    def _message(self, problem: Mapping[str, Any]) -> str:
        kind, name = problem["type"], str(problem["loc"][-1]) if problem["loc"] else ""
        if kind == "missing":
            return "is missing"
        if kind == "dict_type" and not name:
            return f'is neither a {self._item} {{...}} nor a batch {{"{self._list}": [...]}}'
        if kind != "extra_forbidden":
            return problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if name in self.names:
            return f"belongs inside a {self._item}, not beside {self._list!r}"
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(self.names)}"
        return f"is not a field of a {self._item}; {hint}"


def _record(name: str, fields: Mapping[str, Any]) -> Any:
    """The type of a JSON object with these fields and no others, none of them converted from another type."""
    kind: Any = TypedDict(name, dict(fields))  # pyright: ignore[reportArgumentType]
    return with_config(ConfigDict(extra="forbid", strict=True))(kind)


def _answers(definition: FeatureDefinition) -> set[str | None]:
    """The columns nobody knows yet when a transaction is scored."""
    return {definition.data.label, definition.data.label_time}


def _field(definition: FeatureDefinition, name: str) -> Any:
    column = definition.data.column(name)
    kind = _described(column, definition.data.timezone)
    if column.nullable:
        return NotRequired[kind | None]
    return kind if name in definition.asked else NotRequired[kind]


def _described(column: Column, timezone: str) -> Any:
    kind = _kind(column, timezone)
    return Annotated[kind, Field(description=column.description)] if column.description else kind


def _kind(column: Column, timezone: str) -> Any:
    if column.type == "timestamp":
        documented = Field(max_length=64, json_schema_extra={"format": "date-time"})
        return Annotated[str, documented, AfterValidator(_Clock(timezone))]
    if column.domain is not None:
        return Literal[column.domain]  # pyright: ignore[reportInvalidTypeForm]
    if column.type == "string":
        return Annotated[str, Field(max_length=_LONGEST_STRING)]
    if column.type == "bool":
        return bool
    if column.type == "int64":
        low = max(-_INT64, column.minimum if column.minimum is not None else -_INT64)
        high = min(_INT64 - 1, column.maximum if column.maximum is not None else _INT64 - 1)
        return Annotated[int, Field(ge=low, le=high)]
    return Annotated[float, Field(ge=column.minimum, le=column.maximum, allow_inf_nan=False)]


class _Clock:
    """From the text of a time to aware UTC."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)

    def __call__(self, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("is not an ISO 8601 time such as 2026-01-31T12:00:00Z") from None
        if not _YEARS[0] <= moment.year < _YEARS[1]:
            raise ValueError(f"is outside the years {_YEARS[0]} to {_YEARS[1]}")
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).astimezone(UTC)
