"""The distance of pictures from training, where the model sees them: what light and sharpness do not tell, it does."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.image_model import ImageModel
from ray_mlops.algorithms.worker import LocalWorker
from ray_mlops.contract import Data, Embedding
from ray_mlops.monitoring import drift
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.sketches import Sketch, baseline_of
from ray_mlops.vision.embedding import Reference, by_answers
from ray_mlops.vision.parts import ArrayPart
from ray_mlops.vision.signals import DISTANCE, NAMES, signals

CLASSES = tuple(map(str, range(10)))
SEEN = (*NAMES, DISTANCE)


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.images / 16 * 255).astype(np.uint8)[order][..., None], digits.target[order].astype(np.int64)


@pytest.fixture(scope="module")
def model(pictures: tuple[np.ndarray, np.ndarray]) -> ImageModel:
    pixels, labels = pictures
    algorithm = ImageClassifier(widths=(8, 16), epochs=3, batch_size=64, augment=Augmentation(crop=0, flip=False))
    data = Data(ArrayPart(pixels[:900], labels[:900]), ArrayPart(pixels[900:1300], labels[900:1300]), CLASSES)
    return algorithm.fit(data, LocalWorker(seed=3, threads=2))


@pytest.fixture(scope="module")
def reference(model: ImageModel, pictures: tuple[np.ndarray, np.ndarray]) -> Reference:
    return Reference.of(model.embed(pictures[0][start : start + 300]) for start in (0, 300, 600))


def seen(model: ImageModel, reference: Reference, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    told = model.embed(pixels)
    return np.concatenate([signals(pixels), reference.distances(told)[:, None]], axis=1), told[0].max(axis=1)


def moved(known: Baseline, rows: np.ndarray, scores: np.ndarray) -> set[str]:
    sketch = Sketch(known, SEEN)
    sketch.add(rows, scores.tolist(), ["a"] * len(rows))
    return {one.name for one in drift.compare(known, sketch.to_baseline(), drift.Limits()) if one.exceeds}


def test_turned_pictures_are_seen_by_their_distance_and_by_nothing_that_is_measured_on_pixels(
    model, reference, pictures
):
    rows, scores = seen(model, reference, pictures[0][900:1300])
    known = baseline_of(SEEN, rows, scores, decisions=["a"] * len(rows))
    live = pictures[0][1300:]
    assert moved(known, *seen(model, reference, live)) == set()
    turned = np.rot90(live, axes=(1, 2)).copy()
    assert moved(known, *seen(model, reference, turned)) - {"score"} == {f"feature {DISTANCE}"}


def test_it_is_about_1_in_training_whatever_came_in_which_part(model, reference, pictures):
    told = model.embed(pictures[0][:900])
    assert 0.8 < reference.distances(told).mean() < 1.1
    whole = Reference.of([told])
    np.testing.assert_allclose(whole.means, reference.means, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(whole.spread, reference.spread, rtol=1e-3, atol=1e-4)


def test_an_embedding_comes_with_the_answers_and_is_what_the_head_is_given(model, pictures):
    assert isinstance(model, Embedding)
    pixels = pictures[0][:300]  # more than go through the network at once
    probabilities, embeddings = model.embed(pixels)
    np.testing.assert_array_equal(probabilities, model.predict(pixels))
    head = model.network.get_submodule("head").state_dict()
    logits = embeddings @ head["weight"].cpu().numpy().T + head["bias"].cpu().numpy()
    np.testing.assert_array_equal(logits.argmax(axis=1), probabilities.argmax(axis=1))
    none, nothing = model.embed(pixels[:0])
    assert none.shape == (0, 10) and len(nothing) == 0


def test_what_was_written_is_read_again(reference, tmp_path: Path):
    path = str(tmp_path / "embedding.safetensors")
    reference.write(path)
    for name, values in dataclasses.asdict(Reference.read(path)).items():
        np.testing.assert_array_equal(values, getattr(reference, name))


def test_a_class_nobody_was_taken_for_and_a_dimension_that_never_moved_are_no_trouble():
    probabilities = np.array([[0.9, 0.1, 0.0]] * 50 + [[0.2, 0.8, 0.0]] * 50)
    embeddings = np.zeros((100, 4), np.float32)
    embeddings[:, 0] = np.random.default_rng(0).normal(size=100)
    made = Reference.of([(probabilities, embeddings)])
    far = np.array([[9.0, 0, 0, 9.0]], np.float32)
    found = made.distances((np.array([[0.0, 0.0, 1.0]]), far))
    assert np.isfinite(found).all() and found[0] > 3
    still = Reference.of([(probabilities, np.zeros((100, 4), np.float32))])
    assert still.distances((probabilities, np.zeros((100, 4), np.float32))).max() == 0


def test_a_model_without_an_embedding_is_placed_by_its_answers():
    given = np.array([[1.0, 0.0], [0.5, 0.5]])
    made = by_answers(given)
    assert made.shape == (2, 2) and np.isfinite(made).all()
    np.testing.assert_allclose(made[1], 0)
