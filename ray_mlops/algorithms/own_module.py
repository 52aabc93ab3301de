"""A user's own `torch.nn.Module` as the network of an image classifier: described by its weights, saved as a graph.

What a trained module computes is written down with `torch.export`, so a bundle needs none of the user's code. The
format can carry pickled objects; what does is refused, before torch reads it.
"""

import hashlib
import json
import sys
import zipfile
from typing import TYPE_CHECKING, Any

from ray_mlops.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

GRAPH = "network.pt2"
_PREFIX = "module"


class OwnModule:
    """A user's module in a recipe; called, it gives a fresh copy, so that each fit starts from the weights it brings."""

    def __init__(self, module: "nn.Module") -> None:
        self.module = module

    def __call__(self, images: "Tensor", classes: int) -> "nn.Module":
        from ray_mlops.algorithms.networks import fresh_copy

        return fresh_copy(self.module, images, classes)

    def __str__(self) -> str:
        """`module:<class>:<digest>`, the digest being that of the structure and the weights it brings."""
        found = hashlib.blake2b(repr(self.module).encode(), digest_size=8)
        for name, value in self.module.state_dict().items():
            found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return f"{_PREFIX}:{type(self.module).__qualname__}:{found.hexdigest()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnModule) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def wrapped(value: Any) -> Any:
    """A module as `OwnModule`; a name or a wrapped module stays as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return OwnModule(value)
    if isinstance(value, (str, OwnModule)):
        return value
    raise ValueError("a network is the name of one, or an object of torch.nn.Module")


def is_own(name: str) -> bool:
    """Whether a described network was a user's module."""
    return name.startswith(f"{_PREFIX}:")


def save(network: "nn.Module", path: str, images: "Tensor") -> None:
    """Write the graph and the weights of a network in evaluation, for any number of pictures like `images`."""
    import torch
    from torch.export import Dim

    exported = torch.export.export(network.eval(), (images,), dynamic_shapes=({0: Dim("rows")},))
    exported.example_inputs = None  # pyright: ignore[reportAttributeAccessIssue] - they would be pickled
    torch.export.save(exported, path)


def load(path: str) -> "nn.Module":
    """Read what `save` wrote; raises `DataError` when the file holds anything that is pickled."""
    import torch

    _refuse_pickles(path)
    return torch.export.load(path).module()


def _refuse_pickles(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            configured = entry.filename.endswith(".json") and _names_pickles(json.loads(archive.read(entry)))
            if configured or (entry.filename.endswith(".pt") and entry.file_size):
                raise DataError(f"{path}: {entry.filename} holds pickled objects, which run code: do not load it")


def _names_pickles(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value.get("use_pickle")) or any(_names_pickles(item) for item in value.values())
    return isinstance(value, list) and any(_names_pickles(item) for item in value)
