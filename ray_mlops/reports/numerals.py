"""How values are written for people."""

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from numbers import Integral, Real
from typing import Any

MISSING = "–"
FIGURE = re.compile(r"(about )?[-+]?[\d.,]+( (%|s|ms|min|MB|GB))?")


def is_figure(value: Any) -> bool:
    """Whether a value is set as a number: a number (booleans are words), or one written with its unit."""
    if isinstance(value, str):
        return value == MISSING or FIGURE.fullmatch(value) is not None
    return isinstance(value, Real) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value in words: thousands separated, four significant digits, `–` for nothing or not-a-number."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return _real(float(value))
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (tuple, list)):
        return ", ".join(shown(item) for item in value) or MISSING
    return str(getattr(value, "text", value))


def with_ends(figures: Mapping[str, float]) -> list[tuple[str, float, float | None, float | None]]:
    """Each figure in words with its interval, from flat `name`, `name_low` and `name_high`."""
    ends = ("_low", "_high")
    names = [name for name in figures if not (name.endswith(ends) and name.rpartition("_")[0] in figures)]
    return [
        (name.replace("_", " "), figures[name], figures.get(f"{name}_low"), figures.get(f"{name}_high"))
        for name in names
    ]


def seconds(value: float) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def _real(value: float) -> str:
    if math.isnan(value):
        return MISSING
    size = abs(value)
    if size in (0.0, float("inf")):
        return f"{value:g}"
    if 1000 <= size < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"
