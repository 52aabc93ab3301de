"""The page of `analyse` for images: what they look like, which stand out, and whose label is in doubt."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import percent
from ray_mlops.reports.page import Block, Chart, Facts, Page, Picture, Pictures, Rows, Section, Text

Findings = Mapping[str, Any]
Chosen = Mapping[str, Mapping[str, Sequence[int]]]
MOST_CLASSES = 60  # bars beyond cannot be read

_MEASURED = {
    "brightness": "Brightness: mean luminance, black 0 to white 1",
    "contrast": "Contrast: standard deviation of the luminance",
    "sharpness": "Sharpness: strength of edges over contrast; blurred images are on the left",
    "colour": "Colour: mean distance between the channels, 0 is grey",
}


def image_profile_page(
    found: Findings,
    rows: Mapping[str, Sequence[str | None]],
    chosen: Chosen,
    pictures: Mapping[int, bytes],
    *,
    subtitle: str = "",
) -> Page:
    """A page from the findings of `ray_mlops.vision.appraisal`; `rows` are the `keys` and `labels` of all images,
    `pictures` PNGs of the `chosen` ones."""
    labels, names = rows["labels"], [(key or "").rpartition("/")[2] for key in rows["keys"]]
    sections = (
        Section("Overview", tuple(_overview(found))),
        Section("Classes", tuple(_classes(found))),
        Section("Contact sheets", tuple(_sheets(found, names, chosen, pictures))),
        Section("Sizes", tuple(_sizes(found))),
        Section("Light and sharpness", tuple(_light(found, names, chosen, pictures))),
        Section("Duplicates", tuple(_duplicates(found, labels, chosen, pictures))),
        Section("Labels in doubt", tuple(_doubtful(found, labels, names, chosen, pictures))),
    )
    return Page("Image profile", subtitle, sections)


def _overview(found: Findings) -> Iterator[Block]:
    columns = found["columns"]
    yield Facts(
        {
            "Images": found["rows"],
            "Classes": len(found["classes"]),
            "Without a label": found["unlabelled"],
            "Median size": f"{columns['width']['median']:.0f} × {columns['height']['median']:.0f}",
            "Median file": f"{columns['bytes']['median'] / 1000:.1f} kB",
            "With a duplicate": found["twins"],
            "Labels in doubt": len(found["doubtful"]),
        }
    )
    for notice in found["notices"]:
        yield Text(notice, "warning")
    if not found["notices"]:
        yield Text("Nothing stands out.", "good")


def _classes(found: Findings) -> Iterator[Block]:
    ranked = sorted(found["classes"].items(), key=lambda item: -item[1])
    bars = [{"class": name, "images": count} for name, count in ranked[:MOST_CLASSES]]
    yield Chart(charts.ranked(bars, name="class", value="images"), "Images of each class")
    total = max(sum(found["classes"].values()), 1)
    rows = [
        (name, count, percent(count / total, 1), *(found["by_class"].get(name, {}).get(what) for what in _MEASURED))
        for name, count in ranked
    ]
    yield Rows(("class", "images", "share", *_MEASURED), rows, "The measures are medians of the class.")


def _sheets(found: Findings, names: Sequence[str], chosen: Chosen, pictures: Mapping[int, bytes]) -> Iterator[Block]:
    for name, rows in chosen["sheets"].items():
        if rows:
            shown = [Picture(pictures[row], names[row]) for row in rows]
            yield Pictures(shown, f"{name}: {found['classes'][name]:,} images")
    if (more := len(found["classes"]) - len(chosen["sheets"])) > 0:
        yield Text(f"{more} more classes are not shown.")


def _sizes(found: Findings) -> Iterator[Block]:
    for name, words in (("width", "Width in pixels"), ("height", "Height in pixels"), ("aspect", "Width over height")):
        column = found["columns"][name]
        if column["least"] != column["most"]:
            yield Chart(charts.histogram(column["edges"], column["counts"], of=name), words)
    rows = [(f"{size['width']} × {size['height']}", size["images"]) for size in found["sizes"]]
    yield Rows(("width × height", "images"), rows, "The most frequent sizes")


def _light(found: Findings, names: Sequence[str], chosen: Chosen, pictures: Mapping[int, bytes]) -> Iterator[Block]:
    for name, words in _MEASURED.items():
        column = found["columns"][name]
        if column["least"] != column["most"]:
            yield Chart(charts.histogram(column["edges"], column["counts"], of=name), words)
    for name, rows in chosen["odd"].items():
        yield Pictures(
            [Picture(pictures[row], names[row]) for row in rows], f"{name}: {len(found['odd'][name]):,} images"
        )


def _duplicates(
    found: Findings, labels: Sequence[str | None], chosen: Chosen, pictures: Mapping[int, bytes]
) -> Iterator[Block]:
    if not chosen["twins"]:
        yield Text("No two images are alike.", "good")
    for name, rows in chosen["twins"].items():
        torn = len({labels[row] for row in rows}) > 1
        shown = [Picture(pictures[row], labels[row] or "no label", "bad" if torn else "plain") for row in rows]
        yield Pictures(shown, f"{name}{', with different labels' if torn else ''}")


def _doubtful(
    found: Findings, labels: Sequence[str | None], names: Sequence[str], chosen: Chosen, pictures: Mapping[int, bytes]
) -> Iterator[Block]:
    shown = [
        Picture(
            pictures[doubt["row"]],
            f"{names[doubt['row']]}: {labels[doubt['row']]}, looks like {doubt['likelier']}",
            "bad",
        )
        for doubt in found["doubtful"]
        if doubt["row"] in pictures and doubt["row"] in chosen["doubtful"][""]
    ]
    if shown:
        yield Pictures(shown, f"{len(found['doubtful']):,} of {found['compared']:,} compared, the surest first")
        yield Text("Their nearest neighbours among the pixels agree on another class. Look before you change a label.")
    else:
        yield Text(f"None of {found['compared']:,} labels compared is spoken against by its neighbours.", "good")
