"""The declared shape of a table of images."""

from typing import Literal

from pydantic import Field, model_validator

from ray_mlops.contract.data import Frozen

Mode = Literal["RGB", "L"]
Format = Literal["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]
FORMATS: tuple[Format, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class ImageSchema(Frozen):
    """What the columns of a table of images are called, and which images are legal.

    `key` is unique; `image` holds the file's bytes; `label` names the class (null: not labelled); images of one `group`
    (a patient, a camera, a burst) never stand on both sides of a split. `classes` are the legal labels in the order of
    the model's outputs; empty means those found, sorted. Images are read as `mode`; smaller than `minimum_side` they are
    too small, beyond `maximum_pixels` they are taken for a decompression bomb.
    """

    classes: tuple[str, ...] = ()
    key: str = "id"
    image: str = "image"
    label: str = "label"
    group: str = "group"
    mode: Mode = "RGB"
    minimum_side: int = Field(default=8, ge=1)
    maximum_pixels: int = Field(default=50_000_000, ge=1)
    formats: tuple[Format, ...] = FORMATS

    @model_validator(mode="after")
    def _names_differ(self) -> "ImageSchema":
        names = (self.key, self.image, self.label, self.group)
        if len(set(names)) != len(names):
            raise ValueError(f"a column has two roles: {', '.join(names)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"a class is declared twice: {', '.join(self.classes)}")
        return self
