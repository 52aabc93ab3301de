"""Bare FastAPI; started by `uvicorn peer_fastapi:app`."""

from typing import Any

from asked import Model, Question
from fastapi import FastAPI

app = FastAPI()
MODEL = Model()


@app.post("/score")
async def score(question: Question) -> dict[str, Any]:  # pyright: ignore[reportInvalidTypeForm]
    """One score."""
    return MODEL.answer(question)
