"""A store of the same kind as another, empty, and gone after use: what is tried on it never meets live state."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from urllib.parse import urlsplit

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online.contract import EntityStore
from ray_mlops.online.opening import open_plan
from ray_mlops.online.plan import Plan

KEYS_AT_ONCE = 1_000


@contextmanager
def scratch_store(url: str, definition: FeatureDefinition) -> Iterator[EntityStore]:
    """An empty store of the kind that `url` names: of SQLite a file in a temporary folder, with the same options; on
    Redis keys of their own on the same server."""
    plan = Plan(definition, space=f"scratch{secrets.token_hex(6)}")
    with tempfile.TemporaryDirectory(prefix="ray-mlops-entities-") as folder:
        if urlsplit(url).scheme == "sqlite":
            url = f"sqlite:///{folder}/entities.db" + (f"?{query}" if (query := urlsplit(url).query) else "")
        store = open_plan(url, plan)
        try:
            yield store
        finally:
            store.close()
            if urlsplit(url).scheme not in ("sqlite", "memory"):
                _erase(url, plan)


def _erase(url: str, plan: Plan) -> None:
    from redis import Redis

    from ray_mlops.online.redis_store import ROOT

    with Redis.from_url(url) as client:
        keys = client.scan_iter(f"{ROOT.format(plan.digest)}*", count=1000)
        while some := list(islice(keys, KEYS_AT_ONCE)):
            client.unlink(*some)
