"""The examiner: what every algorithm, ours or a user's, must hold to before a stage may rely on it.

A test of a recipe with an algorithm of its own is one line: `check_algorithm(MyAlgorithm())`, or, when it is one for
images, `check_algorithm(MyAlgorithm(), examination_images())`.
"""

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ray_mlops.algorithms import describe, with_settings
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Algorithm, Backend, Choice, Data, Model, Uniform
from ray_mlops.errors import ConfigError
from ray_mlops.platform.parts import ArrayPart

_SIGNAL = 0  # the column of the examination data that decides most of the label


@dataclass
class _Recorder(LocalWorker):
    """A worker that keeps the checkpoint of its `keep`th report, counted from 1."""

    folder: str = ""
    keep: int = 0

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        super().report(metrics, checkpoint)
        if checkpoint and len(self.reports) == self.keep:
            shutil.copytree(checkpoint, self.folder)


def check_algorithm(algorithm: Algorithm, data: Data | None = None, *, additive: bool = False) -> None:
    """Fit the algorithm several times on small data and raise `ConfigError` for the first clause that it breaks.

    `additive` also asks that contributions sum to the log-odds of the score, up to a constant.
    """
    data = data or examination_data()
    _check_config(algorithm)
    before = [part.copy() for part in _arrays(data)]
    worker = LocalWorker(seed=7)
    model = algorithm.fit(data, worker)
    _ask(algorithm, isinstance(model, Model), "fit() must return an object with predict(), explain() and save()")
    untouched = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, _arrays(data), strict=True))
    _ask(algorithm, untouched, "fit() changed the data it was given; work on a copy")
    batch, labels = data.validation.arrays()
    _check_scores(algorithm, model, batch, data.names)
    _check_learning(algorithm, model, batch, labels)
    _check_explanations(algorithm, model, batch, additive)
    again = algorithm.fit(data, LocalWorker(seed=7))
    _ask(algorithm, _same(model, again, batch), "two fits with one seed give different scores; use worker.seed")
    _check_saving(algorithm, model, batch)
    _check_reports(algorithm, worker)
    _check_resuming(algorithm, model, data, reports=len(worker.reports))


def examination_data(rows: int = 2000, seed: int = 0) -> Data:
    """Labelled rows of five features: one strong signal, one weak, one with gaps, one constant and one of noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 5)).astype(np.float32)
    features[:, 3] = 2.5
    odds = 2.5 * features[:, _SIGNAL] + 0.7 * features[:, 1] + 0.4 * features[:, 2] - 2.5
    labels = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    features[random.random(rows) < 0.1, 2] = np.nan
    cut = rows * 2 // 3
    train, validation = ArrayPart(features[:cut], labels[:cut]), ArrayPart(features[cut:], labels[cut:])
    return Data(train, validation, ("signal", "weak", "gaps", "constant", "noise"))


def examination_images(rows: int = 360, seed: int = 0) -> Data:
    """Labelled grey pictures of 12 x 10 pixels in three classes: a bright bar on top, in the middle or at the bottom."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    images = random.integers(0, 120, (rows, 12, 10, 1)).astype(np.uint8)
    for row, label in enumerate(labels):
        images[row, 4 * label : 4 * label + 3] += 110
    cut = rows * 2 // 3
    train, validation = ArrayPart(images[:cut], labels[:cut]), ArrayPart(images[cut:], labels[cut:])
    return Data(train, validation, ("top", "middle", "bottom"))


def _check_config(algorithm: Algorithm) -> None:
    _ask(algorithm, isinstance(algorithm, Algorithm), "it needs kind, backend, space(), fit() and load()")
    legal = Backend.__args__
    _ask(algorithm, algorithm.backend in legal, f"backend is {algorithm.backend!r}; legal are {', '.join(legal)}")
    json.dumps(describe(algorithm))
    for name, spread in algorithm.space().items():
        _ask(algorithm, isinstance(spread, (Uniform, Choice)), f"space() gives {name} no Uniform or Choice")
        for value in spread.values if isinstance(spread, Choice) else _ends(spread):
            with_settings(algorithm, {name: value})


def _ends(spread: Uniform) -> tuple[float, float]:
    return (int(spread.low), int(spread.high)) if spread.integer else (spread.low, spread.high)


