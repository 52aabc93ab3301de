"""Pieces of sources on their way to the processes that read them: as JSON, so that nothing has to be unpickled."""

import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, TypeAdapter

from ray_mlops.vision.datasets import Digits, TorchvisionSet
from ray_mlops.vision.folders import ImageFolder, Manifest
from ray_mlops.vision.shards import ImageParquet, TarShards
from ray_mlops.vision.sources import Piece

AnyImageSource = Annotated[
    ImageFolder | ImageParquet | Manifest | TarShards | TorchvisionSet | Digits, Field(discriminator="kind")
]
_SOURCE: TypeAdapter[AnyImageSource] = TypeAdapter(AnyImageSource)


def packed(pieces: Sequence[Piece]) -> str:
    """Pieces as JSON."""
    return json.dumps([[piece.source.model_dump(mode="json"), *piece[1:]] for piece in pieces])


def unpacked(text: str) -> list[Piece]:
    """The pieces in what `packed` gave; raises `ValueError` for anything else."""
    return [Piece(_SOURCE.validate_python(source), *rest) for source, *rest in json.loads(text)]
