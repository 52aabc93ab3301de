"""Attributions read off a log: of the rows that answers rested on, by the model of the bundle."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ray_mlops.fraud.predictor import Predictor
from ray_mlops.monitoring import attribution
from ray_mlops.monitoring.alarms import Rule, judge
from ray_mlops.monitoring.answers import Answers
from ray_mlops.monitoring.baseline import Baseline
from tests.small_model import bundle, transactions


@pytest.mark.parametrize("learned", ["the same features", "other features"])
def test_the_importance_of_logged_rows_is_held_against_that_of_training(tmp_path: Path, learned: str) -> None:
    made, table = bundle(tmp_path), transactions(600)
    predictor = Predictor.load(made)
    names = predictor.definition.names
    rows = predictor.definition.encode(predictor.definition.compute(table))
    log = tmp_path / "capture"
    log.mkdir()
    with (log / "a.jsonl").open("w") as lines:
        for second, row in enumerate(rows.tolist()):
            features = {name: None if np.isnan(value) else value for name, value in zip(names, row, strict=True)}
            at = datetime.fromtimestamp(second, UTC).isoformat()
            lines.write(json.dumps({"time": at, "id": second, "digest": made.digest, "features": features}) + "\n")
    known = attribution.importance(names, np.asarray(predictor.model.explain(rows), np.float64))
    if learned == "other features":
        order = sorted(known, key=lambda name: known[name])
        known = dict(zip(order, sorted(known.values(), reverse=True), strict=True))
    baseline = Baseline.model_validate(made.json("baseline.json")).model_copy(update={"importance": known})
    answers = Answers(made, baseline, str(log), loss=0.1, since=0)
    (reading,) = (one for one in answers(0, 600) if one.monitor == "attribution drift")
    assert bool(judge([[reading]], Rule())) is (learned == "other features"), reading
    assert (reading.measures["ndcg"] < 0.90) is (learned == "other features")
    assert not [one for one in answers(600, 1_200) if one.monitor == "attribution drift"]
