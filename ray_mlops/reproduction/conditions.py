"""What went into a stage then and now: sources, code, settings, seed, what is upstream, libraries and machine."""

from collections.abc import Iterator, Mapping
from typing import Any

from ray_mlops.reproduction.comparison import differences

_SHOWN_MODULES = 5
_SHORT = 10


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """The inputs that are not what they were, by name; `then` is a manifest, `now` has its `inputs` and `conditions`."""
    return tuple(_changed(then, now))


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, after = then["inputs"], now["inputs"]
    if before["identity"] != after["identity"]:
        yield from _sources(then.get("artifact", {}).get("sources") or {}, now.get("sources"))
    if before["code"] != after["code"]:
        yield _code(then.get("conditions", {}).get("modules"), now["conditions"]["modules"])
    for name in differences(_flat(before["config"], "config"), _flat(after["config"], "config")):
        yield name
    for name in differences(_flat(before["upstream"], "upstream"), _flat(after["upstream"], "upstream")):
        yield name
    if before["seed"] != after["seed"]:
        yield f"seed was {before['seed']}, is {after['seed']}"
    if known := then.get("conditions"):
        for part in ("environment", "machine"):
            yield from differences(_flat(known[part], part), _flat(now["conditions"][part], part))


def _sources(then: Mapping[str, str], now: Mapping[str, str] | None) -> Iterator[str]:
    if now is None:
        yield "identity: what the stage was told besides its artifacts is not what it was"
        return
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            was, is_ = (digests.get(name, "absent")[:_SHORT] for digests in (then, now))
            yield f"source {name}: digest was {was}, is {is_}"


def _code(then: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    if then is None:
        return "code: not what it was (the record does not tell which module)"
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    more = f" and {len(names) - _SHOWN_MODULES} more" if len(names) > _SHOWN_MODULES else ""
    return f"code: {', '.join(names[:_SHOWN_MODULES])}{more}"


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {name: one for key, item in value.items() for name, one in _flat(item, f"{prefix}.{key}").items()}
    return {prefix: value}
