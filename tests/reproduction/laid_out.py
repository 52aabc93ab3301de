"""A recorded run made again on tables that lie differently: the same rows in another order and in other files."""

from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
import pyarrow as pa

from ray_mlops import pipeline, recipes, runs
from ray_mlops.contract import Artifact, Run, Snapshot
from ray_mlops.platform import files, tables
from ray_mlops.reproduction.comparison import differences
from ray_mlops.reproduction.contents import content

Made = TypeVar("Made", bound=Artifact)


def relaid(artifact: Made, root: str, parts: int, seed: int) -> Made:
    """The artifact with its tables written anew below `root`, shuffled and in so many files."""
    if isinstance(artifact, Snapshot):
        return artifact.model_copy(update=_relaid(artifact, root, parts, seed))
    nested = {name: getattr(artifact, name) for name in type(artifact).model_fields}
    nested = {name: value for name, value in nested.items() if isinstance(value, Snapshot)}
    return artifact.model_copy(update={name: relaid(value, root, parts, seed) for name, value in nested.items()})


def _relaid(table: Snapshot, root: str, parts: int, seed: int) -> dict[str, Any]:
    rows = tables.load(table)
    rows = rows.take(pa.array(np.random.default_rng(seed).permutation(rows.num_rows)))
    edges = np.linspace(0, rows.num_rows, parts + 1).astype(int)
    folder = files.join(root, "tables", "data")
    written = [tables.write_part(rows.slice(low, high - low), folder) for low, high in pairwise(edges)]
    entries = pa.concat_tables(written).to_pylist()
    made = tables.commit(entries, table.name, Run(root=root, id="relaid", recipe=""), sources={})
    assert made.snapshot == table.snapshot
    return {"metadata": made.metadata, "iceberg_snapshot": made.iceberg_snapshot}


def differing(root: str, identity: str, scratch: Path, parts: int) -> dict[str, tuple[str, ...]]:
    """What comes out otherwise, by stage, when every stage reads tables that lie differently."""
    recorded = {entry["stage"]: entry["artifact"] for entry in runs.record(root, identity)["stages"]}
    config, recipe = recipes.load(files.join(root, "runs", identity, "config.yaml"))
    run = Run(str(scratch / "root"), identity, recipe, config.seed, tracking_uri=f"sqlite:///{scratch}/mlflow.db")
    stages, found = pipeline.lifecycle(config, run), {}
    step = next(stages)
    while True:
        made = pipeline.perform(step, run, again=True, verbose=False).artifact
        then = get_type_hints(step.stage)["return"].model_validate(recorded[step.name])
        if names := differences(content(then), content(made)):
            found[step.name] = names
        if step.name == "register":
            return found
        step = stages.send(relaid(made, str(scratch / f"after-{step.name}"), parts, seed=len(step.name)))
