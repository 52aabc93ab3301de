"""What an endpoint speaks besides its own routes: each protocol a translation onto one schema and one predictor."""

from fastapi import FastAPI

from ray_mlops.serving.access import guard
from ray_mlops.serving.protocols import open_inference, sagemaker
from ray_mlops.serving.protocols.asked import Asked, body

__all__ = ["add", "body", "words"]


def add(app: FastAPI, asked: Asked) -> None:
    """Have an application answer in every protocol."""
    sagemaker.add(app, asked)
    open_inference.add(app, asked)


def words(path: str) -> guard.Words:
    """How who asks for a path without a key is refused: each client knows only the errors of its own protocol."""
    if path.startswith(open_inference.PREFIX):
        return open_inference.refusal
    return sagemaker.refusal if path.startswith(sagemaker.PREFIX) else guard.native
