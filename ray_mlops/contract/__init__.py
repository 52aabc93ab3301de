"""What the stages hand to one another, and what an algorithm must be.

A stage is `run(config, run, **upstream) -> artifact`. Artifacts are frozen, JSON-able references to data; `Run` carries
the root, the seed and the tracker. Nothing here imports Ray, torch or a data library.
"""

from ray_mlops.contract.artifacts import (
    LABEL_LINE,
    Artifact,
    CleanTable,
    Condition,
    Decision,
    Endpoint,
    Evaluation,
    Features,
    Interval,
    ModelVersion,
    Profile,
    Rule,
    Table,
    Trained,
    Trials,
    Verdict,
)
from ray_mlops.contract.data import (
    Column,
    ColumnType,
    Frozen,
    Schema,
)
from ray_mlops.contract.learning import (
    Algorithm,
    Backend,
    Choice,
    Data,
    Model,
    Part,
    Space,
    Uniform,
    Worker,
)
from ray_mlops.contract.run import (
    Progress,
    Run,
    no_progress,
)

__all__ = [
    "LABEL_LINE",
    "Algorithm",
    "Artifact",
    "Backend",
    "Choice",
    "CleanTable",
    "Column",
    "ColumnType",
    "Condition",
    "Data",
    "Decision",
    "Endpoint",
    "Evaluation",
    "Features",
    "Frozen",
    "Interval",
    "Model",
    "ModelVersion",
    "Part",
    "Profile",
    "Progress",
    "Rule",
    "Run",
    "Schema",
    "Space",
    "Table",
    "Trained",
    "Trials",
    "Uniform",
    "Verdict",
    "Worker",
    "no_progress",
]
