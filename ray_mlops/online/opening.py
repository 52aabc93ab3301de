"""From a URL to a store."""

import difflib
from urllib.parse import parse_qsl, urlsplit

from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online.contract import EntityStore
from ray_mlops.online.local_store import LocalStore
from ray_mlops.online.memory_store import MemoryShelf
from ray_mlops.online.plan import Plan

SCHEMES = ("sqlite", "redis", "rediss", "unix", "memory")


def open_store(url: str, definition: FeatureDefinition) -> EntityStore:
    """Open the state that a URL names, for a definition; made when it is not there.

    - `sqlite:///relative.db`, `sqlite:////absolute.db`: one machine, any number of processes; `?synchronous=full`
      flushes the disk at every event;
    - `redis://host:6379/0`, `rediss://`, `unix://`: a cluster;
    - `memory://`: this process, and gone with it.

    Definitions that keep the same rows share their state, others in the same place do not disturb it. Raises
    `ConfigError` for a URL that is none of these and `StorageError` when the database cannot be opened.
    """
    return open_plan(url, Plan(definition))


def kind_of(url: str) -> str:
    """The kind of store that a URL names, one of `SCHEMES`; ConfigError where it is none of them."""
    scheme = urlsplit(url).scheme
    if scheme in SCHEMES:
        return scheme
    near = difflib.get_close_matches(scheme, SCHEMES, n=1)
    hint = f"did you mean {near[0]}://?" if near else "use sqlite:///path.db, redis://host:6379/0 or memory://"
    raise ConfigError(f"entity store {url!r}: unknown kind {scheme!r}; {hint}")


def open_plan(url: str, plan: Plan) -> EntityStore:
    """`open_store` for a plan that is there already."""
    kind = kind_of(url)
    if kind == "memory":
        return LocalStore(plan, MemoryShelf(plan))
    if kind == "sqlite":
        from ray_mlops.online.sqlite_store import SqliteShelf

        path, options = _sqlite_path(url)
        return LocalStore(plan, SqliteShelf(path, plan, **options))
    from ray_mlops.online.redis_store import RedisStore

    return RedisStore(url, plan)


def _sqlite_path(url: str) -> tuple[str, dict[str, str]]:
    place, _, query = url.partition("?")
    path = place.removeprefix("sqlite:///")
    options = dict(parse_qsl(query))
    if not path or path == place:
        raise ConfigError(f"entity store {url!r}: write sqlite:///relative.db or sqlite:////absolute.db")
    if unknown := sorted(options.keys() - {"synchronous"}):
        raise ConfigError(f"entity store {url!r}: unknown option {', '.join(unknown)}; the one option is synchronous")
    return path, options
