import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.causes import Explainer, Explaining
from ray_mlops.monitoring.drift import Limits
from ray_mlops.monitoring.history import History, Judged
from ray_mlops.monitoring.judging import Judge, Judging
from ray_mlops.monitoring.proposals import Circumstances
from ray_mlops.monitoring.readings import Reading
from ray_mlops.monitoring.sketches import Sketch
from tests.monitoring.watched import DIGEST, baseline, leave, window

KNOWN = baseline()
JUDGING = Judging(min_requests=200, window_s=60)


def explainer(capture: str = "", known: Circumstances | None = None) -> Explainer:
    return Explainer(
        endpoint="fraud",
        version="2",
        digest=DIGEST,
        baseline=KNOWN,
        capture=capture,
        known=known or Circumstances(),
        limits=Limits(),
        explaining=Explaining(samples=2),
    )


def line(at: float, **told: Any) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return json.dumps({"time": moment, "digest": DIGEST, "version": "2", "request_id": "r", **told}) + "\n"


def answer(at: float, key: int, amount: float | None, score: float = 0.1, digest: str = DIGEST) -> str:
    inputs, features = {"amount": amount, "group": "a"}, {"amount": amount, "count": 2.0}
    told = {"id": key, "inputs": inputs, "features": features, "score": score, "probability": score}
    return line(at, **told, decision="approve") if digest == DIGEST else line(at, **told | {"digest": digest})


def shifted(monitoring: Path, windows: int = 8, since: int = 5) -> list[Judged]:
    """Judged windows, a minute each, with larger amounts from one of them on."""
    leave(
        str(monitoring), *(window(KNOWN, 60 * n, 300, scale=5.0 if n >= since else 1.0) for n in range(windows))
    )  # fmt: skip
    Judge(JUDGING, KNOWN, History(str(monitoring), DIGEST)).catch_up(1e9)
    return History(str(monitoring), DIGEST).judged()


def test_a_report_says_what_moved_since_when_by_how_much_and_shows_it(tmp_path):
    judged = shifted(tmp_path / "monitoring")
    capture = tmp_path / "capture"
    capture.mkdir()
    lines = [answer(430, 1, 20.0), answer(431, 2, 150.0), answer(432, 3, 150.0, digest="other"), answer(433, 4, 150.0)]
    lines += [answer(434, 5, 150.0), answer(20, 6, 150.0)]
    (capture / "a.jsonl").write_text("".join(lines) + '{"time": "half')
    report = explainer(str(capture)).explain(judged[-1], judged[:-1])
    cause = next(one for one in report.causes if one.key == "data drift: feature amount")
    assert (cause.since, cause.windows, report.since) == (300, 3, 300)
    assert cause.effect > cause.limit == 0.2
    assert cause.shows.startswith("amount is from") and cause.samples == ("2", "4")
    assert (report.action, report.window, report.id) == ("keep", 8, f"fraud-{DIGEST[:12]}-8")
    text = "\n".join(report.lines())
    assert "keep" in text and "since 1970-01-01 00:05:00" in text and "2, 4" in text


def test_slices_whose_scores_moved_are_named():
    sketch, random = Sketch(KNOWN, ("amount", "count")), np.random.default_rng(0)
    groups = [{"group": "b" if place % 2 else "a"} for place in range(400)]
    scores = [0.97 if event["group"] == "b" else float(random.beta(0.2, 2)) for event in groups]
    sketch.add(np.full((400, 2), 3.0, np.float32), scores, ["approve"] * 400, groups)
    alarm = Alarm(key="data drift: score", windows=2, of=3, chance=0.0, words="PSI 2")
    judged = Judged(number=1, start=0, end=60, files=(), counts=sketch.counts.tolist(), total=[], alarms=(alarm,))
    (moved,) = explainer().explain(judged, []).slices
    assert (moved.name, moved.requests) == ("group b", 200) and moved.psi > 0.2


def quality(effect: float, chance: float = 0.0) -> Reading:
    told = {
        "monitor": "model quality",
        "name": "average precision",
        "rows": 90,
        "limit": 0.1,
        "words": "0.3 of 90 labels",
    }
    return Reading.model_validate({**told, "effect": effect, "chance": chance})


