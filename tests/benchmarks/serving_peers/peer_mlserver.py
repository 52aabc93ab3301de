"""A runtime of MLServer that answers at a route of its own, in the server's process (`parallel_workers` 0)."""

import orjson
from asked import Model, Question
from fastapi import Request, Response
from mlserver import MLModel
from mlserver.handlers import custom_handler


class Fraud(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = Model()
        return True

    @custom_handler(rest_path="/score")
    async def score(self, request: Request) -> Response:
        """One score."""
        question = Question.model_validate_json(await request.body())
        return Response(orjson.dumps(self.model.answer(question)), media_type="application/json")
