"""What a device computes fast, and batches on their way to it."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_mlops.contract import Part

Batches = Iterator[tuple[Tensor, Tensor]]
_AHEAD = 3
_END = None
_ROOM = 0.25  # the share of a GPU's free memory that a part may take


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The number format of a precision; `auto` is bf16 where the device has instructions for it, fp32 elsewhere.

    Without such instructions a CPU emulates bf16, ten times slower than fp32.
    """
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision != "auto":
        return named[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    found = torch.cpu.get_capabilities()
    return torch.bfloat16 if found.get("amx_bf16") or found.get("avx512_bf16") else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Compute in `dtype` where that is safe; in fp32 everywhere when that is the type."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


class Sent:
    """Numbers on their way from a device; only who asks for them waits, and not for what was queued after them."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._there = values.to("cpu", non_blocking=True), None
        if values.device.type == "cuda":
            self._there = torch.cuda.Event()
            self._there.record(torch.cuda.current_stream(values.device))

    def arrived(self) -> list[float]:
        """The numbers."""
        if self._there is not None:
            self._there.synchronize()
        return self._values.tolist()


def brought(part: Part, device: torch.device) -> Callable[..., Batches]:
    """`part.batches` as tensors on the device. What fits into a GPU well lies there from now on, which spares each batch
    its way."""
    if device.type == "cuda" and not part.streams:
        images, labels = part.arrays()
        if images.nbytes <= _ROOM * torch.cuda.mem_get_info(device)[0]:
            return resident(images, labels, device)
    return lambda size, seed=None: moved(part.batches(size, seed), device)


def resident(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Callable[..., Batches]:
    """The batches of rows that lie on the device: at most `size` rows, in order or, with a seed, shuffled."""
    return partial(
        _drawn, *(torch.from_numpy(np.require(rows, requirements="W")).to(device) for rows in (images, labels))
    )


def _drawn(images: Tensor, labels: Tensor, size: int, seed: int | None = None) -> Batches:
    if seed is None:
        yield from zip(images.split(size), labels.split(size), strict=True)
        return
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels))).to(labels.device)
    for chosen in order.split(size):
        yield images[chosen], labels[chosen]


def moved(batches: Iterable[tuple[np.ndarray, np.ndarray]], device: torch.device) -> Batches:
    """Batches as tensors on the device; for a GPU they are pinned and on their way while the one before is computed."""
    if device.type != "cuda":
        for images, labels in batches:
            yield torch.from_numpy(images), torch.from_numpy(labels)
        return
    for images, labels in _ahead(batches):
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _ahead(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pinned batches, made by a thread that stays a few ahead; what it raises is raised here."""
    waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
    over = threading.Event()

    def work() -> None:
        try:
            for images, labels in batches:
                pinned = torch.from_numpy(images).pin_memory(), torch.from_numpy(labels).pin_memory()
                if not _put(waiting, pinned, over):
                    return
            _put(waiting, _END, over)
        except Exception as error:  # noqa: BLE001 - raised again by the one who waits
            _put(waiting, error, over)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (found := waiting.get()) is not _END:
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        over.set()


def _put(waiting: "queue.Queue[Any]", value: Any, over: threading.Event) -> bool:
    while not over.is_set():
        try:
            waiting.put(value, timeout=0.5)
        except queue.Full:
            continue
        return True
    return False
