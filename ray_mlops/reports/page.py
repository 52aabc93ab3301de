"""Self-contained HTML pages: one file, no request, light and dark, readable on a phone and by keyboard.

A page is a value made of sections of blocks; `render` turns it into HTML. Everything shown is escaped.
"""

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np

from ray_mlops.errors import ConfigError
from ray_mlops.reports.numerals import is_figure, shown

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
TABLE_LIMIT = 400  # rows listed under a chart; a longer list is neither readable nor cheap
LEGAL_SCHEMES = ("", "http", "https", "file", "s3")


@dataclass(frozen=True)
class Link:
    """A cell or a fact that leads elsewhere: a relative path or an http(s), file or s3 address."""

    text: str
    url: str

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in LEGAL_SCHEMES:
            raise ConfigError(
                f"{self.url!r} cannot be linked from a page: use a relative path, http, https, file or s3"
            )


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` makes it a notice."""

    text: str
    tone: Literal["plain", "good", "warning", "bad"] = "plain"


@dataclass(frozen=True)
class Facts:
    """A few named values, shown as tiles."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """A table; columns of numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    @property
    def alignments(self) -> list[str]:
        """`number` or `word` for each column."""
        cells = [[row[index] for row in self.rows if row[index] is not None] for index in range(len(self.columns))]
        return ["number" if found and all(map(is_figure, found)) else "word" for found in cells]


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification (a mapping, or anything with `to_dict()` such as an Altair chart) and what it shows."""

    spec: Any
    caption: str

    def to_dict(self) -> dict[str, Any]:
        """The specification, with the caption as its description for screen readers."""
        spec = self.spec if isinstance(self.spec, Mapping) else self.spec.to_dict()
        return {"description": self.caption, **spec}

    def data(self) -> list[Mapping[str, Any]]:
        """The rows drawn, where they are inside the specification."""
        spec = self.spec if isinstance(self.spec, Mapping) else self.spec.to_dict()
        named = spec.get("datasets", {})
        found = spec.get("data", {}).get("values") or next(iter(named.values()), [])
        return [row for row in found if isinstance(row, Mapping)] if isinstance(found, Sequence) else []


@dataclass(frozen=True)
class Picture:
    """A PNG with the words below it, which also stand for it where it cannot be seen."""

    png: bytes
    words: str
    tone: Literal["plain", "good", "bad"] = "plain"

    @property
    def address(self) -> str:
        """The picture inside an address, so that the page needs no further file."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Pictures:
    """Small pictures side by side."""

    pictures: Sequence[Picture]
    caption: str = ""


@dataclass(frozen=True)
class Drawing:
    """An SVG made by this package, which has escaped what it shows, and the words that stand above it."""

    svg: str
    caption: str


Block = Text | Facts | Rows | Chart | Pictures | Drawing


@dataclass(frozen=True)
class Section:
    """A headed part of a page; neighbouring charts stand side by side where there is room."""

    title: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Page:
    """One HTML page."""

    title: str
    subtitle: str = ""
    sections: Sequence[Section] = ()


def render(page: Page) -> str:
    """The page as one HTML document that needs no network."""
    charts = any(isinstance(block, Chart) for section in page.sections for block in section.blocks)
    return templates().get_template("page.html").render(page=page, script=_vega() if charts else "")


@lru_cache(maxsize=2)
def templates(*more: Path) -> "Environment":
    """The templates that draw blocks, and those in the folders `more`; everything they show is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([*more, TEMPLATES])
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"shown": shown, "kind": lambda block: type(block).__name__, "as_json": _as_json}
    templates.filters |= {"listed": _listed}
    templates.tests |= {"link": lambda value: isinstance(value, Link)}
    return templates


def _vega() -> str:
    from ray_mlops.reports.vega import library

    return library()


def _as_json(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can close the element."""
    text = json.dumps(_finite(value), default=_plain, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON does not have: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as numbers and lists; anything else as its text."""
    return _finite(value.tolist()) if isinstance(value, (np.generic, np.ndarray)) else str(value)


def _listed(chart: Chart) -> Rows | None:
    """The figures behind a chart as a table, for eyes and tools that cannot read the picture."""
    data = chart.data()
    if not data:
        return None
    columns = list(dict.fromkeys(name for row in data[:TABLE_LIMIT] for name in row))
    more = f"first {TABLE_LIMIT} of {len(data):,} rows" if len(data) > TABLE_LIMIT else ""
    return Rows(columns, [[row.get(name) for name in columns] for row in data[:TABLE_LIMIT]], more)
