"""From the times of two samples to that of all rows: a fixed part, and one that grows with the rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ray_mlops.stage_names import STAGES, StageName


@dataclass(frozen=True)
class Sampled:
    """A run on a share of the rows: how many those were, and the seconds of each stage."""

    share: float
    rows: int
    seconds: Mapping[StageName, float]


@dataclass(frozen=True)
class Estimate:
    """Seconds of a stage on the two samples and, as estimated, on all rows. `most` is where all of it grows with the rows."""

    stage: StageName
    small: float
    large: float
    about: float
    most: float


def estimates(small: Sampled, large: Sampled) -> Iterator[Estimate]:
    """What each stage takes on all rows, by the line through both samples; it never falls with the rows.

    A stage that is bounded by a budget (a search), by a number of rows or by its start takes less than `most`, one whose work
    grows faster than its rows more than `about`.
    """
    rows = round(large.rows / large.share)
    for stage in STAGES:
        if stage not in small.seconds or stage not in large.seconds:
            continue
        first, second = small.seconds[stage], large.seconds[stage]
        slope = max(0.0, (second - first) / max(1, large.rows - small.rows))
        most = second * rows / max(1, large.rows)
        yield Estimate(stage, first, second, min(most, second + slope * (rows - large.rows)), most)
