"""The page of `evaluate` for images: how good the model is, where it is mistaken, and on what it looked then."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray_mlops.reports import charts
from ray_mlops.reports.numerals import percent
from ray_mlops.reports.page import Block, Chart, Facts, Page, Pictures, Rows, Section, Text

Details = Mapping[str, Any]
MATRIX_CLASSES = 40  # more of them cannot be read in one picture


def image_evaluation_page(
    details: Details, *, pairs: Sequence[Pictures], errors: Sequence[Pictures], subtitle: str = ""
) -> Page:
    """A page from the content of `details.json` and the pictures of the worst pairs and of the surest errors."""
    sections = [
        Section("Summary", tuple(_summary(details))),
        Section("Classes", tuple(_classes(details))),
        Section("What is mixed up", tuple(_mixed_up(details, pairs))),
        Section("Errors, and what spoke for them", tuple(_errors(errors))),
        Section("Calibration", tuple(_calibration(details))),
        Section("Robustness", tuple(_robustness(details))),
    ]
    return Page("Evaluation", subtitle, sections)


def _summary(details: Details) -> Iterator[Block]:
    figures, accuracy = details["figures"], details["accuracy"]
    yield Facts({
        "Model": details["model"].get("kind", "").replace("_", " "),
        "Network": details["model"].get("network"),
        "Test images": details["rows"],
        "Classes": len(details["classes"]),
        "Top-1 accuracy": percent(accuracy["value"], 2),
        "95 % interval" if details["settings"]["confidence"] == 0.95 else "Interval": _interval(accuracy),
        "Top-5 accuracy": percent(figures["top5_accuracy"], 2),
        "Macro F1": figures["macro_f1"],
        "Calibration error": figures["ece"],
    })  # fmt: skip
    yield from _against(details)
    for note in details["notes"]:
        yield Text(note, "warning")


def _interval(estimate: Details) -> str:
    return f"{percent(estimate['low'], 2)} – {percent(estimate['high'], 2)}"


def _against(details: Details) -> Iterator[Block]:
    figures = details["figures"]
    if not details["champion"]:
        yield Text("There is no champion to compare with.")
    else:
        gain, low = figures["gain_over_champion"], figures["gain_over_champion_low"]
        tone = "good" if low > 0 else "bad" if gain < 0 else "warning"
        yield Text(f"Against the champion on the same images: {gain:+.2%} accuracy (at least {low:+.2%}).", tone)
    if details["simple"]:
        rows = [(name, scores.get("accuracy")) for name, scores in details["simple"].items()]
        rows.append(("this model, on test", figures["accuracy"]))
        yield Rows(("candidate", "accuracy"), rows, "What deciding tried, on rows kept apart from training.")


def _classes(details: Details) -> Iterator[Block]:
    rows = sorted(details["per_class"], key=lambda row: row["f1"])
    bars = [{"class": row["class"], "F1": row["f1"]} for row in rows[:30]]
    yield Chart(charts.ranked(bars, name="class", value="F1"), "F1 of each class, the worst first")
    columns = ("class", "rows", "precision", "recall", "f1")
    yield Rows(columns, [tuple(row[name] for name in columns) for row in rows])


def _mixed_up(details: Details, pairs: Sequence[Pictures]) -> Iterator[Block]:
    names, counts = details["classes"], details["confusion"]
    if len(names) <= MATRIX_CLASSES:
        rows = [
            {"true": true, "predicted": told, "images": counts[i][j], "share": counts[i][j] / max(sum(counts[i]), 1)}
            for i, true in enumerate(names)
            for j, told in enumerate(names)
        ]
        spec = charts.matrix(rows, down="true", across="predicted", value="images", shade="share")
        yield Chart(spec, "Confusion matrix: how many images of each class were taken for which")
    if not pairs:
        yield Text("No image of the test part was mistaken.", "good")
    yield from pairs


def _errors(errors: Sequence[Pictures]) -> Iterator[Block]:
    if not errors:
        yield Text("There are none.", "good")
        return
    yield Text(
        "The errors of which the model was surest; beside each picture what in it spoke for the wrong class, in red."
    )
    yield from errors


def _calibration(details: Details) -> Iterator[Block]:
    bins = details["reliability"]
    rows = [
        {"confidence": part["confidence"], "accuracy": value, "which": which}
        for which in ("perfect", "observed")
        for part in bins
        for value in [part["confidence"] if which == "perfect" else part["accuracy"]]
    ]
    yield Chart(
        charts.line(rows, x="confidence", y="accuracy", series="which"),
        "How often the model is right when it is so sure",
    )
    shares = [{"confidence": f"{part['confidence']:.2f}", "images": part["rows"]} for part in bins]
    yield Chart(charts.columns(shares, name="confidence", value="images"), "How sure it is")
    temperature = details["calibration"]["temperature"][0]
    yield Text(
        f"Probabilities are scaled with a temperature of {temperature:g}, chosen on validation; the expected calibration "
        f"error on test is {details['figures']['ece']:.4f} with it and {details['ece_before']:.4f} without."
    )


def _robustness(details: Details) -> Iterator[Block]:
    found = details["robustness"]
    if not found:
        yield Text("It was not measured (evaluate.robustness_rows is 0).")
        return
    rows = [{"spoilt": f"{row['kind']} {row['strength']}".strip(), "accuracy": row["accuracy"]} for row in found]
    yield Chart(charts.ranked(rows, name="spoilt", value="accuracy", percent=True), "Accuracy on spoilt pictures")
    yield Text(f"Measured on {found[0]['rows']:,} test images.")
