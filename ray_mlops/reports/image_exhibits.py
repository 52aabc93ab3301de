"""The pictures on the page of `evaluate`: what is mixed up with what, and what in a picture spoke for the mistake."""

from collections.abc import Callable

import numpy as np

from ray_mlops.reports.numerals import percent
from ray_mlops.reports.page import Picture, Pictures
from ray_mlops.vision.examination import Answers, Settings, mistaken, pair_rows
from ray_mlops.vision.pictures import heated, thumbnail

PixelsOf = Callable[[np.ndarray], np.ndarray]
"""From places of rows to their pictures, uint8 `(rows, height, width, channels)`."""
Explain = Callable[[np.ndarray], np.ndarray]


def pairs(answers: Answers, names: tuple[str, ...], settings: Settings, pixels_of: PixelsOf) -> list[Pictures]:
    """For each of the worst pairs of classes some of the pictures that were mixed up."""
    found = []
    for true, told, count, rows in pair_rows(answers, names, settings):
        sure = answers.probabilities.max(axis=1)[rows]
        shown = [
            Picture(thumbnail(picture), f"{percent(float(share), 0)} sure", "bad")
            for picture, share in zip(pixels_of(rows), sure, strict=True)
        ]
        times = f"{count} time{'s' if count > 1 else ''}"
        found.append(Pictures(shown, f"{names[true]} taken for {names[told]}, {times}"))
    return found


def errors(
    answers: Answers, names: tuple[str, ...], settings: Settings, pixels_of: PixelsOf, explain: Explain
) -> list[Pictures]:
    """The errors of which the model was surest, each beside what in it spoke for the wrong class."""
    rows = mistaken(answers, settings.errors)
    if not len(rows):
        return []
    pixels, shown = pixels_of(rows), []
    for row, picture, heat in zip(rows, pixels, explain(pixels), strict=True):
        true, told = names[answers.labels[row]], names[answers.predicted[row]]
        sure = percent(float(answers.probabilities[row].max()), 0)
        shown.append(Picture(thumbnail(picture), f"{true}, told {told} ({sure})", "bad"))
        shown.append(Picture(heated(picture, np.asarray(heat)), f"why {told}"))
    return [Pictures(shown)]
