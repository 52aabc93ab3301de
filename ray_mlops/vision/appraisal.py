"""What a table of images is like, from one row of measures an image: figures, histograms, and what to worry about."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
MEASURES = ("brightness", "contrast", "sharpness", "colour")
_BINS = 30
_DARK, _BRIGHT, _EMPTY = 0.05, 0.95, 0.02
_SOFT = 0.25  # of the usual sharpness: such images are taken for blurred
_RARE = 0.1  # of the most frequent class


def appraise(rows: pa.Table, labels: Sequence[str | None], classes: Sequence[str]) -> dict[str, Any]:
    """The content of `profile.json` but for the labels in doubt; `rows` are `width`, `height`, `bytes` and the measures."""
    columns = {name: rows[name].to_numpy().astype(float) for name in ("width", "height", "bytes", *MEASURES)}
    columns["aspect"] = columns["width"] / np.maximum(columns["height"], 1)
    places = (
        pc.index_in(pa.array(labels, pa.string()), value_set=pa.array(classes, pa.string())).fill_null(-1).to_numpy()
    )
    where = {name: places == place for place, name in enumerate(classes)}
    return {
        "rows": rows.num_rows,
        "unlabelled": sum(label is None for label in labels),
        "classes": {name: int(chosen.sum()) for name, chosen in where.items()},
        "columns": {name: summary(values) for name, values in columns.items()},
        "by_class": {
            name: {measure: float(np.median(columns[measure][chosen])) for measure in MEASURES}
            for name, chosen in where.items()
            if chosen.any()
        },
        "sizes": _sizes(columns["width"], columns["height"]),
        "odd": odd(columns),
    }


def summary(values: np.ndarray) -> dict[str, Any]:
    """Quantiles and a histogram."""
    low, median, high = (float(value) for value in np.quantile(values, [0.05, 0.5, 0.95]))
    counts, edges = np.histogram(values, bins=1 if values.min() == values.max() else _BINS)
    return {
        "least": float(values.min()),
        "low": low,
        "median": median,
        "high": high,
        "most": float(values.max()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def odd(columns: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Rows that stand out, by what is the matter, the worst first."""
    brightness, contrast, sharpness = (columns[name] for name in MEASURES[:3])
    dull = contrast < _EMPTY
    soft = ~dull & (sharpness < _SOFT * np.median(sharpness))
    chosen = {
        "nearly black": (~dull & (brightness < _DARK), brightness),
        "nearly white": (~dull & (brightness > _BRIGHT), -brightness),
        "nearly of one colour": (dull, contrast),
        "blurred": (soft, sharpness),
    }
    return {name: [int(row) for row in np.argsort(by, kind="stable") if hit[row]] for name, (hit, by) in chosen.items()}


def notices(found: Mapping[str, Any]) -> list[str]:
    """What a careful reader would have to find for herself, in sentences."""
    told, counts = [], found["classes"]
    most = max(counts.values(), default=0)
    if rare := [name for name, count in counts.items() if count < _RARE * most]:
        told.append(f"{_listed(rare)}: less than a tenth of the images of the most frequent class.")
    if found["unlabelled"]:
        told.append(f"{_counted(found['unlabelled'], 'image has', 'images have')} no label: no stage learns from them.")
    if found["doubtful"]:
        counted = _counted(len(found["doubtful"]), "label is", "labels are")
        told.append(f"{counted} in doubt: look before a model learns from it.")
    for name, rows in found["odd"].items():
        if rows:
            told.append(f"{_counted(len(rows), 'image is', 'images are')} {name}.")
    if found["twins"]:
        told.append(f"{found['twins']:,} images have a duplicate or near duplicate; twins are never split.")
    if found["torn"]:
        told.append(f"{_counted(found['torn'], 'image occurs', 'images occur')} with two labels: at most one is right.")
    aspect = found["columns"]["aspect"]
    if aspect["high"] > 1.5 * aspect["low"]:
        told.append("Aspects differ much: consider resize crop or pad in features.transform, which do not distort.")
    return told


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def _sizes(width: np.ndarray, height: np.ndarray) -> list[dict[str, int]]:
    """The most frequent sizes."""
    pairs, counts = np.unique(np.stack([width, height], axis=1).astype(int), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:10]
    return [{"width": int(pairs[at][0]), "height": int(pairs[at][1]), "images": int(counts[at])} for at in order]
