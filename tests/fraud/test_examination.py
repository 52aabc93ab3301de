"""An evaluation of scores: figures, intervals, gains, and what is left out where it has no meaning."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ray_mlops.fraud.appraisal import NEVER, Judged, Policy, Review, Scored
from ray_mlops.fraud.examination import Chosen, Examination, Rival, Settings, examine
from ray_mlops.fraud.slices import by_amount

SETTINGS = Settings(bootstrap=60)


def rows(count: int = 4_000, seed: int = 0, *, cards: bool = True) -> tuple[Judged, np.ndarray]:
    """Ten days of transactions with scores that know something of the fraud."""
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.04
    scores = np.clip(random.normal(np.where(labels, 0.6, 0.2), 0.15), 0, 1)
    amounts = random.gamma(2, 30, count)
    seconds = random.integers(0, 10 * 86_400, count)
    found = random.integers(0, 300, count) if cards else None
    return Judged.of(labels, amounts * labels, seconds, found), scores


def examined(judged: Judged, scored: Scored, rivals: dict[str, Rival] | None = None) -> Examination:
    return examine(judged, scored, rivals or {}, [], settings=SETTINGS, seed=0)


def chosen(judged: Judged, scores: np.ndarray, **policy: float | str) -> Chosen:
    settings = SETTINGS.model_copy(update={"policy": Policy.model_validate(policy)})
    return Chosen.on(scores, judged, settings, length_days=10)


def test_flat_metrics_are_the_plain_ones_with_their_intervals() -> None:
    judged, scores = rows()
    scored = chosen(judged, scores).scored(scores)
    found = examined(judged, scored).metrics
    assert found["average_precision"] == pytest.approx(average_precision_score(judged.labels, scores))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(judged.labels, scores))
    alerts = scored.alerts
    assert found["recall"] == pytest.approx(judged.labels[alerts].sum() / judged.labels.sum())
    assert found["value_recall"] == pytest.approx(judged.stolen[alerts].sum() / judged.stolen.sum())
    assert found["savings"] == pytest.approx(judged.stolen[alerts].sum() - 5.0 * alerts.sum())
    required = "average_precision roc_auc card_precision_at_100 card_recall_at_100 recall_at_1pct_fpr value_recall ece"
    for name in (*required.split(), "savings", "gain_over_rule", "gain_over_champion"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["card_recall_at_100"] <= found["card_recall_at_100_attainable"] <= 1


def test_details_are_strict_json() -> None:
    judged, scores = rows(300)
    rival = {"rule": Rival("amount >= 1", Scored(np.ones(300), np.ones(300, dtype=bool)))}
    details = examined(judged, chosen(judged, scores).scored(scores), rival).details
    json.dumps(details, allow_nan=False)


def test_without_cards_their_figures_are_left_out() -> None:
    judged, scores = rows(cards=False)
    found = examined(judged, chosen(judged, scores).scored(scores))
    assert not [name for name in found.metrics if name.startswith("card_")]
    assert found.details["attainable"] == {}
    assert "compromised cards" not in found.details["curves"]["days"][0]


def test_on_one_day_there_are_values_and_no_intervals() -> None:
    judged, scores = rows(500)
    one = Judged.of(judged.labels, judged.stolen, np.zeros(500), judged.cards)
    found = examined(one, chosen(one, scores).scored(scores)).metrics
    assert "average_precision" in found
    assert "average_precision_low" not in found
    assert all(np.isfinite(value) for value in found.values())


def test_a_gain_is_paired_with_the_rival_on_the_same_days() -> None:
    judged, scores = rows()
    worse = np.clip(scores + np.random.default_rng(1).normal(0, 0.08, len(scores)), 0, 1)
    scored, other = (chosen(judged, known).scored(known) for known in (scores, worse))
    found = examined(judged, scored, {"champion": Rival("version 1", other)})
    alone = examined(judged, scored).metrics
    gain = found.metrics["gain_over_champion"]
    assert gain == pytest.approx(
        average_precision_score(judged.labels, scores) - average_precision_score(judged.labels, worse)
    )
    assert found.metrics["gain_over_champion_low"] > 0
    width = found.metrics["gain_over_champion_high"] - found.metrics["gain_over_champion_low"]
    assert width < alone["average_precision_high"] - alone["average_precision_low"]
    assert found.details["rivals"]["champion"]["about"] == "version 1"


def test_a_model_gains_nothing_over_itself() -> None:
    judged, scores = rows()
    scored = chosen(judged, scores).scored(scores)
    found = examined(judged, scored, {"champion": Rival("itself", scored)}).metrics
    assert found["gain_over_champion"] == found["gain_over_champion_low"] == found["gain_over_champion_high"] == 0
    assert found["savings_over_champion"] == 0


def test_without_a_champion_the_gain_is_over_a_constant() -> None:
    judged, scores = rows()
    found = examined(judged, chosen(judged, scores).scored(scores)).metrics
    assert found["gain_over_champion"] == pytest.approx(found["average_precision"] - judged.labels.mean())


def test_slices_add_up_and_useless_ones_are_left_out() -> None:
    judged, scores = rows()
    amounts = np.random.default_rng(2).gamma(2, 30, len(scores))
    scored = chosen(judged, scores).scored(scores)
    slicings = [by_amount(amounts), by_amount(np.ones(len(scores)))]
    found = examine(judged, scored, {}, slicings, settings=SETTINGS, seed=0)
    parts = found.details["slices"]
    assert sum(part["rows"] for part in parts) == len(scores)
    assert sum(part["positives"] for part in parts) == judged.labels.sum()
    savings = sum(part["metrics"]["savings"]["value"] for part in parts)
    assert savings == pytest.approx(found.metrics["savings"])


def test_a_budget_of_alerts_a_day_is_kept_on_validation() -> None:
    judged, scores = rows()
    thresholds = chosen(judged, scores, by="budget", alerts_per_day=7).thresholds
    assert (scores >= thresholds["review"]).sum() == 70


def test_blocking_is_more_certain_than_reviewing() -> None:
    judged, scores = rows()
    thresholds = chosen(judged, scores, block_precision=0.95).thresholds
    assert thresholds["review"] <= thresholds["block"] <= 1
    assert judged.labels[scores >= thresholds["block"]].mean() >= 0.95


def test_where_nothing_pays_nothing_is_alerted() -> None:
    judged, scores = rows(500)
    costly = SETTINGS.model_copy(update={"costs": SETTINGS.costs.model_copy(update={"review": 1e6})})
    thresholds = Chosen.on(scores, judged, costly, length_days=10).thresholds
    assert dict(thresholds) == {"review": NEVER, "block": NEVER}
    json.dumps(thresholds, allow_nan=False)


def test_the_false_positive_rate_names_its_recall() -> None:
    assert Review(max_fpr=0.01).recall == "recall_at_1pct_fpr"
    assert Review(max_fpr=0.005).recall == "recall_at_0.5pct_fpr"
