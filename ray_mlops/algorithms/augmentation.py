"""Random changes of training pictures that leave their class alone; never applied to validation, batch or endpoint."""

import math
from typing import TYPE_CHECKING

from pydantic import Field

from ray_mlops.contract import Frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Augmentation(Frozen):
    """How training pictures are changed, each picture of a batch by its own draw.

    `crop` shifts by up to that many pixels, the border mirrored; `flip` mirrors half of the pictures left to right;
    `rotate` turns by up to that many degrees and `zoom` resizes by up to that share. `brightness`, `contrast` and
    `saturation` change by up to that share. `erase` is the share of pictures in which a rectangle is blanked.
    """

    crop: int = Field(default=1, ge=0)
    flip: bool = True
    rotate: float = Field(default=0.0, ge=0, le=180)
    zoom: float = Field(default=0.0, ge=0, lt=1)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)
    erase: float = Field(default=0.0, ge=0, le=1)

    def apply(self, images: "Tensor", generator: "Generator") -> "Tensor":
        """Changed copies of pictures `(rows, height, width, channels)` uint8; the same draws for the same generator."""
        if self.crop or self.flip:
            images = self._moved(images, generator)
        if self.rotate or self.zoom:
            images = self._turned(images, generator)
        if self.brightness or self.contrast or self.saturation:
            images = self._tinted(images, generator)
        return self._erased(images, generator) if self.erase else images

    def _moved(self, images: "Tensor", generator: "Generator") -> "Tensor":
        """Crop and flip in one look-up: each picture names the rows and columns it takes."""
        import torch

        rows, height, width, _ = images.shape
        device = images.device
        down, right = _integers(2, rows, self.crop, generator).unbind()
        across = torch.arange(width, device=device).expand(rows, width)
        if self.flip:
            flipped = torch.rand(rows, 1, generator=generator, device=generator.device).to(device) < 0.5
            across = torch.where(flipped, width - 1 - across, across)
        across = _mirrored(across + right[:, None].to(device), width)
        along = _mirrored(torch.arange(height, device=device) + down[:, None].to(device), height)
        picture = torch.arange(rows, device=device)[:, None, None]
        return images[picture, along[:, :, None], across[:, None, :]]

    def _turned(self, images: "Tensor", generator: "Generator") -> "Tensor":
        import torch
        from torch.nn import functional

        rows, height, width, _ = images.shape
        angle, scale = (_signed(rows, generator, images.device) for _ in range(2))
        angle, scale = angle * math.radians(self.rotate), 1 / (1 + scale * self.zoom)
        sine, cosine, none = angle.sin() * scale, angle.cos() * scale, torch.zeros_like(angle)
        turns = torch.stack([cosine, -sine * height / width, none, sine * width / height, cosine, none], dim=1)
        grid = functional.affine_grid(turns.view(rows, 2, 3), [rows, 1, height, width], align_corners=False)
        planes = images.permute(0, 3, 1, 2).float()
        turned = functional.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)
        return _as_bytes(turned.permute(0, 2, 3, 1))

    def _tinted(self, images: "Tensor", generator: "Generator") -> "Tensor":
        rows = len(images)
        bright, contrast, colour = (
            1 + share * _signed(rows, generator, images.device).view(-1, 1, 1, 1)
            for share in (self.brightness, self.contrast, self.saturation)
        )
        values = images.float() * bright
        middle = values.mean(dim=(1, 2, 3), keepdim=True)
        values = middle + (values - middle) * contrast
        grey = values.mean(dim=3, keepdim=True)
        return _as_bytes(grey + (values - grey) * colour)

    def _erased(self, images: "Tensor", generator: "Generator") -> "Tensor":
        """Blank a rectangle of a quarter to a half of each side, in the mean colour of its picture."""
        import torch

        rows, height, width, _ = images.shape
        chance, tall, wide, top, left = (_uniform(rows, generator, images.device) for _ in range(5))
        inside = []
        for side, share, start in ((height, tall, top), (width, wide, left)):
            extent = (0.25 + 0.25 * share) * side
            first = (start * (side - extent))[:, None]
            position = torch.arange(side, device=images.device)
            inside.append((position >= first) & (position < first + extent[:, None]))
        erased = inside[0][:, :, None] & inside[1][:, None, :] & (chance < self.erase)[:, None, None]
        return torch.where(erased[..., None], _as_bytes(images.float().mean(dim=(1, 2), keepdim=True)), images)


def mixing(images: "Tensor", generator: "Generator", *, mixup: float, cutmix: float) -> "tuple[Tensor, Tensor, Tensor]":
    """Each picture (normalised, `(rows, channels, height, width)`) mixed with another of the batch.

    Returns the pictures, the position of each one's partner and the share `(rows,)` that stayed its own. `mixup` blends
    and `cutmix` pastes a rectangle, the numbers being the concentration of the Beta distribution of the share; with
    both, each batch takes one of them, by the generator's seed.
    """
    import torch

    device, rows = images.device, len(images)
    partner = torch.randperm(rows, generator=generator, device=generator.device).to(device)
    paste = bool(cutmix) and (not mixup or generator.initial_seed() % 2 == 1)  # a coin that a GPU need not tell
    # A share of Beta(a, a) from two Gamma draws; torch's own Beta takes no generator.
    shape = torch.full((2, rows), cutmix if paste else mixup, device=generator.device)
    gammas = torch._standard_gamma(shape, generator)  # pyright: ignore[reportPrivateImportUsage]
    share = (gammas[0] / gammas.sum(dim=0).clamp_min(1e-12)).to(device)
    if not paste:
        weight = share.view(-1, 1, 1, 1)
        return images * weight + images[partner] * (1 - weight), partner, share
    pasted = _rectangles(share, images.shape[2:], generator)
    mixed = torch.where(pasted[:, None], images[partner], images)
    return mixed, partner, 1 - pasted.float().mean(dim=(1, 2))


def _rectangles(share: "Tensor", sides: tuple[int, ...], generator: "Generator") -> "Tensor":
    """A mask `(rows, height, width)` of one rectangle a picture that leaves about `share` of it."""
    import torch

    inside = []
    for side in sides:
        extent = ((1 - share).sqrt() * side)[:, None]
        middle = _uniform(len(share), generator, share.device)[:, None] * side
        position = torch.arange(side, device=share.device) + 0.5
        inside.append((position - middle).abs() < extent / 2)
    return inside[0][:, :, None] & inside[1][:, None, :]


def _mirrored(positions: "Tensor", size: int) -> "Tensor":
    """Positions beyond a border of `size` pixels, mirrored back inside."""
    positions = positions.abs().clamp_max(2 * (size - 1))
    return (size - 1) - (positions - (size - 1)).abs()


def _integers(count: int, rows: int, limit: int, generator: "Generator") -> "Tensor":
    import torch

    return torch.randint(-limit, limit + 1, (count, rows), generator=generator, device=generator.device)


def _uniform(rows: int, generator: "Generator", device: object) -> "Tensor":
    import torch

    return torch.rand(rows, generator=generator, device=generator.device).to(device)  # pyright: ignore


def _signed(rows: int, generator: "Generator", device: object) -> "Tensor":
    return 2 * _uniform(rows, generator, device) - 1


def _as_bytes(values: "Tensor") -> "Tensor":
    import torch

    return values.round().clamp(0, 255).to(torch.uint8)
