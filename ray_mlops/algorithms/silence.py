"""Units of a network that answer 0 to whatever they are shown."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def silent_units(network: nn.Module, images: Tensor) -> list[float]:
    """The share of silent channels after each ReLU, in the order of the computation; the mode stays as it is."""
    found: list[Tensor] = []

    def measure(module: nn.Module, inputs: object, output: Tensor) -> None:
        channels = output.transpose(0, 1).flatten(1) if output.ndim > 1 else output[:, None]
        found.append((channels.amax(dim=1) <= 0).float().mean())

    handles = [m.register_forward_hook(measure) for m in network.modules() if isinstance(m, (nn.ReLU, nn.ReLU6))]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found).tolist() if found else []
