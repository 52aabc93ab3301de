"""Entity state behind an endpoint: the windows of a feature definition, kept up to date event by event."""

from ray_mlops.online.backfill import backfill, catch_up
from ray_mlops.online.contract import EntityStore, Stats
from ray_mlops.online.opening import open_store
from ray_mlops.online.parity import ParityReport, parity

__all__ = ["EntityStore", "ParityReport", "Stats", "backfill", "catch_up", "open_store", "parity"]
