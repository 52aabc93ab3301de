"""What makes a bundle a model of MLflow: `mlflow.pyfunc.load_model("models:/NAME/VERSION")` finds it by the file `MLmodel`.

It names a module of this package that loads the bundle, so no pickle is read. It is content like every other file of the
bundle: without the time or the run in which it was written, for the same model must have the same digest everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Columns = Mapping[str, str | Mapping[str, Any]]
_EXAMPLE = "input_example.json"


def write(folder: str, loader: str, *, inputs: Columns, outputs: Columns, example: Sequence[Any]) -> None:
    """Write it into the folder of a bundle.

    `loader` is the module whose `_load_pyfunc(folder)` gives an object with `predict(frame)`; `inputs` and `outputs` are
    types of MLflow by column, and `example` is a row of inputs, bytes as base64.
    """
    split = {"columns": list(inputs), "data": [list(example)]}
    Path(folder, _EXAMPLE).write_text(json.dumps(split, allow_nan=False) + "\n")
    told = {
        "flavors": {"python_function": {"loader_module": loader}},
        "saved_input_example_info": {"artifact_path": _EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
        "signature": {"inputs": _schema(inputs), "outputs": _schema(outputs), "params": None},
    }
    Path(folder, "MLmodel").write_text(yaml.safe_dump(told, width=1000))


def _schema(columns: Columns) -> str:
    listed = [
        {"name": name, "required": True, **({"type": kind} if isinstance(kind, str) else kind)}
        for name, kind in columns.items()
    ]
    return json.dumps(listed)
