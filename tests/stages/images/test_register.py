"""Registration of a classifier of images: a bundle that answers like the model, and gates that keep others out."""

import json
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.contract import Evaluation, ImageFeatures, ModelVersion, Trained
from ray_mlops.errors import GateError
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.platform.admission import RegisterConfig
from ray_mlops.platform.bundle import Bundle
from ray_mlops.reports.card_page import Identity, card_page
from ray_mlops.reports.markdown import as_markdown
from ray_mlops.stages.images import register
from ray_mlops.vision.parts import ImageSource
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.signals import SEEN
from tests import small_images

Made = tuple[Path, ImageFeatures, Trained, Evaluation, ModelVersion]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("digits")
    features = small_images.featured(root)
    trained = small_images.fitted(root, features)
    evaluation = small_images.judged(root, features, trained)
    return root, features, trained, evaluation, small_images.registered(root, features, trained, evaluation)


def test_the_bundle_answers_as_the_model_was_judged(made: Made) -> None:
    _, features, _trained, evaluation, version = made
    bundle = Bundle.load(version.uri, digest=version.digest)
    predictor = ImagePredictor.load(bundle)
    pixels, labels = ImageSource.of(features).read("test").arrays()
    probabilities = predictor.probabilities(pixels)
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(evaluation.metrics["accuracy"])
    assert predictor.temperature == evaluation.calibration["temperature"][0] != 1.0
    assert bundle.has("code/small_images.py")
    assert version.aliases == ("champion",)
    lineage = bundle.json("lineage.json")
    assert lineage["tables"]["source"]["snapshot"] == features.source.snapshot


def test_the_card_tells_classes_figures_and_robustness(made: Made) -> None:
    bundle = Bundle.load(made[4].uri)
    text = as_markdown(card_page(bundle, Identity("digits", "1", bundle.digest)))
    assert "Images by class" in text and "| accuracy |" in text and "Robustness" in text
    assert "| class | rows | precision | recall | f1 |" in text
    assert "frauds" not in text


def test_the_baseline_is_of_the_validation_images(made: Made) -> None:
    _, features, _, _, version = made
    baseline = Baseline.model_validate(Bundle.load(version.uri).json("baseline.json"))
    assert set(baseline.features) == set(SEEN)
    assert baseline.score.rows == sum(baseline.decisions.values()) == features.rows["validation"]
    assert set(baseline.decisions) <= set(features.classes)


def test_the_example_is_a_picture_that_the_model_reads(made: Made) -> None:
    bundle = Bundle.load(made[4].uri)
    predictor = ImagePredictor.load(bundle)
    pixels = predictor.transform.read(Path(bundle.path("example.png")).read_bytes())
    known = ImageSource.of(made[1]).read("validation").arrays()[0]
    assert (known == pixels).all(axis=(1, 2, 3)).any()


def test_the_same_model_has_the_same_digest_in_another_root(made: Made, tmp_path: Path) -> None:
    _, features, trained, evaluation, version = made
    again = small_images.registered(tmp_path, features, trained, evaluation)
    assert again.digest == version.digest


def test_a_gate_that_is_missed_leaves_nothing_behind(made: Made, tmp_path: Path) -> None:
    _, features, trained, evaluation, _ = made
    with pytest.raises(GateError, match=r"accuracy is 0\.\d+, below its limit 0.999"):
        register.run(
            RegisterConfig(name="digits", gates={"accuracy": 0.999}),
            small_images.a_run(tmp_path, "register"),
            features=features,
            trained=trained,
            evaluation=evaluation,
            decision=small_images.DECISION,
            algorithm=small_images.QUICK,
        )
    assert not list(tmp_path.iterdir())


def test_a_model_that_gives_no_distribution_is_named(made: Made) -> None:
    from ray_mlops.errors import ConfigError

    predictor = ImagePredictor.load(Bundle.load(made[4].uri))
    spoilt = ImagePredictor(_Half(), predictor.transform, predictor.classes)
    with pytest.raises(ConfigError, match="one probability for each of 10 classes"):
        spoilt.probabilities(np.zeros((2, 8, 8, 1), np.uint8))
    assert json.loads(json.dumps(predictor.top(np.full(10, 0.1), 2)))[0]["probability"] == 0.1


class _Half(small_images.CentroidModel):
    """Probabilities that sum to a half."""

    def __init__(self) -> None:
        super().__init__(np.zeros((10, 8, 8, 1)), 1.0)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return super().predict(batch) / 2
