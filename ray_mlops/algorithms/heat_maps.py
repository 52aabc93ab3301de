"""What in a picture spoke for its class: Grad-CAM on the last map of features, occlusion where a network has none."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ray_mlops.algorithms.networks import logits_of

_PATCHES = 7  # a side of the grid that occlusion covers one by one


def heat_maps(network: nn.Module, images: Tensor) -> np.ndarray:
    """Maps `(rows, height, width)` float32 in [0, 1] for normalised pictures; the highest value of each map is 1."""
    maps = _grad_cam(network, images)
    maps = _occlusion(network, images) if maps is None else maps
    sized = functional.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    highest = sized.amax(dim=(1, 2), keepdim=True)
    return (sized / highest.clamp_min(1e-12)).clamp(0, 1).cpu().numpy().astype(np.float32)


def _grad_cam(network: nn.Module, images: Tensor) -> Tensor | None:
    """Selvaraju et al. 2017: channels weighted by the mean gradient of the winning logit, negative sums cut off."""
    with _last_map(network) as found, torch.enable_grad():
        logits = logits_of(network(images.detach().requires_grad_()))
        if not found:
            return None
        (gradient,) = torch.autograd.grad(logits.amax(dim=1).sum(), found[0], allow_unused=True)
    if gradient is None:
        return None
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = (weights * found[0].detach()).sum(dim=1).clamp_min(0)
    return maps.detach()


@contextmanager
def _last_map(network: nn.Module) -> Iterator[list[Tensor]]:
    """The last map of features that still has a height and a width, once the network has been called: the output of the last
    convolution, after the normalisation, activation and residual sum that keep its shape. Before them its values have no
    zero, and maps of small networks missed what they should have shown in up to a third of pictures."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        convolved = isinstance(module, nn.Conv2d) and max(output.shape[2:]) > 1
        if convolved or (found and output.shape == found[0].shape):
            found[:] = [output]

    handles = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _occlusion(network: nn.Module, images: Tensor) -> Tensor:
    """How much the winning probability falls when a patch of the picture is made the mean colour."""
    height, width = images.shape[2:]
    whole = torch.softmax(logits_of(network(images)), dim=1)
    best, winner = whole.max(dim=1)
    falls = images.new_zeros(len(images), min(_PATCHES, height), min(_PATCHES, width))
    for row, along in enumerate(torch.arange(height, device=images.device).tensor_split(falls.shape[1])):
        for column, across in enumerate(torch.arange(width, device=images.device).tensor_split(falls.shape[2])):
            covered = images.clone()
            covered[:, :, along[0] : along[-1] + 1, across[0] : across[-1] + 1] = 0
            answer = torch.softmax(logits_of(network(covered)), dim=1).gather(1, winner[:, None])[:, 0]
            falls[:, row, column] = (best - answer).clamp_min(0)
    return falls
