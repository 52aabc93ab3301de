"""What the stages hand to one another: frozen, JSON-able references to data, one noun a stage."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from ray_mlops.contract.data import Frozen, Schema
from ray_mlops.contract.images import ImageSchema

LABEL_LINE = "label"  # the `kind` of those lines of a capture log that bring a label; lines of events have none


class Artifact(Frozen):
    """A reference to what a stage made: `uri` is its folder, `fingerprint` the hash of all that went into it."""

    uri: str
    fingerprint: str


class Snapshot(Artifact):
    """An immutable snapshot of a versioned table, of whatever family.

    `snapshot` is the identity of the content (schema and rows, in any order): the same rows give the same id.
    `metadata` is the Iceberg metadata file and `iceberg_snapshot` the snapshot inside it, enough to read the rows
    without a catalog.
    """

    name: str
    snapshot: str
    metadata: str
    iceberg_snapshot: int
    rows: int
    columns: tuple[str, ...]
    sources: Mapping[str, str] = {}


class Table(Snapshot):
    """A table of events."""

    data: Schema

    def plain(self) -> "Table":
        """The table alone, without what a stage added to it."""
        return Table(**{name: getattr(self, name) for name in Table.model_fields})


class CleanTable(Table):
    """A cleaned table beside its quarantine: `rows_in == rows + quarantined`. Events after `latest` were in the future."""

    rows_in: int
    quarantined: int
    quarantine: str = ""
    reasons: Mapping[str, int] = {}
    report: str = ""
    latest: datetime | None = None


class ImageTable(Snapshot):
    """A table of images, one a row, as bytes in the column `data.image`."""

    data: ImageSchema

    def plain(self) -> "ImageTable":
        """The table alone, without what a stage added to it."""
        return ImageTable(**{name: getattr(self, name) for name in ImageTable.model_fields})


class CleanImages(ImageTable):
    """The images that decode, beside the quarantine of the others: `rows_in == rows + quarantined`. `twins` counts the
    rows that have an exact or near duplicate."""

    rows_in: int
    quarantined: int
    quarantine: str = ""
    reasons: Mapping[str, int] = {}
    twins: int = 0
    report: str = ""


class Profile(Artifact):
    """What `analyse` found; `report` is the HTML page, `leaks` are the columns that alone give the label away, `warnings`
    what else might make a model look better than it is."""

    report: str
    rows: int
    positives: int
    leaks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ImageProfile(Artifact):
    """What `analyse` found in images: rows by class, and the keys of those whose label is in doubt."""

    report: str
    rows: int
    classes: Mapping[str, int]
    doubtful: tuple[str, ...] = ()


class Condition(Frozen):
    """`column operator value`, as a person would read it aloud."""

    column: str
    operator: Literal[">=", "<", "=="]
    value: float | str

    def __str__(self) -> str:
        value = f"{self.value:g}" if isinstance(self.value, float) else repr(self.value)
        return f"{self.column} {self.operator} {value}"


class Rule(Frozen):
    """A readable hand rule of at most two conditions."""

    conditions: tuple[Condition, ...]
    join: Literal["and", "or"] = "and"

    def __str__(self) -> str:
        return f" {self.join} ".join(str(condition) for condition in self.conditions)


class Decision(Artifact):
    """Is a model needed? `scores` holds figures (AP and savings, or accuracy) per candidate on rows kept apart."""

    verdict: Literal["use_ml", "no_ml", "collect_more", "redefine"]
    reasons: tuple[str, ...]
    hints: tuple[str, ...] = ()
    rule: Rule | None = None
    scores: Mapping[str, Mapping[str, float]] = {}
    report: str = ""


class Interval(Frozen):
    """A half-open stretch of event time, `[start, end)`, UTC."""

    start: datetime
    end: datetime


class Features(Artifact):
    """The feature table. `names` are the model inputs in order; the table also holds key, time, label, amount, the
    entities, and `split` (`train` | `validation` | `test`). `definition` is the JSON file of the feature definition
    which the endpoint applies as well; `history` is the clean table that the features were computed from."""

    table: Table
    names: tuple[str, ...]
    definition: str
    history: Table
    intervals: Mapping[str, Interval]
    rows: Mapping[str, int]
    positives: Mapping[str, int]


class ImageFeatures(Artifact):
    """The images as a network takes them: columns key, `image` (see `stored`), `target` (place in `classes`), `split`.

    `transform` is the JSON file of the deterministic transform, which the endpoint applies as well. `stored` says what
    the column `image` holds: the transformed `pixels` (uint8, of `shape` height, width, channels), or the `bytes` of the
    source, which are decoded when they are read because pixels would take far more room. `labelled` are the rows of each
    part by class; `source` is the clean table that they come from.
    """

    table: ImageTable
    classes: tuple[str, ...]
    transform: str
    stored: Literal["pixels", "bytes"]
    shape: tuple[int, int, int]
    source: ImageTable
    rows: Mapping[str, int]
    labelled: Mapping[str, Mapping[str, int]]


class Trials(Artifact):
    """The search: `best` are the winning hyperparameters (validation metric `value`), `log` the lines of all trials.

    `report` is its page; there is none where nothing was searched."""

    algorithm: str
    best: Mapping[str, Any]
    value: float
    trials: int
    log: str
    report: str = ""


class Trained(Artifact):
    """A fitted model in `uri`/model, made by `algorithm` (kind and hyperparameters); `metrics` are validation figures.
    Each of `workers` had so many `threads` (0: not recorded); `hardware` is that of the machine of rank 0 (see
    `platform.provenance.machine`) with the device that it used.

    `performance` says what the fit took (see `stages.train.performance`), `checkpoints` the scores of those that were
    kept, the best first, by their folder."""

    algorithm: Mapping[str, Any]
    metrics: Mapping[str, float]
    workers: int
    threads: int = 0
    hardware: Mapping[str, Any] = {}
    rows: int
    performance: Mapping[str, float] = {}
    checkpoints: Mapping[str, float] = {}


class Evaluation(Artifact):
    """How good the model is on the test rows. `metrics` are flat figures for gates; `details` is the full JSON with
    intervals and slices; `calibration` and `thresholds` were chosen on validation and travel in the bundle. `slices` are the
    columns by whose values it was cut, which monitoring goes on with; `champion` is the version that it was held against
    (empty: there was none; None: not recorded)."""

    metrics: Mapping[str, float]
    details: str
    champion: str | None = None
    slices: tuple[str, ...] = ()
    calibration: Mapping[str, tuple[float, ...]]
    thresholds: Mapping[str, float] = {}
    report: str


class ModelVersion(Artifact):
    """A registered bundle: `uri` is the folder, `digest` the hash of its content."""

    name: str
    version: str
    digest: str
    aliases: tuple[str, ...] = ()


class Endpoint(Artifact):
    """A live endpoint: `url` takes `POST /<route>`; the replicas pin `digest`; `capture` is the folder of its log
    (empty: it was exported, and its log is elsewhere), `monitoring` the one below the run root where its replicas count what they are asked.

    `parity_rows` is how many rows had the same features online and in batch before it was deployed; 0: not compared.
    """

    name: str
    url: str
    version: str
    digest: str
    capture: str
    monitoring: str = ""
    route: Literal["score", "predict"] = "score"
    parity_rows: int = 0


class Verdict(Artifact):
    """What monitoring says of the requests of an endpoint against the bundle's baseline; `action` is what it proposes while
    there are alarms."""

    status: Literal["ok", "alarm", "insufficient_data"]
    requests: int
    alarms: tuple[str, ...] = ()
    report: str = ""
    action: Literal["", "keep", "retrain", "roll back"] = ""
