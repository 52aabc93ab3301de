"""From rows of a feature table to the probabilities of a model, and of the champion beside it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from ray_mlops.contract import Algorithm
from ray_mlops.platform import files
from ray_mlops.platform.bundle import Bundle
from ray_mlops.vision.features import SPLIT, TARGET
from ray_mlops.vision.parts import ImageSource
from ray_mlops.vision.predictor import ImagePredictor

PROBABILITIES, CHAMPION = "probabilities", "champion"


@dataclass(frozen=True)
class Scoring:
    """Scores batches of feature rows. Small and picklable, so that it can be sent to workers.

    `model` is the folder of a fitted `algorithm`; `champion` the bundle of another model that takes the same pixels.
    """

    source: ImageSource
    algorithm: Algorithm
    model: str
    champion: str = ""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Key, target, split and probabilities of the rows."""
        pixels = self.source.decoded(batch)
        found = batch.select([self.source.key, TARGET, SPLIT])
        found = found.append_column(PROBABILITIES, listed(self.predictor.probabilities(pixels)))
        if self._champion is not None:
            found = found.append_column(CHAMPION, listed(self._champion.probabilities(pixels)))
        return found

    @cached_property
    def predictor(self) -> ImagePredictor:
        """The model with nothing calibrated yet."""
        with files.localised(self.model) as folder:
            return ImagePredictor(self.algorithm.load(folder), self.source.transform, self.source.names)

    @cached_property
    def _champion(self) -> ImagePredictor | None:
        return ImagePredictor.load(Bundle.load(self.champion)) if self.champion else None

    def __getstate__(self) -> dict[str, object]:
        """Models are loaded where they are needed, never sent."""
        return {name: self.__dict__[name] for name in type(self).__dataclass_fields__}


def listed(values: np.ndarray) -> pa.Array:
    """A matrix `(rows, columns)` as a column of lists."""
    flat = pa.array(np.ascontiguousarray(values, np.float64).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def unlisted(column: pa.ChunkedArray) -> np.ndarray:
    """The matrix of a column that `listed` made."""
    lists = column.combine_chunks()
    assert isinstance(lists, pa.FixedSizeListArray)
    return lists.flatten().to_numpy().reshape(len(column), -1)
