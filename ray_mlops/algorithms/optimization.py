"""How the weights of a torch network move: optimizer, learning rate over the fit, and their running average."""

import copy
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

Descent = Literal["sgd", "adamw"]


def optimizer_of(descent: Descent, network: "nn.Module", *, weight_decay: float) -> "Optimizer":
    """SGD with Nesterov momentum, or AdamW; biases and normalisation are not decayed."""
    from torch import optim

    parameters = list(network.parameters())
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": weight_decay},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = parameters[0].is_cuda  # one launch for all weights
    if descent == "adamw":
        return optim.AdamW(groups, lr=0.0, fused=fused)
    return optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True, fused=fused)


def one_cycle(done: float, warm_up: float) -> float:
    """The share of the learning rate after the share `done` of all steps: linear up, then a half cosine down to 0."""
    if done < warm_up:
        return 0.04 + 0.96 * done / warm_up
    return (1 + math.cos(math.pi * (done - warm_up) / max(1 - warm_up, 1e-9))) / 2


class RunningAverage:
    """The exponential moving average of a network's weights and buffers; it forgets its start within a few steps."""

    def __init__(self, network: "nn.Module", decay: float) -> None:
        self.network, self._decay = copy.deepcopy(network).eval(), decay
        self.network.requires_grad_(False)

    def update(self, network: "nn.Module", step: int) -> None:
        """Take in the network after step `step` of the fit, counted from 0."""
        import torch

        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            floating, others = _pairs(_tensors(self.network), _tensors(network))
            lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
            lerp([mine for mine, _ in floating], [value for _, value in floating], 1 - decay)
            for mine, value in others:
                mine.copy_(value)


def _tensors(network: "nn.Module") -> "Iterable[Tensor]":
    yield from network.parameters()
    yield from network.buffers()


def _pairs(mine: "Iterable[Tensor]", values: "Iterable[Tensor]") -> "tuple[list, list]":
    pairs = list(zip(mine, values, strict=True))
    return [pair for pair in pairs if pair[0].is_floating_point()], [p for p in pairs if not p[0].is_floating_point()]
