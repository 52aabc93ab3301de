"""What can be fitted: the algorithms that ship, and how any algorithm, ours or a user's, is described and restored.

Our own algorithms are named by `kind`. A user's algorithm is an object of a frozen pydantic class in a recipe, nothing
more: its description names the file and the class, and a bundle that holds the file can restore it anywhere.
"""

import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from ray_mlops.algorithms.boosting import LightGBM, XGBoost
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.linear import LogisticRegression
from ray_mlops.algorithms.mlp import MLP
from ray_mlops.contract import Algorithm
from ray_mlops.errors import ConfigError

ALGORITHMS: dict[str, type] = {
    "xgboost": XGBoost,
    "lightgbm": LightGBM,
    "logistic": LogisticRegression,
    "mlp": MLP,
    "image_classifier": ImageClassifier,
}
_CLASS = "class"


def describe(algorithm: Algorithm) -> dict[str, Any]:
    """The algorithm as JSON-able values: `kind`, its hyperparameters and, for a user's, `class` as `file.py:Name`."""
    fields = _model(algorithm).model_dump(mode="json")
    described = {"kind": algorithm.kind, **fields}
    source = source_file(algorithm)
    return {**described, _CLASS: f"{source.name}:{type(algorithm).__qualname__}"} if source else described


def restore(description: Mapping[str, Any], code_dir: str | None = None) -> Algorithm:
    """The algorithm of a description; a user's class is imported from its file in `code_dir`.

    Raises `ConfigError` when the kind is unknown, a value is not valid, or the class is not to be found.
    """
    fields = dict(description)
    kind, named = fields.pop("kind", ""), fields.pop(_CLASS, None)
    found = _user_class(named, code_dir) if named else _own_class(kind)
    if "kind" in found.model_fields:
        fields["kind"] = kind
    return _built(found, fields, kind)


def with_settings(algorithm: Algorithm, settings: Mapping[str, Any]) -> Algorithm:
    """The algorithm with some hyperparameters replaced and validated; raises `ConfigError` on an unknown or bad one."""
    model = _model(algorithm)
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    return _built(type(model), {**fields, **settings}, algorithm.kind)


def source_file(algorithm: Algorithm) -> Path | None:
    """The file that defines a user's algorithm, which its bundle has to carry; None for ours."""
    if type(algorithm).__module__.split(".")[0] == __name__.split(".")[0]:
        return None
    try:
        return Path(inspect.getfile(type(algorithm)))
    except (OSError, TypeError) as error:
        name = type(algorithm).__qualname__
        raise ConfigError(f"{name} is not defined in a file: put the class into a recipe file (.py)") from error


def _model(algorithm: Any) -> BaseModel:
    if isinstance(algorithm, BaseModel) and type(algorithm).model_config.get("frozen"):
        return algorithm
    name = type(algorithm).__qualname__
    raise ConfigError(f"{name} is not a frozen pydantic model: let the class derive from ray_mlops.contract.Frozen")


def _own_class(kind: str) -> type[BaseModel]:
    if kind in ALGORITHMS:
        return ALGORITHMS[kind]
    near = difflib.get_close_matches(str(kind), ALGORITHMS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(ALGORITHMS)}"
    raise ConfigError(f"there is no algorithm {kind!r}: {hint}")


def _user_class(named: str, code_dir: str | None) -> type[BaseModel]:
    file, _, name = named.partition(":")
    if file != Path(file).name:
        raise ConfigError(f"cannot restore the algorithm {name}: {file!r} is no file of the bundle's folder of code")
    if code_dir is None or not (Path(code_dir) / file).is_file():
        where = code_dir or "no folder with the code was given"
        raise ConfigError(f"cannot restore the algorithm {name}: its file {file} is missing ({where})")
    found: Any = _imported(Path(code_dir) / file)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (inspect.isclass(found) and issubclass(found, BaseModel)):
        raise ConfigError(f"cannot restore the algorithm: {file} in {code_dir} has no class {name}")
    return found


def _imported(path: Path) -> ModuleType:
    """The module in a file, imported once per content under a name of its own."""
    name = f"ray_mlops_user_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks up the types of a class's fields in its module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _SourceLoader(SourceFileLoader):
    """Runs the source, which the digest of a bundle names, never a compiled copy that lies beside it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _built(found: type[BaseModel], fields: Mapping[str, Any], kind: str) -> Any:
    try:
        return found(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        near = difflib.get_close_matches(name, [key for key in found.model_fields if key != "kind"], n=1)
        hint = f"; did you mean {near[0]}?" if near and first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"algorithm {kind}: {name}: {first['msg']}{hint}") from error
