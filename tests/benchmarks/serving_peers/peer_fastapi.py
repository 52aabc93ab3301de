"""Bare FastAPI; started by `uvicorn peer_fastapi:app`."""

from typing import Any

from fastapi import FastAPI
from transaction import Model, Transaction

app = FastAPI()
MODEL = Model()


@app.post("/score")
async def score(transaction: Transaction) -> dict[str, Any]:  # pyright: ignore[reportInvalidTypeForm]
    """One score."""
    return MODEL.answer(transaction)
