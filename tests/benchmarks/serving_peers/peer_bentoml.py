"""BentoML with one worker; started by `bentoml serve peer_bentoml:Fraud`."""

from typing import Any

import bentoml
from asked import Model, Question


@bentoml.service(workers=1, traffic={"timeout": 30}, metrics={"enabled": True})
class Fraud:
    """The service."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/score")
    async def score(self, question: Question, /) -> dict[str, Any]:  # pyright: ignore[reportInvalidTypeForm]
        """One score."""
        return self.model.answer(question)
