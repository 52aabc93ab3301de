"""The lineage of a run as a picture: which stage was made from which, with the identity of what it made."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ray_mlops.platform.source_code import digest
from ray_mlops.reports.numerals import seconds

Record = Mapping[str, Any]

# Column and row of each box. The gate between decide and tune is no data: it says whether training may start.
PLACES: Mapping[str, tuple[int, int]] = {
    "sources": (0, 0), "ingest": (1, 0), "clean": (2, 0), "analyse": (3, 0), "decide": (4, 0),
    "features": (1, 1), "tune": (2, 1), "train": (3, 1), "evaluate": (4, 1), "register": (5, 1),
    "deploy": (5, 2), "monitor": (4, 2), "code": (0, 1), "hardware": (3, 2),
}  # fmt: skip
EDGES = (
    ("sources", "ingest"), ("ingest", "clean"), ("clean", "analyse"), ("analyse", "decide"), ("clean", "features"),
    ("features", "tune"), ("decide", "tune"), ("tune", "train"), ("train", "evaluate"), ("evaluate", "register"),
    ("register", "deploy"), ("deploy", "monitor"), ("code", "features"), ("hardware", "train"),
)  # fmt: skip
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 128, 58, 162, 96
NOTHING: Mapping[str, Any] = {}
_IDENTITIES = ("snapshot", "digest", "fingerprint")


def picture(records: Sequence[Record], links: Mapping[str, str], made_by: Mapping[str, Any] = NOTHING) -> str:
    """An SVG document; each box leads to the page of its stage in `links`, where there is one. `made_by` is what the model was
    fitted under, `git` and `modules`."""
    boxes = {record["stage"]: record for record in records if record["stage"] in PLACES}
    if not boxes:
        return ""
    beside = {"code": _code(made_by)} if made_by else {}
    if hardware := boxes.get("train", {}).get("artifact", {}).get("hardware"):
        beside["hardware"] = _hardware(hardware)
    known = {*boxes, *beside} | ({"sources"} if "ingest" in boxes else set())
    edges = [_edge(one, other) for one, other in EDGES if one in known and other in known]
    drawn = [_box(name, boxes.get(name), links.get(name, "")) for name in PLACES if name in known]
    drawn += [_rectangle(name, (name, *lines)) for name, lines in beside.items()]
    if "sources" in known:
        drawn.append(_sources(boxes["ingest"]["artifact"].get("sources") or {}))
    columns, rows = (1 + max(PLACES[name][axis] for name in known) for axis in (0, 1))
    width, height = columns * _ACROSS - _ACROSS + _WIDTH + 8, rows * _DOWN - _DOWN + _HEIGHT + 8
    told = "; ".join(f"{other} from {one}" for one, other in EDGES if one in known and other in known)
    return (
        f'<svg viewBox="-4 -4 {width} {height}" width="{width}" height="{height}" xmlns="http://www.w3.org/2000/svg" '
        f'role="img" aria-label="Lineage: {escape(told)}"><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" class="head"/></marker></defs>'
        f"{''.join(edges)}{''.join(drawn)}</svg>"
    )


def _edge(one: str, other: str) -> str:
    (from_x, from_y), (to_x, to_y) = _corner(one), _corner(other)
    gate = ' stroke-dasharray="4 3"' if (one, other) == ("decide", "tune") else ""
    middle = _HEIGHT / 2
    if from_y == to_y:
        back = to_x < from_x
        start, end = (from_x, to_x + _WIDTH) if back else (from_x + _WIDTH, to_x)
        path = f"M{start} {from_y + middle}L{end} {to_y + middle}"
    else:
        x, to_middle = from_x + _WIDTH / 2, to_x + _WIDTH / 2
        y, end = (from_y + _HEIGHT, to_y) if from_y < to_y else (from_y, to_y + _HEIGHT)
        half = (y + end) / 2
        path = f"M{x} {y}C{x} {half} {to_middle} {half} {to_middle} {end}"
    return f'<path d="{path}" class="edge" marker-end="url(#arrow)"{gate}/>'


def _box(name: str, record: Record | None, link: str) -> str:
    if record is None:
        return ""
    made = record["artifact"]
    identity = next((str(made[field])[:12] for field in _IDENTITIES if made.get(field)), "")
    time = seconds(record["seconds"]) if record["status"] == "done" else record["status"]
    drawn = _rectangle(name, (name, identity, time))
    return f'<a href="{escape(link)}">{drawn}</a>' if link else drawn


def _sources(sources: Mapping[str, str]) -> str:
    names = [name.rpartition("/")[2] for name in sources]
    first = names[0][:18] if names else "–"
    return _rectangle("sources", ("sources", first, f"and {len(names) - 1} more" if len(names) > 1 else ""))


def _code(made_by: Mapping[str, Any]) -> tuple[str, str]:
    """The commit, and whether it is all; else the identity of the package."""
    git = made_by["git"]
    if git and not isinstance(git, str):  # a string in what older versions have left: the commit of whatever folder
        return f"commit {git['commit'][:10]}", "with changes" if git["dirty"] else ""
    return "package", digest(made_by["modules"])[:12]


def _hardware(machine: Mapping[str, Any]) -> tuple[str, str]:
    gpus = machine["gpus"]
    what = f"{len(gpus)} x {gpus[0]}" if gpus else machine["cpu"] or machine["processor"]
    return what[:18], f"{machine['cores']} cores, {machine['memory_gib']} GiB"


def _rectangle(name: str, lines: Sequence[str]) -> str:
    x, y = _corner(name)
    texts = "".join(
        f'<text x="{x + 9}" y="{y + 19 + 15 * place}"{"" if place else " class=name"}>{escape(line)}</text>'
        for place, line in enumerate(lines)
    ).replace("class=name", 'class="name"')
    return f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>{texts}'


def _corner(name: str) -> tuple[int, int]:
    column, row = PLACES[name]
    return column * _ACROSS, row * _DOWN
