"""Analyse and decide on images of two kinds that can be told apart by their colour alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.contract import CleanImages, ImageProfile, ImageSchema, ImageTable, Run
from ray_mlops.platform import tables
from ray_mlops.stages.images import analyse, clean, decide
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.sources import Sample, rows
from ray_mlops.vision.transform import Transform
from tests.vision.pictures import encoded, noise


def sample(number: int) -> Sample:
    label = "dark" if number % 2 else "light"
    pixels = noise(16, 20, seed=number) // 4 + (0 if number % 2 else 150)
    return Sample(f"{number:03d}", encoded(pixels.astype(np.uint8)), label if number != 7 else "light")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path / "root"), id="r", recipe="test", uri=str(tmp_path / "root" / "a"), fingerprint="f")


def cleaned(run: Run, samples: list[Sample]) -> CleanImages:
    entries = tables.write_part(rows(samples, ("id", "image", "label", "group")), f"{run.root}/data").to_pylist()
    raw = ImageTable(**dict(tables.commit(entries, "t.images", run, sources={})), data=ImageSchema())
    return clean.run(clean.CleanConfig(), run, table=raw)


def test_the_profile_tells_classes_oddities_and_the_label_in_doubt(run: Run) -> None:
    white = Sample("white", encoded(np.full((16, 20, 3), 255, np.uint8)), "light")
    table = cleaned(run, [*map(sample, range(80)), white])
    profile = analyse.run(analyse.AnalyseConfig(), run, table=table)
    assert profile.classes == {"dark": 39, "light": 42} and profile.rows == 81
    assert profile.doubtful == ("007",)
    told = json.loads(Path(run.uri, "profile.json").read_text())
    assert told["odd"]["nearly of one colour"] == ["white"]
    assert told["doubtful"][0]["likelier"] == "dark"
    page = Path(profile.report).read_text()
    assert page.count("data:image/png;base64") >= 2 * 9 and ": light, looks like dark" in page


def test_a_rule_that_is_enough_needs_no_network(run: Run) -> None:
    table = cleaned(run, [sample(number) for number in range(200) if number != 7])
    profile = ImageProfile(uri="", fingerprint="", report="", rows=199, classes={})
    features = ImageFeaturesConfig(transform=Transform(size=(8, 8)))
    decision = decide.run(decide.DecideConfig(), run, table=table, profile=profile, features=features)
    assert decision.verdict == "no_ml" and decision.scores["mean_colour"]["accuracy"] == 1.0
    assert "Is a network needed?" in Path(decision.report).read_text()
    told = json.loads(Path(run.uri, "decision.json").read_text())
    assert told["crossed"] and told["data"]["judged"] == told["data"]["images"], "few images are judged all"
    decide.run(decide.DecideConfig(cross_images=100), run, table=table, profile=profile, features=features)
    told = json.loads(Path(run.uri, "decision.json").read_text())
    assert not told["crossed"] and sum(told["data"]["judged"].values()) == 60


def test_too_few_images_are_told_before_any_fit(run: Run) -> None:
    table = cleaned(run, [sample(number) for number in range(20)])
    profile = ImageProfile(uri="", fingerprint="", report="", rows=20, classes={})
    decision = decide.run(decide.DecideConfig(), run, table=table, profile=profile, features=ImageFeaturesConfig())
    assert decision.verdict == "collect_more" and not decision.scores
