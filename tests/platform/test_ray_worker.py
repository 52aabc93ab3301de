"""When a worker keeps a checkpoint, and what it tells Ray, played without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest

from ray_mlops.platform.ray_worker import PROGRESS_FILE, SCORE, UNJUDGED, RayWorker, device, threads

Sent = list[tuple[dict[str, float], str | None]]


def worker(folder: Path, sent: Sent, **other: Any) -> RayWorker:
    given = {"rank": 0, "size": 1, "checkpoint_seconds": 1000.0, "noticed": lambda: False, **other}
    return RayWorker(
        device="cpu", threads=1, seed=0, network={}, resume=None, uri=str(folder),
        send=lambda metrics, checkpoint: sent.append((metrics, checkpoint)), **given,
    )  # fmt: skip


def test_one_worker_keeps_a_checkpoint_when_the_last_is_long_ago(tmp_path: Path) -> None:
    sent: Sent = []
    patient, eager = worker(tmp_path, sent), worker(tmp_path, sent, checkpoint_seconds=0)
    patient.report({"accuracy": 0.5, "progress": 0.1}, "a")
    assert sent == []
    assert not patient.wants_checkpoint()
    assert eager.wants_checkpoint()
    eager.report({"accuracy": 0.5, "progress": 0.1}, "b")
    assert sent == [({"accuracy": 0.5, "progress": 0.1, SCORE: 0.5}, "b")]


def test_several_workers_report_always_because_all_have_to(tmp_path: Path) -> None:
    sent: Sent = []
    worker(tmp_path, sent, size=2).report({"accuracy": 0.5}, "a")
    worker(tmp_path, sent, size=2, rank=1).report({"accuracy": 0.5})
    assert [checkpoint for _, checkpoint in sent] == ["a", None]


def test_the_best_are_kept_where_that_is_wanted_and_those_between_two_verdicts_rank_last(tmp_path: Path) -> None:
    sent: Sent = []
    found = worker(tmp_path, sent, keep_judged=True)
    found.report({"progress": 0.05}, "between")
    found.report({"loss": 0.3, "accuracy": 0.8, "progress": 0.1}, "judged")
    assert sent == [({"loss": 0.3, "accuracy": 0.8, "progress": 0.1, SCORE: 0.3}, "judged")]
    found.checkpoint_seconds = 0
    found.report({"progress": 0.15}, "due")
    assert sent[-1] == ({"progress": 0.15, SCORE: UNJUDGED}, "due")
    assert found.figures == {"loss": 0.3, "accuracy": 0.8, "progress": 0.15}


def test_a_notice_takes_one_checkpoint_at_once(tmp_path: Path) -> None:
    sent: Sent = []
    notices = iter([False, True, True, True])
    found = worker(tmp_path, sent, noticed=lambda: next(notices))
    assert not found.wants_checkpoint()
    assert found.wants_checkpoint()
    found.report({"progress": 0.3}, "just in time")
    assert [checkpoint for _, checkpoint in sent] == ["just in time"]
    assert not found.wants_checkpoint()
    found.report({"progress": 0.4}, "later")
    assert len(sent) == 1


def test_a_promised_checkpoint_is_sent_whatever_the_clock_says_then(tmp_path: Path) -> None:
    sent: Sent = []
    found = worker(tmp_path, sent, checkpoint_seconds=0)
    assert found.wants_checkpoint()
    found.checkpoint_seconds = 1000
    found.report({"progress": 0.3}, "promised")
    found.report({"progress": 0.4}, "not due")
    assert [checkpoint for _, checkpoint in sent] == ["promised"]


def test_the_first_worker_writes_down_how_far_it_is(tmp_path: Path) -> None:
    for rank, done in ((1, 0.9), (0, 0.25)):
        worker(tmp_path, [], rank=rank).report({"progress": done})
    assert json.loads((tmp_path / PROGRESS_FILE).read_text()) == {"progress": 0.25}


@pytest.mark.parametrize(("cpus", "neighbours", "found"), [(4.0, 2, 4), (0.5, 1, 1), (None, 10_000, 1)])
def test_threads_are_those_reserved_or_a_share_of_the_node(cpus: float | None, neighbours: int, found: int) -> None:
    assert threads(cpus, neighbours) == found


@pytest.mark.parametrize(("gpus", "found"), [([], "cpu"), ([3], "cuda:1"), (["3"], "cuda:1")])
def test_the_device_is_the_gpu_that_ray_has_given(gpus: list[Any], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    import ray.train.torch
    import torch

    monkeypatch.setattr(ray, "get_gpu_ids", lambda: gpus)
    monkeypatch.setattr(
        ray.train.torch, "get_device", lambda: torch.device("cuda", 1)
    )  # its place among the visible ones
    assert device() == found
