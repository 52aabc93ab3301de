"""What every protocol needs of an application: rows in, answers out, by the validator and the predictor of its own route.

A protocol only translates. It hands over what it read, and shows the answers and the refusals in its own words.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from fastapi import Request
from starlette.responses import Response

from ray_mlops.contract import ColumnType
from ray_mlops.errors import DataError, StorageError
from ray_mlops.serving import edge
from ray_mlops.serving.schema import BadRequest

Datatype = Literal["BOOL", "INT64", "FP64", "BYTES"]


@dataclass(frozen=True)
class Output:
    """One column of the answers: its type in the Open Inference Protocol, and how many values it has per row."""

    name: str
    datatype: Datatype
    width: int | None = None


class Columns(NamedTuple):
    """Answers as columns, `values` by the names of the outputs; `degraded` says by what they were answered where there was no
    time for the model, else it is empty: the answers of one request come one way."""

    values: dict[str, np.ndarray]
    degraded: str = ""

    @classmethod
    def of(cls, values: dict[str, np.ndarray], answers: Sequence[Mapping[str, Any]]) -> "Columns":
        """The columns made of some answers."""
        return cls(values, answers[0].get("degraded", "") if answers else "")


class Bounds(Protocol):
    """The limits of a request that every application has."""

    @property
    def max_body_bytes(self) -> int: ...
    @property
    def body_s(self) -> float: ...


class Asked(Protocol):
    """An application as protocols see it.

    `columns` are what a row holds, in the order in which rows without names bring them; `outputs` what `tensors` gives;
    `example` is a row in JSON. `version` are the fields that say which model answered.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> Mapping[str, str]: ...
    @property
    def limits(self) -> Bounds: ...
    @property
    def columns(self) -> Mapping[str, ColumnType | Literal["image"]]: ...
    @property
    def outputs(self) -> Sequence[Output]: ...
    @property
    def example(self) -> Mapping[str, Any]: ...

    async def read(self, body: bytes, content_type: str | None) -> tuple[Any, bool]:
        """The questions in a body of the application's own route, and whether they are a batch; `BadRequest` else."""
        ...

    def check(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """The questions in rows that another protocol brought; raises what `read` raises."""
        ...

    async def answer(self, questions: Any, *, request_id: str, detail: int | None = None) -> list[dict[str, Any]]:
        """One answer a question; `detail` is the number of reasons or classes, None the application's default."""
        ...

    async def tensors(self, questions: Any, *, request_id: str) -> Columns:
        """The answers as the columns `outputs`."""
        ...


async def body(asked: Asked, request: Request) -> bytes:
    """The body of a request within the application's limits."""
    return await edge.body_of(request, most_bytes=asked.limits.max_body_bytes, seconds=asked.limits.body_s)


async def shown(work: Awaitable[Response], refusal: Callable[[int, str], Response]) -> Response:
    """The response of some work, or what `refusal` makes of the status and the reason of its failure."""
    try:
        return await work
    except BadRequest as error:
        return refusal(error.status, "; ".join(f"{one.field} {one.message}".strip() for one in error.problems))
    except DataError as error:
        return refusal(422, str(error))
    except StorageError as error:
        return refusal(503, str(error))
