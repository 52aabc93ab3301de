"""What a version was made from, as the command tells it."""

import json
from pathlib import Path

import pytest
import yaml

from ray_mlops.cli import main
from ray_mlops.commands import administration
from ray_mlops.platform import registry
from ray_mlops.platform.bundle import Bundle
from tests.small_model import bundle


def test_lineage_comes_from_the_verified_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(bundle(tmp_path).folder).parents[1] / "source"
    (source / "lineage.json").write_text(json.dumps({"git": "abc", "sources": {"rows.csv": "1f"}}))
    known = registry.open_registry(administration(str(tmp_path)))
    made = known.register("fraud", Bundle.write(str(source), str(tmp_path / "bundles")), run="fraud-1", reason="first")
    assert main(["lineage", "fraud/1", "--root", str(tmp_path)]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert (told["model"], told["digest"], told["run"]) == ("fraud/1", made.digest, "fraud-1")
    assert told["git"] == "abc" and told["sources"] == {"rows.csv": "1f"}
    assert [(change["action"], change["reason"]) for change in told["changes"]] == [("registered", "first")]
    (Path(made.uri) / "lineage.json").write_text("{}")
    assert main(["lineage", "fraud/1", "--root", str(tmp_path)]) == 1
    assert "lineage.json is damaged" in capsys.readouterr().err