def _check_scores(algorithm: Algorithm, model: Model, batch: np.ndarray, names: tuple[str, ...]) -> None:
    given = batch.copy()
    scores = np.asarray(model.predict(batch))
    expected = (len(batch), len(names)) if _of_images(batch) else (len(batch),)
    _ask(algorithm, scores.shape == expected, f"predict() gave shape {scores.shape} for {len(batch)} rows")
    _ask(algorithm, bool(np.isfinite(scores).all()), "predict() gave a score that is NaN or infinite")
    _ask(algorithm, bool(((scores >= 0) & (scores <= 1)).all()), "predict() gave a score outside [0, 1]")
    _ask(algorithm, np.array_equal(given, batch, equal_nan=True), "predict() changed the batch it was given")
    alone = np.asarray(model.predict(batch[:1]))[0]
    _ask(algorithm, np.allclose(alone, scores[0], rtol=1e-5, atol=1e-7), "one row alone scores differently")
    if _of_images(batch):
        _ask(algorithm, np.allclose(scores.sum(axis=1), 1, atol=1e-4), "predict() gave probabilities that miss 1")
        return
    for value in (np.nan, np.inf, -np.inf):
        odd = np.full_like(batch[:1], value)
        fine = bool(np.isfinite(model.predict(odd)).all())
        _ask(algorithm, fine, f"predict() cannot stand features that are {value}")


def _of_images(batch: np.ndarray) -> bool:
    return batch.ndim == 4


def _check_learning(algorithm: Algorithm, model: Model, batch: np.ndarray, labels: np.ndarray) -> None:
    scores = np.asarray(model.predict(batch))
    found = validation_metrics(labels, scores)
    name, needed = ("accuracy", 0.6) if _of_images(batch) else ("roc_auc", 0.6)
    _ask(algorithm, found[name] > needed, f"it learnt nothing: {name} {found[name]:.2f} on the validation rows")
    turned = np.asarray(model.predict(np.ascontiguousarray(batch[:, ::-1])))
    _ask(algorithm, not np.allclose(turned, scores), "predict() gives the same scores when the columns are reversed")


def _check_explanations(algorithm: Algorithm, model: Model, batch: np.ndarray, additive: bool) -> None:
    contributions = np.asarray(model.explain(batch))
    expected = batch.shape[:3]
    _ask(algorithm, contributions.shape == expected, f"explain() gave shape {contributions.shape}, not {expected}")
    _ask(algorithm, bool(np.isfinite(contributions).all()), "explain() gave a contribution that is NaN or infinite")
    if _of_images(batch):
        within = bool(((contributions >= 0) & (contributions <= 1)).all())
        _ask(algorithm, within, "explain() gave a heat map outside [0, 1]")
    if additive:
        scores = np.asarray(model.predict(batch), dtype=np.float64)
        rest = np.log(scores) - np.log1p(-scores) - contributions.sum(axis=1)
        spread = float(np.ptp(rest))
        _ask(algorithm, spread < 1e-3, f"contributions miss the log-odds of the score by up to {spread:.2g}")


def _check_saving(algorithm: Algorithm, model: Model, batch: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model")
        model.save(path)
        saved = Path(path).is_dir() and any(Path(path).iterdir())
        _ask(algorithm, saved, "save(path) must make the folder and write the model into it")
        loaded = algorithm.load(path)
        _ask(algorithm, _same(model, loaded, batch), "the loaded model scores differently from the saved one")


def _check_reports(algorithm: Algorithm, worker: LocalWorker) -> None:
    for metrics in worker.reports:
        numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in metrics.values())
        _ask(algorithm, numbers, f"it reported something else than finite numbers: {metrics}")


def _check_resuming(algorithm: Algorithm, model: Model, data: Data, *, reports: int) -> None:
    """A fit that is killed and goes on from its checkpoint must end like the undisturbed one."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "checkpoint")
        algorithm.fit(data, _Recorder(seed=7, folder=path, keep=max(1, reports // 2)))
        if Path(path).exists():
            resumed = algorithm.fit(data, LocalWorker(seed=7, resume=path))
            same = _same(model, resumed, data.validation.arrays()[0])
            _ask(algorithm, same, "a fit resumed from its checkpoint ends with other scores than the undisturbed fit")


def _same(one: Model, other: Model, batch: np.ndarray) -> bool:
    return np.allclose(one.predict(batch), other.predict(batch), rtol=1e-5, atol=1e-7)


def _arrays(data: Data) -> tuple[np.ndarray, ...]:
    return (*data.train.arrays(), *data.validation.arrays())


def _ask(algorithm: Algorithm, holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConfigError(f"{type(algorithm).__name__} breaks the contract of an algorithm: {otherwise}")
