"""What one request with pictures may ask for."""

from pydantic import Field

from ray_mlops.contract import Frozen


class ImageLimits(Frozen):
    """Bounds of a request. `deadline_s` is for reading its body and, separately, for answering it; `top` is how many
    classes an answer gives when the caller does not say. `batch` is how many pictures the model is given at once. The
    size of a picture in pixels is bounded by the transform of the bundle."""

    max_body_bytes: int = Field(default=20_000_000, gt=0)
    max_images: int = Field(default=64, gt=0)
    top: int = Field(default=5, ge=1)
    batch: int = Field(default=32, ge=1)
    deadline_s: float = Field(default=10.0, gt=0)
