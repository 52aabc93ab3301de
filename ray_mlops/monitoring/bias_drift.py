"""Are groups treated otherwise than when the model was made? How often each is selected, beside all others."""

import math
from collections.abc import Iterator, Mapping

from ray_mlops.monitoring import chance
from ray_mlops.monitoring.baseline import Baseline, Slice
from ray_mlops.monitoring.readings import Reading

Rates = tuple[float, float, float]  # selected of the group and of the others, and the variance of their difference


def compare(before: Baseline, now: Baseline, limit: float) -> Iterator[Reading]:
    """For each value of the sliced columns, by how much the difference of its selection rate from that of the others has
    changed since training."""
    for column, slices in before.slices.items():
        for value, known in slices.items():
            seen = now.slices[column][value]
            earlier = _rates(known, slices, before.unselected)
            present = _rates(seen, now.slices[column], before.unselected)
            if earlier and present:
                yield _reading(f"{column} {value}", seen.rows, earlier, present, limit)


def _reading(name: str, rows: int, before: Rates, now: Rates, limit: float) -> Reading:
    gap, earlier = now[0] - now[1], before[0] - before[1]
    z = abs(gap - earlier) / math.sqrt(now[2] + before[2])
    return Reading(
        monitor="bias drift",
        name=name,
        rows=rows,
        effect=abs(gap - earlier),
        limit=limit,
        chance=2 * chance.normal(z),
        words=f"selected {now[0]:.1%}, others {now[1]:.1%}; in training {before[0]:.1%} and {before[1]:.1%}",
        measures={"selected": now[0], "others": now[1], "before": before[0], "others_before": before[1]},
    )


def _rates(group: Slice, slices: Mapping[str, Slice], unselected: str) -> Rates | None:
    """None where the group, or all others together, have no rows."""
    parts = [(group.rows, group.decisions.get(unselected, 0))]
    others = [(one.rows, one.decisions.get(unselected, 0)) for one in slices.values()]
    rows, spared = (sum(column) for column in zip(*others, strict=True))
    parts.append((rows - parts[0][0], spared - parts[0][1]))
    if not all(rows for rows, _ in parts):
        return None
    # Agresti and Coull's two and two: a rate of 0 or 1 has a variance, too.
    shares = [(rows - spared + 2) / (rows + 4) for rows, spared in parts]
    variance = sum(share * (1 - share) / (rows + 4) for share, (rows, _) in zip(shares, parts, strict=True))
    plain = [(rows - spared) / rows for rows, spared in parts]
    return plain[0], plain[1], variance
