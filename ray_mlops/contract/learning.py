"""What an algorithm and its model must be, and what an algorithm is handed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from ray_mlops.contract.data import Frozen

if TYPE_CHECKING:
    import numpy as np

Backend = Literal["none", "torch", "xgboost", "lightgbm"]

PROGRESS = "progress"  # the name under which a fit reports the share of it that is done


class Uniform(Frozen):
    """A hyperparameter range, both ends included; `log` searches magnitudes; `integer` rounds to whole numbers.

    `live` says that a fit may go on from a checkpoint with another value, as population based training asks of it.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    live: bool = False


class Choice(Frozen):
    """A closed list of values of a hyperparameter; `live` as in `Uniform`."""

    values: tuple[Any, ...]
    live: bool = False


Space = Mapping[str, Uniform | Choice]


class Part(Protocol):
    """One part (train or validation) of the data, as this worker sees it (its shard under distributed training).

    Of transactions: features `(rows, features)` float32, labels `(rows,)` float32 0/1, ordered by (time, key). Of images:
    `(rows, height, width, channels)` uint8 and class places `(rows,)` int64, ordered by key.
    """

    @property
    def rows(self) -> int:
        """How many rows there are; of a part that streams, how many to expect."""
        ...

    @property
    def streams(self) -> bool:
        """Whether the rows come from elsewhere batch by batch, so that only their end tells how many there are."""
        ...

    def arrays(self) -> "tuple[np.ndarray, np.ndarray]":
        """Features and labels of all rows."""
        ...

    def batches(self, size: int, seed: int | None = None) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
        """The same in batches of at most `size` rows; shuffled when a seed is given."""
        ...


@dataclass(frozen=True)
class Data:
    """What an algorithm is fitted on. `names` are the feature names in column order; of images, the class names."""

    train: Part
    validation: Part
    names: tuple[str, ...]


class Worker(Protocol):
    """The place an algorithm runs in, handed to it so that it needs no Ray.

    `rank` of `size` workers; `device` is `cpu` or `cuda:N`; `threads` it may use; `network` are the settings a
    distributed booster needs to meet its peers (empty on one worker); `resume` is a checkpoint folder to go on from.
    """

    rank: int
    size: int
    device: str
    threads: int
    seed: int
    network: Mapping[str, Any]
    resume: str | None

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        """Report progress (every rank equally often); `checkpoint` is a local folder, copied before this returns."""
        ...

    def wants_checkpoint(self) -> bool:
        """Whether one is due before the next report: the last is long ago, or this place is about to go away.

        Every rank asks equally often; a rank may be answered differently from the others.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """A fitted model.

    On transactions `predict` gives one score in [0, 1] per row and `explain` a contribution per row and feature. On
    images `predict` gives the probability of each class `(rows, classes)`, and `explain` how much each pixel spoke for
    the predicted class, `(rows, height, width)` in [0, 1].
    """

    def predict(self, batch: "np.ndarray") -> "np.ndarray": ...

    def explain(self, batch: "np.ndarray") -> "np.ndarray": ...

    def save(self, path: str) -> None: ...


@runtime_checkable
class Embedding(Protocol):
    """A model of images that also tells where it sees them: monitoring measures how far that is from training."""

    def embed(self, batch: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """What `predict` gives, and an embedding of each picture `(rows, dimensions)`, in one pass."""
        ...


@runtime_checkable
class Algorithm(Protocol):
    """A frozen config whose fields are its hyperparameters.

    `kind` names it, `backend` says what must connect the workers, `space` what may be searched, `fit` trains and `load`
    reads what the model saved. Every algorithm, ours or a user's, passes `ray_mlops.algorithms.examiner`.
    """

    @property
    def kind(self) -> str: ...

    @property
    def backend(self) -> Backend: ...

    def space(self) -> Space: ...

    def fit(self, data: Data, worker: Worker) -> Model: ...

    def load(self, path: str) -> Model: ...
