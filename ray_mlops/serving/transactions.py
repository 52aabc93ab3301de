"""Transactions as every protocol asks for them: the schema that checks them, and the scorer that answers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import orjson

from ray_mlops.contract import ColumnType
from ray_mlops.serving import edge
from ray_mlops.serving.access import nesting
from ray_mlops.serving.deadline import Turn, in_time
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.protocols.asked import Columns, Output
from ray_mlops.serving.rollouts.transactions import TransactionSwitch
from ray_mlops.serving.schema import BATCH, BadRequest, Problem, RequestSchema
from ray_mlops.serving.scoring import Scorer

T = TypeVar("T")


class Run(Protocol):
    """Runs work where requests do not wait for it."""

    def __call__(self, work: Callable[[], T], /) -> "asyncio.Future[T]": ...


@dataclass(frozen=True)
class Transactions:
    """`protocols.asked.Asked` for transactions; `name` is the endpoint's."""

    name: str
    scorer: Scorer
    schema: RequestSchema
    limits: Limits
    run: Run
    example: Mapping[str, Any]
    rollout: TransactionSwitch

    @property
    def version(self) -> Mapping[str, str]:
        return {"model": self.name, **self.rollout.switch.told()}

    @property
    def columns(self) -> Mapping[str, ColumnType]:
        data = self.scorer.predictor.definition.data
        return {name: data.column(name).type for name in self.schema.names}

    @property
    def outputs(self) -> Sequence[Output]:
        data = self.scorer.predictor.definition.data
        key = Output("id", "INT64" if data.column(data.key).type == "int64" else "BYTES")
        return (key, Output("score", "FP64"), Output("probability", "FP64"), Output("decision", "BYTES"))

    async def read(self, body: bytes, content_type: str | None) -> tuple[list[Mapping[str, Any]], bool]:
        return self.schema.read(nesting.checked(body, content_type))

    def check(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        try:
            return self.schema.read(orjson.dumps({BATCH: rows}))[0]
        except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
            raise edge.refused(422, f"a value cannot be read: {error}") from None
        except BadRequest as error:  # no caller of these protocols has sent the word `transactions`
            told = [Problem(field=one.field.replace(BATCH, "rows", 1), message=one.message) for one in error.problems]
            raise BadRequest(error.status, told) from None

    async def answer(
        self, questions: Sequence[Mapping[str, Any]], *, request_id: str, detail: int | None = None
    ) -> list[dict[str, Any]]:
        reasons, turn, scorer = self.limits.reasons if detail is None else detail, Turn(), self.scorer
        if self.rollout.switch.idle:
            if scorer.quick(questions, reasons):
                return scorer.score(questions, reasons=0, request_id=request_id)
            work = self.run(lambda: scorer.score(questions, reasons=reasons, request_id=request_id, turn=turn))
        else:
            chosen = self.rollout.score(self.run, questions, reasons=reasons, request_id=request_id, turn=turn)
            work = asyncio.ensure_future(chosen)
        instead = partial(scorer.degraded, questions, request_id=request_id) if scorer.substitute else None
        return await in_time(work, instead, turn, self.limits.deadline_s)

    async def tensors(self, questions: Sequence[Mapping[str, Any]], *, request_id: str) -> Columns:
        answers = await self.answer(questions, request_id=request_id, detail=0)
        values = {one.name: np.array([answer[one.name] for answer in answers]) for one in self.outputs}
        return Columns.of(values, answers)
