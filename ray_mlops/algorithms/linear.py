"""Logistic regression on standardised features."""

import os
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ray_mlops.algorithms.standard import Standard, summed
from ray_mlops.algorithms.worker import sigmoid, validation_metrics
from ray_mlops.contract import PROGRESS, Backend, Data, Frozen, Space, Uniform, Worker


class LogisticRegression(Frozen):
    """L2-regularised logistic regression, `C` being the inverse strength as in scikit-learn.

    The optimum is scikit-learn's (to 1e-9 in the tests), found by the same method, L-BFGS on the full batch. On N
    workers each step sums their losses and gradients, which scikit-learn itself cannot do.
    """

    kind: Literal["logistic"] = "logistic"
    C: float = Field(default=1.0, gt=0)
    max_iterations: int = Field(default=1000, ge=1)

    backend: ClassVar[Backend] = "torch"

    def space(self) -> Space:
        """What a search may vary."""
        return {"C": Uniform(low=1e-3, high=1e2, log=True)}

    def fit(self, data: Data, worker: Worker) -> "LogisticModel":
        """Fit to the optimum; there is nothing to resume, so a killed fit starts again."""
        features, labels = data.train.arrays()
        standard = Standard.fit(features, worker)
        coefficients = self._optimum(standard.apply(features), labels, worker)
        model = LogisticModel(standard, coefficients[:-1], float(coefficients[-1]))
        judged, truth = data.validation.arrays()
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            metrics = validation_metrics(truth, model.predict(judged))
            worker.report({**metrics, PROGRESS: 1.0}, None if worker.rank else folder)
        return model

    def load(self, path: str) -> "LogisticModel":
        """Read what the model saved."""
        from safetensors.numpy import load_file

        tensors = load_file(str(Path(path) / LogisticModel.FILE))
        standard = Standard(tensors["mean"], tensors["scale"])
        return LogisticModel(standard, tensors["coefficients"], float(tensors["intercept"][0]))

    def _optimum(self, features: np.ndarray, labels: np.ndarray, worker: Worker) -> np.ndarray:
        from scipy.optimize import minimize

        rows = float(summed(np.array([len(labels)], dtype=np.float64), worker)[0])
        strength = 1.0 / (self.C * rows)

        def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
            margin = features @ coefficients[:-1] + coefficients[-1]
            residual = sigmoid(margin) - labels
            local = np.concatenate([
                [np.logaddexp(0.0, margin).sum() - labels @ margin], residual @ features, [residual.sum()]
            ])  # fmt: skip
            total = summed(local, worker) / rows
            weights = np.append(coefficients[:-1], 0.0)  # the intercept is not regularised
            return float(total[0] + strength / 2 * weights @ weights), total[1:] + strength * weights

        start = np.zeros(features.shape[1] + 1)
        options = {"maxiter": self.max_iterations, "gtol": 1e-4}
        # Every worker sees the same sums, hence takes the same steps and stops at the same one.
        return minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x


class LogisticModel:
    """A fitted logistic regression with its standardisation inside."""

    FILE = "model.safetensors"

    def __init__(self, standard: Standard, coefficients: np.ndarray, intercept: float) -> None:
        self.standard, self.coefficients, self.intercept = standard, coefficients, intercept

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Scores `(rows,)` of features `(rows, features)`."""
        return sigmoid(self.standard.apply(batch) @ self.coefficients + self.intercept)

    def explain(self, batch: np.ndarray) -> np.ndarray:
        """Exact SHAP contributions to the log-odds (features taken as independent), `(rows, features)`."""
        return self.standard.apply(batch) * self.coefficients

    def save(self, path: str) -> None:
        """Write coefficients and standardisation into folder `path` as safetensors."""
        from safetensors.numpy import save_file

        os.makedirs(path, exist_ok=True)
        tensors = {
            "mean": self.standard.mean,
            "scale": self.standard.scale,
            "coefficients": self.coefficients,
            "intercept": np.array([self.intercept]),
        }
        save_file(tensors, str(Path(path) / self.FILE))
