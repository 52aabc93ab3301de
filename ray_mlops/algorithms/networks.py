"""The networks of the image classifier: a small residual one of ours, torchvision's by name, a user's own module.

All of torch is loaded with this module, so it is imported only where a network is built.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_mlops.errors import ConfigError

SMALL_RESIDUAL = "small_residual"


class SmallResidual(nn.Module):
    """A residual network for pictures of 8 to 64 pixels: the first width is the stem, each other one halves the size.

    `blocks` says how many residual blocks follow at each width, the stem's included; without it every other stage, from
    the last one back, has one. The head sees the largest value of each channel, and its logits are scaled down: of
    largest values they come out so large that a fit starts from certainties, most of them wrong (CIFAR-10 in 24 epochs:
    85.7 % without, 90.5 % with it).
    """

    SCALE = 0.125

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...], blocks: tuple[int, ...] | None) -> None:
        super().__init__()
        last = len(widths) - 1
        blocks = blocks or tuple(int(stage > 0 and (last - stage) % 2 == 0) for stage in range(len(widths)))
        stages: list[nn.Module] = []
        for inputs, width, count in zip((channels, *widths), widths, blocks, strict=False):
            stages.append(_convolution(inputs, width))
            if len(stages) > 1:
                stages.append(nn.MaxPool2d(2, ceil_mode=True))
            stages += [_Residual(width) for _ in range(count)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(rows, classes)` of normalised pictures `(rows, channels, height, width)`."""
        return self.head(self.stages(images).amax(dim=(2, 3))) * self.SCALE


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.block(values)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Graph(nn.Module):
    """A network read from a graph, which was written in evaluation and knows nothing else."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised pictures."""
        return self.graph(images)

    def train(self, mode: bool = True) -> "Graph":
        """Nothing to change."""
        return self


def known(name: str) -> bool:
    """Whether there is such a network, ours or a classification model of torchvision."""
    if name == SMALL_RESIDUAL:
        return True
    from torchvision import models  # seconds, so only for its own networks

    return name in models.list_models(module=models)


def build(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    widths: tuple[int, ...],
    blocks: tuple[int, ...] | None = None,
) -> nn.Module:
    """A fresh network for pictures of `shape` (height, width, channels) with `classes` outputs."""
    height, _, channels = shape
    if name == SMALL_RESIDUAL:
        return SmallResidual(channels, classes, widths, blocks)
    from torchvision import models

    special: dict[str, Any] = {"image_size": height} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        special = {"aux_logits": False, "init_weights": True}
    network = models.get_model(name, weights=None, num_classes=classes, **special)
    if channels != 3:
        _adapt(network, channels)
    return network


def _adapt(network: nn.Module, channels: int) -> None:
    """Let the first convolution take `channels` instead of three."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, channels, *first.kernel_size))
    first.reset_parameters()


def head_of(network: nn.Module) -> str:
    """The name of the last layer with weights, which turns features into classes."""
    weighted = [name for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    if not weighted:
        raise ConfigError("the network has neither a linear nor a convolution layer: there is no head to train")
    return weighted[-1]


@contextmanager
def given_to_head(network: nn.Module) -> Iterator[list[np.ndarray]]:
    """What the head of a network is given at each call within the block: `(rows, dimensions)` float32, means over height and
    width. Nothing of a network in which none is found."""
    given: list[np.ndarray] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().float()
        given.append((values.mean(dim=(2, 3)) if values.ndim == 4 else values.flatten(1)).cpu().numpy())

    try:
        head = network.get_submodule(head_of(network))
    except ConfigError:
        yield given
        return
    handle = head.register_forward_pre_hook(keep)
    try:
        yield given
    finally:
        handle.remove()


def load_weights(network: nn.Module, path: str) -> None:
    """Take weights from a local `.safetensors` or `.pth` file; the head may differ in its classes and stays fresh.

    A first convolution for colour is summed over its channels for grey pictures. Raises `ConfigError` when anything
    else does not fit.
    """
    given = _read_weights(path)
    own, head, fitting = network.state_dict(), head_of(network), {}
    for name, value in own.items():
        found = given.get(name)
        if found is not None and found.ndim == 4 and value.shape[1] == 1 and found.shape[1] == 3:
            found = found.sum(dim=1, keepdim=True)
        if found is not None and found.shape == value.shape:
            fitting[name] = found
    missing = [name for name in own if name not in fitting and not name.startswith(f"{head}.")]
    if missing:
        raise ConfigError(
            f"the weights in {path} do not fit the network: {_named(missing)} is missing or of other shape; the file holds "
            f"{_named(list(given)) or 'nothing'}. Give the weights of this network, or set algorithm.network to theirs."
        )
    network.load_state_dict({**own, **fitting})


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more" if names else ""


def _read_weights(path: str) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise ConfigError(f"there is no file of weights {path}: give a local .safetensors or .pth file")
    if path.endswith(".safetensors"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ConfigError(f"{path} is no readable file of weights: {error}. Copy it again.") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path} does not hold weights alone (a state_dict of tensors): {error}") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"{path} does not hold weights alone: save module.state_dict()")
    return {name.removeprefix("module."): value for name, value in found.items()}


def fresh_copy(module: nn.Module, images: Tensor, classes: int) -> nn.Module:
    """A copy of a user's module, so that each fit starts from the weights it brings; checked on two pictures."""
    network = copy.deepcopy(module).float()
    with torch.no_grad():
        logits = logits_of(network.eval()(images))
    if tuple(logits.shape) != (len(images), classes):
        raise ConfigError(
            f"the module {type(module).__name__} gives {tuple(logits.shape)} for {len(images)} pictures "
            f"{tuple(images.shape[1:])} (channels, height, width); {classes} classes need ({len(images)}, {classes})"
        )
    return network.train()


def logits_of(output: Any) -> Tensor:
    """The logits of a network that may return more than them."""
    return output if isinstance(output, Tensor) else output[0]


def size_of(network: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())
