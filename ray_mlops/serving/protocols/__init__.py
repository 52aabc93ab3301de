"""What an endpoint speaks besides its own routes: each protocol a translation onto one schema and one predictor."""

from fastapi import FastAPI

from ray_mlops.serving.protocols import sagemaker
from ray_mlops.serving.protocols.asked import Asked, body

__all__ = ["add", "body"]


def add(app: FastAPI, asked: Asked) -> None:
    """Have an application answer in every protocol."""
    sagemaker.add(app, asked)
