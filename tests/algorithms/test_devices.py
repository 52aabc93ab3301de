"""Batches on their way to a device, and on one: here the CPU plays it."""

from typing import Any

import numpy as np
import pytest
import torch

from ray_mlops.algorithms.devices import brought, dtype_of, moved, resident
from ray_mlops.platform.parts import ArrayPart

CPU = torch.device("cpu")
IMAGES, LABELS = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2, 1), np.arange(10)
PART = ArrayPart(IMAGES, LABELS)


def told(batches: Any) -> list[list[int]]:
    found = list(batches)
    assert all(torch.equal(images[:, 0, 0, 0], 4 * labels.to(torch.uint8)) for images, labels in found)
    return [labels.tolist() for _, labels in found]


def test_rows_that_lie_on_the_device_come_once_each_and_as_the_seed_says() -> None:
    batches = resident(IMAGES, LABELS, CPU)
    first = told(batches(4, seed=1))
    assert [len(batch) for batch in first] == [4, 4, 2]
    order = [label for batch in first for label in batch]
    assert sorted(order) == LABELS.tolist() != order
    assert first == told(batches(4, seed=1)) != told(batches(4, seed=2))
    assert told(batches(4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_rows_of_a_file_that_must_not_be_written_to_can_lie_there_too(recwarn: Any) -> None:
    locked = IMAGES.copy()
    locked.flags.writeable = False
    assert len(told(resident(locked, LABELS, CPU)(4))) == 3
    assert not recwarn.list


def test_without_a_gpu_batches_are_those_of_the_part() -> None:
    batches = brought(PART, CPU)
    assert told(batches(4, seed=3)) == told(moved(PART.batches(4, seed=3), CPU))
    assert told(batches(4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_a_cpu_computes_in_bf16_where_it_has_instructions_for_it(
    capabilities: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert dtype_of("auto", CPU) is dtype


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_bf16_where_it_need_not_emulate_it(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert dtype_of("auto", torch.device("cuda", 1)) is dtype


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_a_named_precision_is_taken_as_it_is(device: torch.device) -> None:
    found = [dtype_of(name, device) for name in ("fp32", "bf16", "fp16")]
    assert found == [torch.float32, torch.bfloat16, torch.float16]
