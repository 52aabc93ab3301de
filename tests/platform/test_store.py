"""A stage runs once per input: the fingerprint decides, the manifest proves, a dead attempt leaves nothing behind."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from ray_mlops.contract import Frozen, Profile, Run
from ray_mlops.platform import files, source_code, store


class CountConfig(Frozen):
    step: int = 1


calls: list[Run] = []


def count(config: CountConfig, run: Run, *, table: Profile | None = None) -> Profile:
    calls.append(run)
    return Profile(uri=run.uri, fingerprint=run.fingerprint, report="", rows=config.step, positives=0)


def once(stage, run: Run, config: CountConfig | None = None, **how) -> store.Record:
    """One stage, once; `how` are the other fields of the step, or `again` and `before`."""
    order = {name: how.pop(name) for name in ("again", "before") if name in how}
    return store.once(store.Step("analyse", stage, config or CountConfig(), **how), run, **order)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    calls.clear()
    return Run(root=str(tmp_path), id="r", recipe="test", seed=1)


def test_an_unchanged_stage_is_reused_and_gives_the_same_artifact(run: Run) -> None:
    first = once(count, run)
    again = once(count, run)
    assert (first.status, again.status) == ("done", "reused")
    assert again.artifact == first.artifact and len(calls) == 1


@pytest.mark.parametrize("change", ["config", "seed", "upstream", "identity"])
def test_whatever_enters_the_result_makes_it_run_again(run: Run, change: str) -> None:
    upstream = Profile(uri="u", fingerprint="one", report="", rows=1, positives=0)
    once(count, run, upstream={"table": upstream})
    config = CountConfig(step=2) if change == "config" else CountConfig()
    changed = Run(root=run.root, id="r", recipe="test", seed=2) if change == "seed" else run
    other = upstream.model_copy(update={"fingerprint": "two"}) if change == "upstream" else upstream
    identity = "other" if change == "identity" else ""
    record = once(count, changed, config, identity=identity, upstream={"table": other})
    assert record.status == "done" and len(calls) == 2


def test_where_an_upstream_artifact_lies_does_not_matter_only_what_it_is(run: Run) -> None:
    upstream = Profile(uri="here", fingerprint="one", report="", rows=1, positives=0)
    once(count, run, upstream={"table": upstream})
    moved = upstream.model_copy(update={"uri": "there"})
    assert once(count, run, upstream={"table": moved}).status == "reused"


def test_a_stage_that_died_leaves_no_manifest_and_runs_again(run: Run) -> None:
    def dies(config: CountConfig, run: Run) -> Profile:
        files.write_text(files.join(run.uri, "half.txt"), "half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(dies, run)
    folders = files.listing(files.join(run.root, "artifacts", "analyse"))
    assert [files.listing(files.join(run.root, "artifacts", "analyse", name)) for name in folders] == [
        [".lock", "half.txt"]
    ]
    assert once(count, run).status == "done"


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in a root that several commands use, on a folder and on S3."""
    if request.param == "folder":
        return run
    for name, value in request.getfixturevalue("s3_server").items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="store")
    return replace(run, root="s3://store/mlops")


def test_of_two_at_once_one_waits_and_finds_what_the_other_made(shared: Run) -> None:
    def slow(config: CountConfig, run: Run) -> Profile:
        time.sleep(0.2)
        return count(config, run)

    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda _: once(slow, shared), range(4)))
    assert sorted(record.status for record in records) == ["done", "reused", "reused", "reused"]


def test_a_result_that_is_no_longer_valid_is_made_again_and_force_does_the_same(run: Run) -> None:
    once(count, run)
    assert once(count, run, valid=lambda artifact: False).status == "done"
    assert once(count, run, again=True).status == "done"


def test_preparation_happens_only_when_the_stage_really_runs(run: Run) -> None:
    prepared: list[int] = []
    for _ in range(2):
        once(count, run, before=lambda: prepared.append(1))
    assert prepared == [1]


def test_the_code_of_a_stage_is_its_module_and_all_it_imports_of_ours() -> None:
    closure = source_code.closure("ray_mlops.platform.tables")
    assert {"ray_mlops.platform.tables", "ray_mlops.platform.files", "ray_mlops.errors"} <= closure
    assert "ray_mlops.platform.runtime" not in closure


def test_a_user_class_counts_with_the_code_of_its_file() -> None:
    described = store.describe(CountConfig(step=3))
    assert described["step"] == 3 and described["code"]
    assert store.describe([CountConfig(), "x", 1.5])[1:] == ["x", 1.5]
