"""Nobody trains against the decision without saying why."""

from pathlib import Path

import pytest

from ray_mlops.contract import Decision, Run
from ray_mlops.errors import DecisionError
from ray_mlops.platform import files
from ray_mlops.platform.permission import OVERRIDE, require_model


def a_run(root: Path, override: str = "") -> Run:
    return Run(root=str(root), id="r", recipe="t", uri=str(root / "stage"), fingerprint="f", override=override)


def decided(verdict: str) -> Decision:
    return Decision.model_validate({"uri": "", "fingerprint": "d", "verdict": verdict, "reasons": ("a rule does it",)})


def test_use_ml_needs_no_reason(tmp_path: Path) -> None:
    require_model(decided("use_ml"), a_run(tmp_path))
    assert not (tmp_path / "stage").exists()


@pytest.mark.parametrize("verdict", ["no_ml", "collect_more", "redefine"])
@pytest.mark.parametrize("override", ["", "  "])
def test_every_other_verdict_does(verdict: str, override: str, tmp_path: Path) -> None:
    with pytest.raises(DecisionError, match=f'{verdict}.*a rule does it.*--override "reason"'):
        require_model(decided(verdict), a_run(tmp_path, override))
    assert not (tmp_path / "stage").exists()


def test_the_reason_is_recorded(tmp_path: Path) -> None:
    run = a_run(tmp_path, "for the demo")
    require_model(decided("no_ml"), run)
    record = files.read_json(files.join(run.uri, OVERRIDE))
    assert record == {"verdict": "no_ml", "reasons": ["a rule does it"], "override": "for the demo"}
