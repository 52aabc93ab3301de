"""A runtime of MLServer that answers at a route of its own, in the server's process (`parallel_workers` 0)."""

from fastapi import Request, Response
from mlserver import MLModel
from mlserver.handlers import custom_handler
from transaction import Model, Transaction


class Fraud(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = Model()
        return True

    @custom_handler(rest_path="/score")
    async def score(self, request: Request) -> Response:
        """One score."""
        transaction = Transaction.model_validate_json(await request.body())
        answer = self.model.answer(transaction)
        return Response(f'{{"id":{answer["id"]},"score":{answer["score"]!r}}}', media_type="application/json")
