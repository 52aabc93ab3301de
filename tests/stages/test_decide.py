"""Decide gives the planted answer, with its reasons, from rows in any order."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_mlops.contract import Decision, Profile, Schema
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeaturesConfig, Split
from ray_mlops.fraud.verdict import Bar
from ray_mlops.stages import decide
from ray_mlops.stages.decide import DecideConfig
from tests.planted import EVENTS, FEATURES, a_run, by_chance, by_many_causes, by_one_rule, clean_table, events

QUICK = DecideConfig(bootstrap=100)


def profile(rows: pa.Table, *leaks: str) -> Profile:
    positives = int((rows["fraud"].to_numpy() == 1).sum())
    return Profile(uri="", fingerprint="p", report="", rows=rows.num_rows, positives=positives, leaks=leaks)


def decided(
    rows: pa.Table,
    root: Path,
    *leaks: str,
    config: DecideConfig = QUICK,
    features: FeaturesConfig = FEATURES,
    data: Schema = EVENTS,
) -> Decision:
    table = clean_table(rows, root, data)
    return decide.run(config, a_run(root, "decide"), table=table, profile=profile(rows, *leaks), features=features)


def record(decision: Decision) -> dict:
    return json.loads(Path(decision.uri, "decision.json").read_text())


def test_many_weak_causes_need_a_model(tmp_path: Path) -> None:
    decision = decided(events(by_many_causes), tmp_path)
    assert decision.verdict == "use_ml", decision.reasons
    scores = decision.scores
    assert set(scores) == {"constant", "single_feature", "rule", "linear", "boosting"}
    assert max(scores["linear"]["average_precision"], scores["boosting"]["average_precision"]) > (
        scores["rule"]["average_precision"] + 0.05
    )
    gain = record(decision)["gains"]["average_precision"]
    assert gain["low"] > 0.01 and gain["model"] in ("linear", "boosting")
    assert "clearly beats" in decision.reasons[0]
    assert "Is a model needed?" in Path(decision.report).read_text()


def test_one_rule_needs_no_model(tmp_path: Path) -> None:
    decision = decided(events(by_one_rule), tmp_path)
    assert decision.verdict == "no_ml", decision.reasons
    assert decision.rule is not None
    assert [condition.column for condition in decision.rule.conditions] == ["amount"]
    assert 180 <= float(decision.rule.conditions[0].value) <= 210
    assert "as good as a model" in decision.reasons[0]
    assert str(decision.rule) in decision.hints[0]
    assert decision.scores["rule"]["savings"] > 0.9 * decision.scores["boosting"]["savings"]


def test_few_frauds_call_for_more(tmp_path: Path) -> None:
    rows = events(by_one_rule, rows=3_000)
    decision = decided(rows, tmp_path, config=DecideConfig(bar=Bar(min_positives=500)))
    assert decision.verdict == "collect_more"
    assert "at least 500 and 20 are needed" in decision.reasons[0]
    assert "times as many" in decision.hints[0]
    assert decision.rule is None and not decision.scores


def test_a_wide_interval_calls_for_more(tmp_path: Path) -> None:
    bar = Bar(min_positives=5, min_positives_judged=5, min_gain_ap=0.05, min_gain_money=0.0, max_width=0.01)
    decision = decided(events(by_one_rule, rows=4_000), tmp_path, config=DecideConfig(bar=bar))
    assert decision.verdict == "collect_more", decision.reasons
    assert "cannot tell" in decision.reasons[0]
    assert "times as many days" in decision.hints[0]


def test_labels_by_chance_have_to_be_redefined(tmp_path: Path) -> None:
    decision = decided(events(by_chance), tmp_path)
    assert decision.verdict == "redefine", decision.reasons
    assert "Nothing beats the constant" in decision.reasons[0]


def test_a_leak_has_to_be_dropped_first(tmp_path: Path) -> None:
    decision = decided(events(by_many_causes, rows=2_000), tmp_path, "distance")
    assert (decision.verdict, decision.scores) == ("redefine", {})
    assert "distance alone gives the label away" in decision.reasons[0]
    assert "Drop the column" in decision.hints[0]


@pytest.mark.parametrize(("share", "words"), [(0.0, "are negative"), (1.0, "are positive"), (0.7, "not a rare event")])
def test_a_label_that_cannot_be_right_has_to_be_redefined(tmp_path: Path, share: float, words: str) -> None:
    decision = decided(events(lambda columns: np.full(len(columns["id"]), share), rows=2_000), tmp_path)
    assert decision.verdict == "redefine"
    assert words in decision.reasons[0]
    assert Path(decision.report).is_file()


def test_neither_the_order_of_rows_nor_the_files_matter(tmp_path: Path) -> None:
    rows = events(by_many_causes, rows=8_000)
    first = decided(rows, tmp_path / "a")
    second = decided(rows.take(pa.array(np.random.default_rng(1).permutation(rows.num_rows))), tmp_path / "b")
    assert first.scores == second.scores
    assert first.rule == second.rule
    assert first.reasons == second.reasons


def test_of_very_many_rows_whole_cards_are_read(tmp_path: Path) -> None:
    rows = events(by_many_causes, rows=30_000)
    decision = decided(rows, tmp_path, config=DecideConfig(max_rows=10_000, bootstrap=50))
    data = record(decision)["data"]
    assert 0 < data["earlier_rows"] + data["later_rows"] < 10_000
    assert decision.verdict == "use_ml"


def test_without_cards_amounts_or_windows_it_works_too(tmp_path: Path) -> None:
    bare = Schema(columns=EVENTS.columns, key="id", time="time", label="fraud")
    features = FEATURES.model_copy(update={"windows": ()})
    decision = decided(events(by_many_causes), tmp_path, features=features, data=bare)
    assert decision.verdict == "use_ml"
    assert record(decision)["data"]["features"][:3] == ["amount", "distance", "speed"]


def test_data_too_short_for_the_split_are_refused_in_words(tmp_path: Path) -> None:
    features = FEATURES.model_copy(update={"split": Split(train_days=300)})
    with pytest.raises(ConfigError, match="bring more data"):
        decided(events(by_many_causes, rows=2_000), tmp_path, features=features)
