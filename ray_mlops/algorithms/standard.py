"""Standardised inputs for models that need them, and sums over the workers of a fit."""

from dataclasses import dataclass

import numpy as np

from ray_mlops.algorithms.worker import finite
from ray_mlops.contract import Worker


def summed(values: np.ndarray, worker: Worker) -> np.ndarray:
    """The element-wise sum over all workers, the same bits on each of them; on one worker the values themselves."""
    if worker.size == 1:
        return values
    import torch
    import torch.distributed

    tensor = torch.as_tensor(values, device=worker.device)
    torch.distributed.all_reduce(tensor)
    return tensor.cpu().numpy()


@dataclass(frozen=True)
class Standard:
    """Mean and population standard deviation per feature, `(features,)` float64 each; a constant feature scales by 1."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, worker: Worker) -> "Standard":
        """Measure the features `(rows, features)` of all workers together; missing values do not count."""
        features = finite(features).astype(np.float64)
        known = summed((~np.isnan(features)).sum(axis=0).astype(np.float64), worker)
        mean = summed(np.nansum(features, axis=0), worker) / np.maximum(known, 1)
        variance = summed(np.nansum((features - mean) ** 2, axis=0), worker) / np.maximum(known, 1)
        # Rounding leaves a constant feature a variance of about (1e-16 mean)^2, which must not be scaled up to 1.
        constant = variance <= 10 * np.finfo(np.float64).eps * (mean**2 + variance)
        return cls(mean, np.where(constant, 1.0, np.sqrt(variance)))

    def apply(self, batch: np.ndarray) -> np.ndarray:
        """The standardised batch, float64; what is missing becomes the mean, 0."""
        return np.nan_to_num((finite(batch) - self.mean) / self.scale, nan=0.0)
