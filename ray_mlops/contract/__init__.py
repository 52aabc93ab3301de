"""What the stages hand to one another, and what an algorithm must be.

A stage is `run(config, run, **upstream) -> artifact`. Artifacts are frozen, JSON-able references to data; `Run` carries
the root, the seed and the tracker. Nothing here imports Ray, torch or a data library.
"""

from ray_mlops.contract.artifacts import (
    LABEL_LINE,
    Artifact,
    CleanImages,
    CleanTable,
    Condition,
    Decision,
    Endpoint,
    Evaluation,
    Features,
    ImageFeatures,
    ImageProfile,
    ImageTable,
    Interval,
    ModelVersion,
    Profile,
    Rule,
    Snapshot,
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
from ray_mlops.contract.images import (
    FORMATS,
    ImageSchema,
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
    "FORMATS",
    "LABEL_LINE",
    "Algorithm",
    "Artifact",
    "Backend",
    "Choice",
    "CleanImages",
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
    "ImageFeatures",
    "ImageProfile",
    "ImageSchema",
    "ImageTable",
    "Interval",
    "Model",
    "ModelVersion",
    "Part",
    "Profile",
    "Progress",
    "Rule",
    "Run",
    "Schema",
    "Snapshot",
    "Space",
    "Table",
    "Trained",
    "Trials",
    "Uniform",
    "Verdict",
    "Worker",
    "no_progress",
]
