"""A fitted image classifier: probabilities, heat maps of what spoke for a class, and its files (no pickle among them)."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_mlops.algorithms import own_module

if TYPE_CHECKING:
    from torch import Tensor, nn

_CHUNK = 256


@dataclass(frozen=True)
class Plan:
    """What a network is and how it takes pictures: all of a model but its weights.

    `shape` is (height, width, channels); `mean` and `std` are per channel, of pixels as shares of 255. With `both_ways` it
    answers the mean of what it says of a picture and of its mirror image.
    """

    network: str
    widths: tuple[int, ...]
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    blocks: tuple[int, ...] | None = None
    both_ways: bool = False

    def normaliser(self, device: str) -> "Callable[[Tensor], Tensor]":
        """What turns pictures `(rows, height, width, channels)` uint8 into what a network takes, channels second."""
        import torch

        mean, std = (torch.tensor(values, device=device) for values in (self.mean, self.std))
        scale, shift = 1 / (255 * std), -mean / std
        return lambda images: (images * scale + shift).permute(0, 3, 1, 2)


class ImageModel:
    """A network in evaluation with its plan; it answers on the device where the network lies."""

    WEIGHTS, PLAN = "model.safetensors", "model.json"

    def __init__(self, network: "nn.Module", plan: Plan) -> None:
        self.network, self.plan = network.eval(), plan

    @property
    def device(self) -> str:
        """Where the network lies."""
        return str(next(self.network.parameters()).device)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """The probability of each class `(rows, classes)` float32 for pictures `(rows, height, width, channels)` uint8."""
        import torch

        with torch.inference_mode():
            parts = [self._probabilities(part).cpu() for part in self._parts(batch)]
        return torch.cat(parts).numpy() if parts else np.empty((0, len(self.plan.names)), dtype=np.float32)

    def _probabilities(self, images: "Tensor") -> "Tensor":
        import torch

        from ray_mlops.algorithms.networks import logits_of

        views = (images, images.flip(3)) if self.plan.both_ways else (images,)
        found = [torch.softmax(logits_of(self.network(view)).float(), dim=1) for view in views]
        return torch.stack(found).mean(dim=0) if self.plan.both_ways else found[0]

    def embed(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `predict` gives, and what the head of the network is given of the pictures as they are, `(rows, dimensions)`
        float32; no dimensions of a graph, which does not tell its head."""
        from ray_mlops.algorithms.networks import given_to_head

        with given_to_head(self.network) as given:
            probabilities = self.predict(batch)
        given = given[:: 1 + self.plan.both_ways]
        return probabilities, np.concatenate(given) if given else np.empty((len(batch), 0), np.float32)

    def explain(self, batch: np.ndarray) -> np.ndarray:
        """How much each pixel spoke for the predicted class, `(rows, height, width)` float32 in [0, 1]."""
        from ray_mlops.algorithms.heat_maps import heat_maps

        parts = [heat_maps(self.network, part) for part in self._parts(batch)]
        return np.concatenate(parts) if parts else np.empty((0, *self.plan.shape[:2]), dtype=np.float32)

    def _parts(self, batch: np.ndarray) -> "Iterator[Tensor]":
        import torch

        normalised, device = self.plan.normaliser(self.device), self.device
        for start in range(0, len(batch), _CHUNK):
            chunk = np.ascontiguousarray(batch[start : start + _CHUNK])
            yield normalised(torch.from_numpy(chunk).to(device))

    def save(self, path: str) -> None:
        """Write plan and weights into folder `path`; a user's module as a graph that needs no code of the user."""
        import torch

        os.makedirs(path, exist_ok=True)
        (Path(path) / self.PLAN).write_text(json.dumps(asdict(self.plan), indent=1))
        if own_module.is_own(self.plan.network):
            height, width, channels = self.plan.shape
            example = torch.zeros(2, channels, height, width, device=self.device)
            own_module.save(self.network, str(Path(path) / own_module.GRAPH), example)
        else:
            write_tensors(self.network.state_dict(), str(Path(path) / self.WEIGHTS))

    @classmethod
    def read(cls, path: str) -> "ImageModel":
        """Read what `save` wrote, onto the GPU when this process has one."""
        import torch
        from safetensors.torch import load_file

        from ray_mlops.algorithms import networks

        found = json.loads((Path(path) / cls.PLAN).read_text())
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        plan = Plan(**fields)
        if own_module.is_own(plan.network):
            network = networks.Graph(own_module.load(str(Path(path) / own_module.GRAPH)))
        else:
            network = networks.build(plan.network, plan.shape, len(plan.names), plan.widths, plan.blocks)
            network.load_state_dict(load_file(str(Path(path) / cls.WEIGHTS)))
            network = network.to(memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
        return cls(network.to("cuda" if torch.cuda.is_available() else "cpu"), plan)


def write_tensors(tensors: "dict[str, Tensor]", path: str) -> None:
    """Write named tensors as safetensors, each on its own and in plain order."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, path)
