"""The one way from a picture to the array a model is given: in training, in batches and at the endpoint."""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from ray_mlops.contract import Frozen
from ray_mlops.vision.decoding import MAXIMUM_PIXELS, Mode, decode

Box = tuple[float, float, float, float]


class Transform(Frozen):
    """Resize to `size` (height, width) in `mode`; a value of a bundle, stored beside the weights.

    `stretch` ignores the aspect, `crop` cuts the longer side around the middle, `pad` keeps the whole picture on
    black. The result stays uint8: a model normalises by what it keeps itself.
    """

    size: tuple[int, int] = (224, 224)
    mode: Mode = "RGB"
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    maximum_pixels: int = Field(default=MAXIMUM_PIXELS, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Transform":
        if min(self.size) < 1:
            raise ValueError(f"size {self.size} is (height, width), both at least 1")
        return self

    @property
    def channels(self) -> int:
        return 3 if self.mode == "RGB" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """What `apply` gives: (height, width, channels)."""
        return (*self.size, self.channels)

    def read(self, data: bytes) -> np.ndarray:
        """The bytes of a picture as uint8 `shape`; raises `Undecodable`."""
        return self.apply(decode(data, self.mode, maximum_pixels=self.maximum_pixels))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """A uint8 picture `(height, width, channels)` of any size as uint8 `shape`; always the same for the same."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels:
            raise ValueError(f"a picture is uint8 (height, width, {self.channels}), not {image.dtype} {image.shape}")
        if image.shape == self.shape:
            return image
        if self.resize == "pad":
            return self._padded(image)
        return self._resized(image, self.size, self._window(image) if self.resize == "crop" else None)

    def _window(self, image: np.ndarray) -> Box:
        """The part around the middle that has the aspect of the result, in pixels of the picture."""
        height, width = image.shape[:2]
        scale = min(height / self.size[0], width / self.size[1])
        high, wide = scale * self.size[0], scale * self.size[1]
        left, top = (width - wide) / 2, (height - high) / 2
        return (left, top, left + wide, top + high)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        high, wide = (
            max(1, min(round(scale * side), end)) for side, end in zip((height, width), self.size, strict=True)
        )
        canvas = np.zeros(self.shape, np.uint8)
        top, left = (self.size[0] - high) // 2, (self.size[1] - wide) // 2
        canvas[top : top + high, left : left + wide] = self._resized(image, (high, wide))
        return canvas

    def _resized(self, image: np.ndarray, size: tuple[int, int], box: Box | None = None) -> np.ndarray:
        picture = Image.fromarray(image if self.channels == 3 else image[:, :, 0])
        pixels = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box))
        return pixels if self.channels == 3 else pixels[:, :, None]
