"""The record of a run."""

from pathlib import Path

import pytest

from ray_mlops import recipes, runs
from ray_mlops.contract import Trained
from ray_mlops.errors import StorageError
from ray_mlops.platform import store


def test_what_a_run_has_done_is_recorded_although_its_page_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.open_run(recipes.fraud(), "fraud", str(tmp_path))

    def refuse(*_: object) -> None:
        raise StorageError("the manifest is gone")

    monkeypatch.setattr(store, "manifest", refuse)
    trained = Trained.model_construct(fingerprint="f" * 64)
    with pytest.raises(StorageError, match="gone"):
        runs.save(run, [store.Record("train", "done", 1.0, trained)], "failed", "no room")
    assert runs.record(str(tmp_path), run.id)["error"] == "no room"
