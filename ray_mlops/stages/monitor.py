"""Monitor: what the replicas of an endpoint have counted, window by window, against the baseline in the bundle."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from ray_mlops.contract import Endpoint, ModelVersion, Run, Verdict
from ray_mlops.errors import StorageError
from ray_mlops.monitoring import notes, operation, sinks
from ray_mlops.monitoring.alarms import Alarm
from ray_mlops.monitoring.answers import DEFINITION, Answers
from ray_mlops.monitoring.baseline import Baseline
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.causes import CauseReport, Explainer, Explaining
from ray_mlops.monitoring.history import History, Judged
from ray_mlops.monitoring.judging import Judge, Judging
from ray_mlops.monitoring.picture_answers import CLASSES, PictureAnswers
from ray_mlops.monitoring.proposals import Circumstances
from ray_mlops.monitoring.sketches import Sketch
from ray_mlops.platform import files
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.compaction import compact
from ray_mlops.platform.source_code import digest
from ray_mlops.reports.monitor_page import monitor_page
from ray_mlops.reports.page import render
from ray_mlops.serving.rollouts.records import Records

SHOWN = 500  # judged windows in the report, the last ones


class MonitorConfig(Judging):
    """What is judged, and when it is an alarm. `loss` is the largest loss of average precision (of images: of accuracy) that
    does not matter, by the labels that have come; attributions drift where the NDCG of the features' importance falls below 0.90. Alarms are also
    sent to the URL of a `webhook`. `explain` is how the cause of an alarm is told. With `compact` closed segments of the capture
    log become Parquet files first."""

    loss: float = Field(default=0.1, gt=0)
    webhook: str = ""
    explain: Explaining = Explaining()
    compact: bool = True


def identity(endpoint: Endpoint) -> str:
    """Names how much the endpoint has been asked until now, so that new requests make a new verdict."""
    return digest([endpoint.digest, History(endpoint.monitoring, endpoint.digest).counted()])


def run(config: MonitorConfig, run: Run, *, endpoint: Endpoint, version: ModelVersion) -> Verdict:
    """Judge what the endpoint answered with `version`: every window that is over once, for good, and what came since as far
    as it goes. Writes `monitor.json` and `report.html`; while there is an alarm they tell its cause, and what to do."""
    baseline = Baseline.model_validate(files.read_json(files.join(version.uri, "baseline.json")))
    not_compacted = _compact(files.absolute(endpoint.capture)) if config.compact and endpoint.capture else ""
    history = History(endpoint.monitoring, version.digest)
    answers = _answers(config, baseline, history, endpoint, version)
    judge = Judge(config, baseline, history, answers)
    made, now = judge.catch_up(time.time()), time.time()
    past, present = history.judged(last=SHOWN), judge.at_present()
    latest = (
        present
        if present and (present.requests >= config.min_requests or present.alarms)
        else next(reversed(past), None)
    )
    found = [*operation.unwritten(notes.failing(endpoint.monitoring, now)), *(latest.alarms if latest else ())]
    kept = CauseFiles(endpoint.monitoring, version.digest)
    cause = _cause(_explainer(config, run, baseline, endpoint, version), kept, past, latest, found)
    _tell(config, history, past, made, kept.all(), about={"endpoint": endpoint.name, **_pinned(version)})
    alarms = tuple(map(str, found))
    status = "alarm" if alarms else "insufficient_data" if latest is None else "ok"
    told = _told(config, past, present, endpoint, version) | {"status": status, "alarms": list(alarms)}
    told["readings"] = (
        [reading.model_dump() | {"exceeds": reading.exceeds} for reading in latest.readings] if latest else []
    )
    told["quality"] = answers.quality(now) if answers else []
    told["tested"] = dict(answers.tested.metrics) if answers and answers.tested else {}
    told["replay"] = {"windows": len(past), "fired": sum(map(bool, judge.replayed(past)))}
    told["not_compacted"], told["cause"] = not_compacted, cause.model_dump(mode="json") if cause else None
    files.write_json(files.join(run.uri, "monitor.json"), told)
    report = files.join(run.uri, "report.html")
    live = Sketch(baseline, counts=latest.counts).to_baseline() if latest else baseline
    files.write_text(report, render(monitor_page(told, _compared(baseline, live))))
    return Verdict(
        uri=run.uri,
        fingerprint=run.fingerprint,
        status=status,
        requests=told["requests"],
        alarms=alarms,
        report=report,
        action=cause.action if cause else "",
    )


def _explainer(
    config: MonitorConfig, run: Run, baseline: Baseline, endpoint: Endpoint, version: ModelVersion
) -> Explainer:
    known = Circumstances(soon_s=config.explain.soon_s)
    rollouts = Records(run.root, endpoint.name).all()
    came = next((one for one in rollouts if (one.status, one.challenger.digest) == ("promoted", version.digest)), None)
    if came:
        last = next(iter(History(endpoint.monitoring, came.champion.digest).judged(last=1)), None)
        known = known._replace(
            deployed=came.events[-1].time.timestamp(),
            before=came.champion.version,
            before_alarmed=bool(last and last.alarms),
        )
    return Explainer(
        endpoint=endpoint.name,
        version=version.version,
        digest=version.digest,
        baseline=baseline,
        capture=files.absolute(endpoint.capture) if endpoint.capture else "",
        known=known,
        limits=config.drift,
        explaining=config.explain,
    )


def _cause(
    explainer: Explainer, kept: CauseFiles, past: Sequence[Judged], latest: Judged | None, found: Sequence[Alarm]
) -> CauseReport | None:
    """Why there are alarms; the reports of judged windows are kept. That of what has not been judged may become another."""
    kept.catch_up(past, explainer)
    if latest is None or not found:
        return None
    if past and latest.number == past[-1].number and len(found) == len(latest.alarms):
        return kept.open(past)
    earlier = [one for one in past if one.number < latest.number]
    now = explainer.explain(latest.model_copy(update={"alarms": tuple(found)}), earlier)
    return now.model_copy(update={"id": f"{now.id}-provisional"})


def _compact(folder: str) -> str:
    """Why the log could not be compacted: no reason to give no verdict on what is in it."""
    try:
        compact(folder)
    except StorageError as error:
        return str(error)
    return ""


def _tell(
    config: MonitorConfig,
    history: History,
    past: Sequence[Judged],
    made: Sequence[Judged],
    reports: Sequence[CauseReport],
    *,
    about: dict[str, str],
) -> None:
    """Alarms that were raised or have ended: to the log once, to the webhook until it takes them, with the report of their causes."""
    causes = {one.window: one.model_dump(mode="json") for one in reports}
    events = [{**event, "cause": causes.get(event["window"]["number"])} for event in sinks.events(past, about)]
    fresh = {one.number for one in made}
    for event in events:
        if event["window"]["number"] in fresh:
            sinks.log(event)
    if config.webhook:
        sinks.Webhook(config.webhook, history.told).tell(events, time.time())


def _pinned(version: ModelVersion) -> dict[str, str]:
    return {"version": version.version, "digest": version.digest}


def _answers(
    config: MonitorConfig, baseline: Baseline, history: History, endpoint: Endpoint, version: ModelVersion
) -> Answers | PictureAnswers | None:
    """What the log of an endpoint tells; None where there is none, or where the bundle does not say what it holds."""
    pictures = files.exists(files.join(version.uri, CLASSES))
    if not endpoint.capture or not (pictures or files.exists(files.join(version.uri, DEFINITION))):
        return None
    bundle, capture = Bundle.load(version.uri, digest=version.digest), files.absolute(endpoint.capture)
    if pictures:
        return PictureAnswers(bundle, capture, loss=config.loss)
    _, waiting = history.waiting()
    since = min((window.start for window in waiting), default=0)
    return Answers(bundle, baseline, capture, loss=config.loss, since=since)


def _told(
    config: MonitorConfig, past: Sequence[Judged], present: Judged | None, endpoint: Endpoint, version: ModelVersion
) -> dict[str, Any]:
    newest = present or (past[-1] if past else None)
    requests, degraded, refused = newest.total[:3] if newest else (0, 0, 0)
    stretches = [*past, *([present] if present else [])]
    return {
        "endpoint": endpoint.name,
        **_pinned(version),
        "requests": requests,
        "degraded": degraded,
        "refused": refused,
        "capture": dict(newest.captured) if newest else {},
        "settings": config.model_dump(mode="json"),
        "first": _moment(stretches[0].start) if stretches else None,
        "last": _moment(stretches[-1].end) if stretches else None,
        "windows": [_window(one) for one in stretches],
    }


def _window(judged: Judged) -> dict[str, Any]:
    alarms = [str(alarm) for alarm in judged.alarms]
    return {"start": _moment(judged.start), "end": _moment(judged.end), "requests": judged.requests, "alarms": alarms}


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _compared(before: Baseline, now: Baseline) -> dict[str, dict[str, Any]]:
    """The distributions on both sides, by the name of their reading, for the page."""
    pairs = {"score": (before.score, now.score)}
    pairs |= {f"feature {name}": (known, now.features[name]) for name, known in before.features.items()}
    return {name: {"before": one.model_dump(), "now": other.model_dump()} for name, (one, other) in pairs.items()}
