"""The cause reports of a version in the run root: one file each, by the number of the window that was in alarm."""

from collections.abc import Sequence

from ray_mlops.monitoring.causes import CauseReport, Explainer
from ray_mlops.monitoring.history import Judged
from ray_mlops.platform import files

SUFFIX = ".json"
_MOST_LATE = 20  # windows behind that are still explained


class CauseFiles:
    """Below the folder for the monitoring of an endpoint. Of two processes that explain the same window one report is kept."""

    def __init__(self, monitoring: str, digest: str) -> None:
        self._folder = files.join(monitoring, digest[:16], "causes")

    def all(self, last: int | None = None) -> list[CauseReport]:
        """The reports in their order, or the last few."""
        names = [name for name in files.listing(self._folder) if name.endswith(SUFFIX)]
        chosen = names if last is None else names[-last:] if last else []
        return [CauseReport.model_validate(files.read_json(files.join(self._folder, name))) for name in chosen]

    def latest(self) -> CauseReport | None:
        """The last report."""
        return next(iter(self.all(last=1)), None)

    def add(self, report: CauseReport) -> None:
        """Keep a report, unless there is one of this window."""
        content = report.model_dump_json(indent=2).encode()
        files.create_bytes(files.join(self._folder, f"{report.window:08d}{SUFFIX}"), content)

    def catch_up(self, judged: Sequence[Judged], explainer: Explainer) -> list[CauseReport]:
        """Explain every window since the last report that calls for one; the reports that this call has made."""
        made: list[CauseReport] = []
        last = self.latest()
        for place, window in enumerate(judged):
            if place < len(judged) - _MOST_LATE or not window.alarms or (last and window.number <= last.window):
                continue
            past = judged[:place]
            before = past[-1].alarms if past else ()
            raised = {alarm.key for alarm in window.alarms} - {alarm.key for alarm in before}
            lasting = last is None or window.end - last.end >= explainer.explaining.again_s
            if raised or lasting or (last and explainer.propose(window, past)[0] != last.action):
                last = explainer.explain(window, past)
                self.add(last)
                made.append(last)
        return made

    def open(self, judged: Sequence[Judged]) -> CauseReport | None:
        """The last report, while the last of the judged windows is in alarm."""
        last = self.latest()
        return last if last and judged and judged[-1].alarms and judged[-1].number >= last.window else None
