"""The model card: made from a bundle alone, in both forms, with the limits that its figures show."""

from pathlib import Path
from typing import Any

import pytest

from ray_mlops.cli import main
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.model_card import CardConfig
from ray_mlops.reports.card_limits import limits
from ray_mlops.reports.card_page import Identity, card_page
from ray_mlops.reports.markdown import as_markdown
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from tests import small_model
from tests.small_model import study

STATED = CardConfig(
    purpose="To stop stolen cards", not_for=("credit decisions",), owner="payments", risk="high", limits=("Euro only.",)
)
KNOWN: dict[str, Any] = {"decision": {}, "lineage": {}, "evaluation": {}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def version(root: Path) -> ModelVersion:
    run = Run(
        root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print", override="we insist"
    )
    return register.run(RegisterConfig(name="small", card=STATED), run, **study(root))


def test_the_card_tells_purpose_data_figures_limits_and_lineage(version: ModelVersion) -> None:
    bundle = Bundle.load(version.uri)
    text = as_markdown(card_page(bundle, Identity("small", "1", version.digest, "approved", ("champion",))))
    for told in (
        "# Model card: small 1", "To stop stolen cards", "Not for: credit decisions", "**Owner**: payments",
        "risk of its use is rated high", "decision was use\\_ml", "small.clean", "| average precision | 0.8 | 0.7 | 0.9 |",
        "Euro only.", "trained against the decision", "we insist", "xgboost", version.digest[:12], "| review | 0.3 |",
    ):  # fmt: skip
        assert told in text, told


def test_the_command_prints_markdown_and_writes_html(
    root: Path, version: ModelVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", "small", "--root", str(root)]) == 0
    assert capsys.readouterr().out.startswith("# Model card: small 1")
    assert main(["card", "small/1", "--root", str(root), "--out", str(tmp_path / "card.html")]) == 0
    page = (tmp_path / "card.html").read_text()
    assert page.startswith("<!doctype html>") and "To stop stolen cards" in page and len(page) < 200_000
    assert main(["card", "small", "--root", str(root), "--out", "card.pdf"]) == 1


def test_a_bundle_from_before_there_were_cards_has_one_too(tmp_path: Path) -> None:
    old = small_model.bundle(tmp_path)
    text = as_markdown(card_page(old, Identity("small", "1", old.digest)))
    assert "average precision" in text and "Nobody has rated the risk" in text


def part(recall: float, high: float) -> dict[str, Any]:
    return {"by": "hour", "value": "00-05 h", "metrics": {"recall": {"value": recall, "low": 0.0, "high": high}}}


@pytest.mark.parametrize(
    ("appraisal", "known", "told"),
    [
        ({"data": {"positives": 7}}, {}, "judged on 7 frauds only"),
        ({"metrics": {"recall": {"value": 0.8}}, "slices": [part(0.3, 0.5)]}, {}, "hour is 00-05 h: 30.0 % of them, 80.0 %"),
        ({}, {"evaluation": {"gain_over_rule_low": -0.1}}, "may be chance"),
        ({}, {"evaluation": {"ece": 0.2}}, "off by 20.0 %"),
        ({"metrics": {}}, {}, "No groups of people were declared"),
        ({}, {"lineage": {"intervals": {"train": {"end": "2024-05-01T00"}}}}, "until 2024-05-01"),
        ({"accuracy": {"value": 0.9}, "per_class": [{"class": "cat", "recall": 0.5}]}, {}, "50.0 % of class cat"),
        (
            {"accuracy": {"value": 0.9}, "robustness": [
                {"kind": "as it is", "strength": "", "accuracy": 0.9}, {"kind": "blur", "strength": 2, "accuracy": 0.6}]},
            {}, "falls to 60.0 % on pictures with blur 2",
        ),
    ],
)  # fmt: skip
def test_limits_are_found_in_the_figures(appraisal: dict, known: dict, told: str) -> None:
    assert any(told in limit for limit in limits({}, appraisal, {**KNOWN, **known}))


def test_a_sound_model_has_no_limits_but_time() -> None:
    appraisal = {
        "metrics": {"recall": {"value": 0.8}}, "slices": [part(0.75, 0.9)], "groups": [{}], "data": {"positives": 900}
    }  # fmt: skip
    known = {**KNOWN, "evaluation": {"ece": 0.001, "gain_over_rule_low": 0.2}}
    assert list(limits({"risk": "low"}, appraisal, known)) == []
