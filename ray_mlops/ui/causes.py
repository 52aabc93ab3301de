"""Why endpoints are in alarm, what is proposed, and what a watch has done about it: sections of the console."""

from collections.abc import Sequence
from itertools import chain

from ray_mlops.monitoring.attempts import Attempt, Attempts
from ray_mlops.monitoring.cause_files import CauseFiles
from ray_mlops.monitoring.causes import CauseReport
from ray_mlops.monitoring.proposals import moment
from ray_mlops.platform import files
from ray_mlops.reports.monitor_page import cause_blocks
from ray_mlops.reports.page import Block, Link, Rows, Section

_LATEST = 20


def of_all(root: str, endpoints: Sequence[str]) -> list[Section]:
    """The latest reports and attempts of all endpoints; nothing where there are none."""
    reports = sorted(chain(*(_reports(root, name) for name in endpoints)), key=lambda one: one.end, reverse=True)
    done = sorted(chain(*(_attempts(root, name) for name in endpoints)), key=lambda one: one.began, reverse=True)
    sections = [Section("Causes and proposals, latest first", (_listed(reports[:_LATEST]),))] if reports else []
    return [*sections, *_done(done)]


def of_one(root: str, name: str) -> list[Section]:
    """The latest report of an endpoint in full, and what was done about all of them."""
    latest = max(_reports(root, name), key=lambda one: one.end, default=None)
    sections = [Section("Latest cause", cause_blocks(latest.model_dump(mode="json")))] if latest else []
    return [*sections, *_done(sorted(_attempts(root, name), key=lambda one: one.began, reverse=True))]


def _listed(reports: Sequence[CauseReport]) -> Block:
    rows = [
        (
            Link(one.endpoint, f"/endpoints/{one.endpoint}"), one.version, moment(one.end), one.action,
            "; ".join(one.reasons), moment(one.since), one.id,
        )
        for one in reports
    ]  # fmt: skip
    return Rows(("endpoint", "version", "until", "proposed", "because", "since", "cause report"), rows)


def _done(attempts: Sequence[Attempt]) -> list[Section]:
    rows = [
        (
            one.began, one.endpoint, one.action, _status(one), one.reason or None, f"{one.by} ({one.user}@{one.host})",
            one.report,
        )
        for one in attempts[:_LATEST]
    ]  # fmt: skip
    names = ("began", "endpoint", "what", "status", "how it ended", "who", "cause report")
    return [Section("What was done about it", (Rows(names, rows),))] if rows else []


def _status(one: Attempt) -> str:
    return "cut off" if one.status == "running" and not one.alive() else one.status


def _reports(root: str, name: str) -> list[CauseReport]:
    monitoring = _monitoring(root, name)
    return list(chain(*(CauseFiles(monitoring, digest).all(last=_LATEST) for digest in files.listing(monitoring))))


def _attempts(root: str, name: str) -> list[Attempt]:
    return Attempts(_monitoring(root, name)).all()


def _monitoring(root: str, name: str) -> str:
    return files.join(root, "endpoints", name, "monitoring")
