"""Change fields of a frozen config: `tune.trials=4` from the command line, or a whole dumped config read back.

Values which cannot be written down (a user's own algorithm class, a function in a recipe) are kept from the recipe;
only their fields change.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ray_mlops.errors import ConfigError

T = TypeVar("T", bound=BaseModel)


class _Whole(dict[str, Any]):
    """A mapping given as a value: it takes the place of a mapping instead of changing some of its entries."""


def override(config: T, assignments: Iterable[str]) -> T:
    """Apply `path.to.field=value` assignments in order; values are YAML (`3`, `1e-3`, `[a, b]`, `{kind: xgboost}`)."""
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{assignment!r} is not an assignment. Write field=value, for example tune.trials=4.")
        nested = _read(path, text)
        if isinstance(nested, dict):
            nested = _Whole(nested)
        for name in reversed(path.strip().split(".")):
            nested = {name: nested}
        config = _merge(config, nested, "")
    return config


def _read(path: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"{path}: {text[:60]!r} is no YAML ({told}): put a text into quotes, {path}='\"…\"'"
        ) from error


def read_back(config: T, dumped: Mapping[str, Any]) -> T:
    """The config as a dump of it says (nested mappings), validated again: what is no longer in a mapping there is gone."""
    return _merge(config, _whole(dumped), "")


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Whole({key: _whole(item) for key, item in value.items()})
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _merge(value: Any, change: Any, where: str) -> Any:
    if isinstance(value, BaseModel) and isinstance(change, Mapping):
        return _merge_model(value, change, where)
    if isinstance(value, tuple) and isinstance(change, Mapping) and all(str(key).isdigit() for key in change):
        return _merge_items(value, {int(key): item for key, item in change.items()}, where)
    if isinstance(value, tuple) and isinstance(change, list) and len(value) == len(change):
        return _merge_items(value, dict(enumerate(change)), where)
    if isinstance(value, Mapping) and isinstance(change, Mapping):
        return dict(change) if isinstance(change, _Whole) else {**value, **change}
    return value if callable(value) and not isinstance(value, BaseModel) else change


def _merge_model(value: BaseModel, change: Mapping[str, Any], where: str) -> Any:
    kind = getattr(value, "kind", None)
    if "kind" in change and change["kind"] != kind:
        return dict(change)  # another member of a union: the parent's validation builds it
    fields = type(value).model_fields
    if "kind" in change and "kind" not in fields:
        change = {name: item for name, item in change.items() if name != "kind"}
    for name in change:
        if name not in fields:
            raise ConfigError(f"{where or 'the config'} has no field {name!r}{nearest(name, fields)}")
    current = {name: getattr(value, name) for name in fields}
    changed = {name: _merge(current[name], item, f"{where}.{name}".strip(".")) for name, item in change.items()}
    try:
        return type(value).model_validate({**current, **changed})
    except ValidationError as error:
        raise ConfigError(explain(error, where)) from error


def _merge_items(value: tuple[Any, ...], change: Mapping[int, Any], where: str) -> tuple[Any, ...]:
    if outside := [index for index in change if index >= len(value)]:
        raise ConfigError(f"{where} has {len(value)} entries; there is no entry {outside[0]}")
    return tuple(
        _merge(item, change[index], f"{where}.{index}") if index in change else item for index, item in enumerate(value)
    )


def nearest(name: str, legal: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or the legal names when none is near."""
    names = sorted(legal)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f". Did you mean {found[0]!r}?" if found else f". Legal: {', '.join(names)}"


def explain(error: ValidationError, where: str = "") -> str:
    """A validation error in one line per field, each with its full path."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in (where, *problem["loc"]) if part != "")
        lines.append(f"{path or 'the config'}: {problem['msg']}")
    return "; ".join(lines)
