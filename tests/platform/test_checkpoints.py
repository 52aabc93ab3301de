"""The checkpoint of a fit in one process: the last one, and never half of one."""

from pathlib import Path

from ray_mlops.platform import checkpoints


def written(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "model").write_text(text)
    return str(folder)


def test_the_last_checkpoint_is_kept_and_no_other(tmp_path: Path) -> None:
    uri = str(tmp_path / "artifact")
    with checkpoints.latest(uri) as folder:
        assert folder is None
    for text in ("one", "two", "three"):
        checkpoints.keep(uri, {}, written(tmp_path / "made", text))
    with checkpoints.latest(uri) as folder:
        assert folder is not None
        assert (Path(folder) / "model").read_text() == "three"
        assert [path.name for path in Path(folder).parent.iterdir()] == [Path(folder).name]


def test_what_a_kill_left_half_written_is_not_taken(tmp_path: Path) -> None:
    uri = str(tmp_path / "artifact")
    checkpoints.keep(uri, {}, written(tmp_path / "made", "whole"))
    (tmp_path / "artifact" / "checkpoint" / "1").mkdir()
    (tmp_path / "artifact" / "checkpoint" / "1" / "rest of the killed one").write_text("half")
    with checkpoints.latest(uri) as folder:
        assert folder is not None
        assert (Path(folder) / "model").read_text() == "whole"
    checkpoints.keep(uri, {}, written(tmp_path / "made", "next"))
    with checkpoints.latest(uri) as folder:
        assert folder is not None
        assert [path.name for path in Path(folder).iterdir()] == ["model"]


def test_a_report_without_a_checkpoint_keeps_the_one_before(tmp_path: Path) -> None:
    uri = str(tmp_path / "artifact")
    checkpoints.keep(uri, {}, written(tmp_path / "made", "kept"))
    checkpoints.keep(uri, {}, None)
    with checkpoints.latest(uri) as folder:
        assert folder is not None
        assert (Path(folder) / "model").read_text() == "kept"
    checkpoints.forget(uri)
    assert list((tmp_path / "artifact").iterdir()) == []
