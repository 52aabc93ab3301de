"""Nothing that runs code while data are read: no module of the package loads a pickle, or YAML with objects."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, sources

# Modules that unpickle, and what of them does not.
PICKLERS = {
    "pickle", "_pickle", "cPickle", "pickle5", "cloudpickle", "ray.cloudpickle", "dill", "joblib", "shelve", "marshal",
    "jsonpickle", "pandas.io.pickle", "torch.package", "sklearn.externals",
}  # fmt: skip
HARMLESS = {
    "joblib.cpu_count",
    "ray.cloudpickle.list_registry_pickle_by_value",
    "ray.cloudpickle.register_pickle_by_value",
    "ray.cloudpickle.unregister_pickle_by_value",
}
CALLS = {"eval", "exec", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "torch.jit.load"}
ATTRIBUTES = {"read_pickle", "to_pickle", "unsafe_load"}
NEEDED = {"torch.load": ("weights_only", True)}


def offences(tree: ast.AST) -> Iterator[str]:
    """What a module does that could unpickle, with its line; names are followed through the module's imports."""
    names = dict(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for whole in _named(node):
                module = whole if whole in PICKLERS else whole.rpartition(".")[0]
                followed = whole == "ray.cloudpickle"  # what is used of it is looked at below
                if module in PICKLERS and whole not in HARMLESS and not followed:
                    yield f"{node.lineno}: imports {whole}"
        elif isinstance(node, ast.Attribute):
            whole = _whole(node, names)
            if (whole.rpartition(".")[0] in PICKLERS and whole not in HARMLESS) or node.attr in ATTRIBUTES:
                yield f"{node.lineno}: uses {whole}"
        elif isinstance(node, ast.Call):
            yield from _bad_call(node, _whole(node.func, names))


def _bad_call(node: ast.Call, whole: str) -> Iterator[str]:
    given = {each.arg: getattr(each.value, "value", "unknown") for each in node.keywords}
    if given.get("allow_pickle", False) is not False or (whole == "numpy.load" and len(node.args) > 2):
        yield f"{node.lineno}: {whole} with allow_pickle"
    if whole in CALLS:
        yield f"{node.lineno}: calls {whole}"
    if whole in NEEDED and given.get(NEEDED[whole][0]) is not NEEDED[whole][1]:
        yield f"{node.lineno}: {whole} without {NEEDED[whole][0]}=True"
    for text in (each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)):
        if whole in ("importlib.import_module", "__import__") and text in PICKLERS:
            yield f"{node.lineno}: imports {text}"


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """By the name that it has in the module, the whole name of what is imported anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield (
                    each.asname or each.name.partition(".")[0],
                    each.name if each.asname else each.name.partition(".")[0],
                )
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _named(node: ast.Import | ast.ImportFrom) -> list[str]:
    before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    return [f"{before}{each.name}" for each in node.names]


def _whole(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_whole(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_unpickles(path: Path) -> None:
    assert not [*offences(ast.parse(path.read_text()))]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "import pickle as p", "from pickle import loads", "import _pickle", "import dill", "import joblib",
        "from joblib import load", "from joblib import cpu_count, load", "import cloudpickle", "from cloudpickle import loads",
        "from ray import cloudpickle\ncloudpickle.loads(b'')", "from ray.cloudpickle import loads",
        "import ray\nray.cloudpickle.loads(b'')", "import shelve", "import marshal", "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)", "import torch\ntorch.load('x', weights_only=given)",
        "from torch import load\nload('x')", "import torch as t\nt.load('x')", "import torch\ntorch.jit.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)", "import numpy as np\nnp.load('x', allow_pickle=given)",
        "import numpy as np\nnp.load('x', None, True)", "from numpy import load\nload('x', allow_pickle=True)",
        "import numpy as np\nnp.save('x', y, allow_pickle=True)", "import yaml\nyaml.load(x)", "import yaml\nyaml.load(x, Loader=y)",
        "from yaml import unsafe_load\nunsafe_load(x)", "import yaml\nyaml.full_load(x)", "import pandas as pd\npd.read_pickle(x)",
        "frame.to_pickle(x)", "import importlib\nimportlib.import_module('pickle')", "__import__('pickle')", "eval(x)", "exec(x)",
        "def f():\n    import pickle",
    ],
)  # fmt: skip
def test_whatever_unpickles_is_found(code: str) -> None:
    assert [*offences(ast.parse(code))]


@pytest.mark.parametrize(
    "code",
    [
        "from joblib import cpu_count", "import torch\ntorch.load('x', weights_only=True)", "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=False)", "import yaml\nyaml.safe_load(x)", "network.eval()",
        "from ray import cloudpickle\ncloudpickle.register_pickle_by_value(x)", "import json\njson.load(x)", "model.load(x)",
    ],
)  # fmt: skip
def test_what_does_not_is_not(code: str) -> None:
    assert not [*offences(ast.parse(code))]
