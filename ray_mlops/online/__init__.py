"""Entity state behind an endpoint: the windows of a feature definition, kept up to date event by event.

What is kept, and how long:

- the rows that a window can still reach, and a day more, so that an event up to a day late gets exact windows;
- with a resolution, rows older than a minute only as sums per step: an event that comes later than that counts in every
  window after it, and its own windows are exact up to one step;
- event ids as long as their rows, for retries and labels; where the data say when labels arrived, at least 180 days.

Ages are counted in event time, on Redis by its clock as well.
"""

from ray_mlops.online.backfill import backfill, catch_up, fill
from ray_mlops.online.capture_log import CaptureLog
from ray_mlops.online.contract import EntityStore, Stats
from ray_mlops.online.opening import open_store
from ray_mlops.online.parity import ParityReport, parity

__all__ = ["CaptureLog", "EntityStore", "ParityReport", "Stats", "backfill", "catch_up", "fill", "open_store", "parity"]
