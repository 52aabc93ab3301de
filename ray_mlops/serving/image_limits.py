"""What one request with pictures may ask for."""

from typing import Literal

from pydantic import Field

from ray_mlops.serving.limits import RequestLimits


class ImageLimits(RequestLimits):
    """Bounds of a request. `top` is how many classes an answer gives when the caller does not say. `batch` is how many
    pictures the model is given at once. What has not been answered at the deadline is answered with how often each class
    came in training (`prior`), or with 503. The size of a picture in pixels is bounded by the transform of the bundle."""

    max_body_bytes: int = Field(default=20_000_000, gt=0)
    max_images: int = Field(default=64, gt=0)
    top: int = Field(default=5, ge=1)
    batch: int = Field(default=32, ge=1)
    degraded: Literal["prior", "error"] = "prior"
