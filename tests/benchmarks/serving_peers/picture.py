"""What every server has alike for pictures: the file in base64, checked and decoded, and its class by the same two layers."""

import base64
import binascii
import io
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(os.environ["BENCHMARK_MODEL"])  # weights.npz
SIDE = 28


def _pixels(text: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG", "JPEG"]) as image:
            return np.asarray(image.convert("L").resize((SIDE, SIDE)))
    except (OSError, binascii.Error) as error:
        raise ValueError(f"is no picture: {error}") from None


class Question(BaseModel):
    """One picture."""

    model_config = ConfigDict(extra="forbid", strict=True)
    image: Annotated[str, Field(max_length=1_000_000)]


class Model:
    """The network."""

    def __init__(self) -> None:
        weights = np.load(FOLDER / "weights.npz")
        self._first, self._second = weights["first"], weights["second"]

    def answer(self, question: Any) -> dict[str, Any]:
        """What is answered to a picture."""
        return self.told(question.image)

    def told(self, text: str) -> dict[str, Any]:
        """What is answered to the text of a picture."""
        pixels = _pixels(text).reshape(1, -1).astype(np.float32) / 255
        margins = np.maximum(pixels @ self._first, 0) @ self._second
        powers = np.exp(margins - margins.max())
        place = int(powers.argmax())
        return {"class": str(place), "probability": float(powers[0, place] / powers.sum())}
