"""The part that a stream is, over an iterator that stands in for Ray Data's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ray_mlops.platform.parts import Source
from ray_mlops.platform.streams import StreamedPart, _arrays

FEATURES = np.arange(10, dtype=np.float32)[:, None]
LABELS = np.arange(10, dtype=np.float32)


class Shard:
    """What Ray Data hands to a worker: batches of the size asked for; notes how it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def iter_batches(self, *, batch_size: int, **asked: Any) -> Iterator[dict[str, np.ndarray]]:
        self.asked.append(asked)
        for start in range(0, 10, batch_size):
            stop = start + batch_size
            yield {"features": FEATURES[start:stop], "labels": LABELS[start:stop]}


def test_batches_are_those_of_the_shard_shuffled_only_with_a_seed() -> None:
    shard = Shard()
    part = StreamedPart(shard, 10)
    for seed in (None, 7):
        found = list(part.batches(4, seed))
        assert [len(labels) for _, labels in found] == [4, 4, 2]
        assert np.array_equal(np.concatenate([features for features, _ in found]), FEATURES)
    assert "local_shuffle_seed" not in shard.asked[0]
    assert shard.asked[1]["local_shuffle_seed"] == 7
    assert part.streams


def test_all_rows_at_once_are_there_for_algorithms_that_want_them() -> None:
    features, labels = StreamedPart(Shard(), 10).arrays()
    assert np.array_equal(features, FEATURES)
    assert np.array_equal(labels, LABELS)


def test_blocks_keep_the_labelled_rows_of_the_split_and_may_have_none() -> None:
    columns = {"a": [3.0, 1.0, 2.0, 4.0], "y": [1, 0, None, 1], "time": [3, 1, 2, 4], "id": ["c", "a", "b", "d"]}
    rows = pa.table({**columns, "split": ["train", "train", "train", "test"]})
    source = Source(paths=(), names=("a",), label="y", order=("time", "id"))
    found = _arrays(rows, source, "train")
    assert found["features"].tolist() == [[1.0], [3.0]]
    assert found["labels"].tolist() == [0.0, 1.0]
    assert _arrays(rows, source, "validation")["features"].shape == (0, 1)
