"""How many replicas there should be, decided without any."""

from datetime import UTC, datetime, time
from types import SimpleNamespace
from typing import Any

import pytest

from ray_mlops.overrides import override
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.autoscaling import Policy, Scheduled, Seen
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.pace import Pace

MONDAY = datetime(2026, 7, 6, 7, 30, tzinfo=UTC)  # 09:30 in Berlin
OFFICE: dict[str, Any] = {
    "min_replicas": 3, "start": "09:00", "end": "17:00", "days": ["mon", "fri"], "timezone": "Europe/Berlin"
}  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "seen", "replicas"),
    [
        (Policy(4), Seen(replicas=1, ongoing=10), 2.5),
        (Policy(4), Seen(replicas=3, ongoing=0), 0),
        (Policy(4), Seen(replicas=1, ongoing=0, waiting=7), 1),
        (Policy(4, 50), Seen(replicas=2, ongoing=1, p95_ms=60), 3),
        (Policy(4, 50), Seen(replicas=2, ongoing=1, p95_ms=5000), 4),
        (Policy(4, 50), Seen(replicas=2, ongoing=1, p95_ms=40), 2),
        (Policy(4, 50), Seen(replicas=2, ongoing=1, p95_ms=20), 0.25),
        (Policy(4, 50), Seen(replicas=2, ongoing=0, p95_ms=60), 3),
        (Policy(4, 50), Seen(replicas=2, ongoing=0), 0),
        (Policy(4, 50), Seen(replicas=1, ongoing=40, p95_ms=60), 10),
        (Policy(4, schedule=[OFFICE]), Seen(replicas=1, ongoing=0), 3),
        (Policy(4, schedule=[OFFICE]), Seen(replicas=3, ongoing=20), 5),
        (Policy(4, schedule=[{**OFFICE, "timezone": "UTC"}]), Seen(replicas=1, ongoing=0), 0),
    ],
)
def test_the_largest_of_what_is_asked_for_is_taken(policy: Policy, seen: Seen, replicas: float) -> None:
    assert policy.replicas(seen, MONDAY) == replicas


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-07-06T06:59:59", False),
        ("2026-07-06T07:00:00", True),
        ("2026-07-06T14:59:59", True),
        ("2026-07-06T15:00:00", False),
        ("2026-07-07T10:00:00", False),
        ("2026-07-10T10:00:00", True),
        ("2026-01-05T08:30:00", True),  # in winter Berlin is an hour ahead of UTC, in summer two
        ("2026-01-05T07:30:00", False),
    ],
)
def test_a_window_is_in_its_own_time_zone_on_its_days(moment: str, inside: bool) -> None:
    assert Scheduled.model_validate(OFFICE).covers(datetime.fromisoformat(moment).replace(tzinfo=UTC)) is inside


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-07-06T21:00:00", False),
        ("2026-07-06T22:00:00", True),
        ("2026-07-07T05:59:00", True),
        ("2026-07-07T06:00:00", False),
        ("2026-07-07T23:00:00", False),
        ("2026-07-06T05:00:00", False),
    ],
)
def test_a_window_past_midnight_belongs_to_the_day_on_which_it_starts(moment: str, inside: bool) -> None:
    window = Scheduled(min_replicas=1, start=time(22), end=time(6), days=("mon",))
    assert window.covers(datetime.fromisoformat(moment).replace(tzinfo=UTC)) is inside


def test_serve_hands_over_what_its_replicas_say() -> None:
    context = SimpleNamespace(
        current_num_replicas=2,
        total_num_requests=3.0,
        aggregated_metrics={
            "p95_ms": {"a": 120.0, "b": 90.0, "c": 0.0},
            "waiting": {"a": 0.0, "b": 5.0},
            "ongoing": {"a": 1.0, "b": 2.0},  # past Serve, which does not count them
        },
    )
    assert Policy(4, 100.0)(context) == (3.0, {}) and Policy(1)(context) == (6.0, {})
    assert Policy(1)(SimpleNamespace(current_num_replicas=0, total_num_requests=0.0, aggregated_metrics=None)) == (
        0.0,
        {},
    )


def test_a_replica_says_how_long_its_latest_answers_took_and_what_waits(tmp_path: Any) -> None:
    now, queue = [0.0], Queue(str(tmp_path), Asynchronous())
    pace = Pace(queue, clock=lambda: now[0])
    assert pace.stats() == {"p95_ms": 0.0, "waiting": 0.0}
    pace.answered(9.0)
    now[0], queue.outstanding = 11.0, 4
    for place in range(100):
        pace.answered(place / 1000)
    assert pace.stats() == {"p95_ms": pytest.approx(95), "waiting": 4.0}


def test_what_cannot_be_is_refused() -> None:
    config = override(Scale(max_replicas=3), [
        "target_latency_ms=80", "schedule=[{min_replicas: 3, start: '08:00', end: '18:00', timezone: Europe/Berlin}]"
    ])  # fmt: skip
    assert config.schedule[0].start == time(8) and Scale(min_replicas=0).replicas.min_replicas == 0
    with pytest.raises(ValueError, match="schedule asks for 3 replicas, max_replicas allows 2"):
        Scale(max_replicas=2, schedule=(Scheduled.model_validate(OFFICE),))
    with pytest.raises(ValueError, match="no time zone"):
        Scheduled.model_validate({**OFFICE, "timezone": "Mars/Olympus"})
