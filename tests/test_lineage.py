"""What a version was made from, as the command tells it."""

from pathlib import Path

import pytest
import yaml

from ray_mlops.cli import main
from ray_mlops.contract import Run
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from tests.small_model import study


def test_lineage_comes_from_the_verified_bundle_and_what_lies_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(str(tmp_path), "small-1", "small", uri=str(tmp_path / "artifact"), fingerprint="print")
    made = register.run(RegisterConfig(name="small"), run, **study(tmp_path))
    assert main(["lineage", "small/1", "--root", str(tmp_path)]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert (told["model"], told["digest"], told["run"]) == ("small/1", made.digest, "small-1")
    assert told["tables"]["history"]["name"] == "small.clean" and told["algorithm"]["kind"] == "xgboost"
    assert told["environment"]["python"] and "ray_mlops.stages.train" in told["code"]
    assert told["hardware"]["workers"] == 1 and told["lock"]["distributions"] > 50
    assert [change["action"] for change in told["changes"]] == ["promoted", "registered"]
    (Path(made.uri) / "lineage.json").write_text("{}")
    assert main(["lineage", "small/1", "--root", str(tmp_path)]) == 1
    assert "lineage.json is damaged" in capsys.readouterr().err