def test_frauds_that_scored_lowest_show_a_loss_of_quality(tmp_path):
    lines = [answer(10 + n, n, 5.0, score=n / 10) for n in range(6)]
    lines += [line(9, **json.loads(answer(9, 7, 5.0, score=0.0)) | {"degraded": "rule"})]  # not the version's own
    lines += [line(70, kind="label", id=n, label=int(n != 0)) for n in (0, 1, 2, 3, 7)]
    lines += [line(500, kind="label", id=4, label=1)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    alarm = Alarm(key="model quality: average precision", windows=2, of=3, chance=0.0, words="worse")
    counts = Sketch(KNOWN).counts.tolist()
    judged = Judged(
        number=2, start=60, end=120, files=(), counts=counts, total=counts, readings=(quality(0.3),), alarms=(alarm,)
    )
    report = explainer(str(tmp_path)).explain(judged, [])
    assert report.action == "retrain" and report.causes[0].samples == ("1", "2")


def test_the_latest_labels_decide_what_drift_calls_for(tmp_path):
    *past, last = shifted(tmp_path)
    labelled = [*past[:-1], past[-1].model_copy(update={"readings": (*past[-1].readings, quality(0.3))})]
    assert explainer().propose(last, past)[0] == "keep"
    assert explainer().propose(last, labelled)[0] == "retrain"


def test_a_report_comes_when_an_alarm_is_raised_when_the_action_changes_and_after_a_while(tmp_path):
    judged = shifted(tmp_path)
    kept = CauseFiles(str(tmp_path), DIGEST)
    first = next(one.number for one in judged if one.alarms)
    assert [one.window for one in kept.catch_up(judged[:first], explainer())] == [first]
    rest = kept.catch_up(judged, explainer())  # alarms that are raised beside it
    assert kept.catch_up(judged, explainer()) == [] and kept.open(judged) == kept.latest()

    def then(number: int, start: int, *readings: Reading) -> Judged:
        told = {"number": number, "start": start, "end": start + 60, "readings": (*judged[-1].readings, *readings)}
        return judged[-1].model_copy(update=told)

    longer = [*judged, then(9, 480), then(10, 540, quality(0.3)), then(11, 600, quality(0.3))]
    (changed,) = kept.catch_up(longer, explainer())
    assert (changed.window, changed.action) == (10, "retrain")
    late = [*longer, then(12, 200_000, quality(0.3))]
    (again,) = kept.catch_up(late, explainer())
    assert again.window == 12 and len(kept.all()) == 3 + len(rest)
    quiet = judged[-1].model_copy(update={"number": 13, "alarms": ()})
    assert kept.open([*late, quiet]) is None


def test_two_that_explain_the_same_window_leave_one_report(tmp_path):
    judged = shifted(tmp_path)
    made = explainer().explain(judged[-1], judged[:-1])
    for reasons in (("first",), ("second",)):
        CauseFiles(str(tmp_path), DIGEST).add(made.model_copy(update={"reasons": reasons}))
    (kept,) = CauseFiles(str(tmp_path), DIGEST).all()
    assert kept.reasons == ("first",)


@pytest.mark.parametrize(
    "name", ["answers without the model", "amount missing", "amount out of range", "group unseen category"]
)
def test_unsound_values_are_shown(tmp_path, name):
    from ray_mlops.monitoring.baseline import Values
    from ray_mlops.monitoring.samples import telling

    before = KNOWN.model_copy(update={"inputs": {"group": Values.of(["a", "b"])}})
    unsound = {
        "answers without the model": {"degraded": "rule"},
        "amount missing": {"features": {"amount": None}},
        "amount out of range": {"features": {"amount": 1e9}},
        "group unseen category": {"inputs": {"group": "z"}},
    }
    sound = {"features": {"amount": 20.0, "count": 2.0}, "inputs": {"group": "a"}}
    told = telling(quality(1.0).model_copy(update={"monitor": "data quality", "name": name}), before, before)
    assert told and told.holds({**sound, **unsound[name]}) and not told.holds(sound)
    others = [key for key in unsound if key != name]
    assert not any(told.holds({**sound, **unsound[key]}) for key in others)


def test_without_a_log_there_are_no_samples(tmp_path):
    judged = shifted(tmp_path)
    report = replace(explainer(), capture=str(tmp_path / "nowhere")).explain(judged[-1], judged[:-1])
    assert report.causes and not any(cause.samples for cause in report.causes)
