"""Clean images: nothing is lost, everything bad has its reason, and it is the same here and on the cluster."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from ray_mlops.contract import CleanImages, ImageSchema, ImageTable, Run
from ray_mlops.errors import DataError
from ray_mlops.platform import tables
from ray_mlops.stages.images import clean
from ray_mlops.stages.images.clean import CleanConfig
from ray_mlops.vision.decoding import decode
from ray_mlops.vision.sources import Sample, rows
from tests.vision.pictures import encoded, noise, scene

NAMES = ("id", "image", "label", "group")
EXIF = Image.Exif()
EXIF[0x0112] = 6
SCENES = [scene(96, 128, seed=seed) for seed in range(6)]
SAMPLES = [
    *[Sample(f"a/{number}", encoded(pixels), "ab"[number % 2]) for number, pixels in enumerate(SCENES)],
    Sample("b/again", encoded(SCENES[0]), "b"),
    Sample("b/jpeg", encoded(SCENES[1], "JPEG", quality=80), "b", "burst"),
    Sample("a/side", encoded(scene(40, 64, seed=9), "JPEG", exif=EXIF), "a"),
    Sample("a/none", encoded(noise()), None),
    Sample("x/empty", b"", "a"),
    Sample("x/junk", b"no picture at all", "a"),
    Sample("x/cut", encoded(SCENES[2])[:-400], "a"),
    Sample("x/gone", None, "b"),
    Sample("x/tiny", encoded(noise(4, 4)), "b"),
    Sample("x/twice", encoded(noise(seed=1)), "a"),
    Sample("x/twice", encoded(noise(seed=2)), "a"),
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(root=str(tmp_path / "root"), id="r", recipe="test", uri=str(tmp_path / "root" / "a"), fingerprint="f")


def raw(run: Run, samples: list[Sample], parts: int = 1) -> ImageTable:
    folder = f"{run.root}/tables/t/images/data"
    shares = [rows(samples[part::parts], NAMES) for part in range(parts)]
    entries = pa.concat_tables(tables.write_part(share, folder) for share in shares).to_pylist()
    return ImageTable(**dict(tables.commit(entries, "t.images", run, sources={"s": "1"})), data=ImageSchema())


def rows_of(table: ImageTable) -> list[dict]:
    return sorted(tables.load(table).to_pylist(), key=lambda row: (row["id"], row["hash"] or ""))


def quarantine(cleaned: CleanImages) -> list[dict]:
    return rows_of(ImageTable.model_validate_json(Path(cleaned.quarantine).read_text()))


def test_everything_is_clean_or_quarantined_with_its_reason(run: Run) -> None:
    cleaned = clean.run(CleanConfig(max_bad_share=0.5), run, table=raw(run, SAMPLES))
    assert (cleaned.rows_in, cleaned.rows, cleaned.quarantined) == (17, 10, 7)
    assert cleaned.name == "t.images.clean" and cleaned.sources == {"s": "1"}
    assert {row["id"]: row["reason"] for row in quarantine(cleaned)} == {
        "x/empty": "image: empty",
        "x/junk": "image: not an image",
        "x/cut": "image: truncated",
        "x/gone": "image: missing, there was no such file",
        "x/tiny": "image: too small, a side is below 8 pixels",
        "x/twice": "id: conflicting duplicate",
    }
    assert cleaned.reasons["id: conflicting duplicate"] == 2 and sum(cleaned.reasons.values()) == 7
    told = json.loads(Path(cleaned.report).read_text())
    assert told["samples"]["image: empty"] == ["x/empty"]
    assert told["labels"] == {"None": 1, "a": 4, "b": 5}


def test_twins_have_one_name_and_are_told(run: Run) -> None:
    cleaned = clean.run(CleanConfig(max_bad_share=0.5), run, table=raw(run, SAMPLES))
    named = {row["id"]: row["twins"] for row in rows_of(cleaned)}
    assert {key: name for key, name in named.items() if key != name} == {"b/again": "a/0", "b/jpeg": "a/1"}
    assert cleaned.twins == 4
    told = json.loads(Path(cleaned.report).read_text())
    assert (told["exact_duplicates"], told["near_duplicates"], told["clusters"]) == (2, 2, 2)
    assert told["conflicting_clusters"] == 1 and told["largest_clusters"][0] == {"a/0": "a", "b/again": "b"}


def test_a_picture_on_its_side_is_stored_upright(run: Run) -> None:
    table = raw(run, SAMPLES)
    before = {row["id"]: row for row in rows_of(table)}
    after = {row["id"]: row for row in rows_of(clean.run(CleanConfig(max_bad_share=0.5), run, table=table))}
    side = after["a/side"]
    assert (side["width"], side["height"]) == (40, 64)
    assert (decode(side["image"]) == decode(before["a/side"]["image"])).all()
    assert all(after[key]["image"] == before[key]["image"] for key in after if key != "a/side")


@pytest.mark.usefixtures("ray_session")
def test_on_the_cluster_it_is_the_same_snapshot(run: Run) -> None:
    table = raw(run, SAMPLES, parts=3)
    here = clean.run(CleanConfig(max_bad_share=0.5), run, table=table)
    there = clean.run(CleanConfig(max_bad_share=0.5, in_process_rows=0), run, table=table)
    assert there.snapshot == here.snapshot and quarantine(there) == quarantine(here)
    assert there.reasons == here.reasons and there.twins == here.twins


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (SAMPLES, r"7 of 17 images of t.images \(41.18%\) cannot be used.*id: conflicting duplicate \(2, as x/twice\)"),
        (SAMPLES[:1] * 2 + SAMPLES[2:3], r"1 of 3 images of t.images \(33.33%\)"),
        (SAMPLES[0:6:2], "the label of t.images is 'a' for all 3 images"),
        ([sample._replace(label=None) for sample in SAMPLES[:3]], "missing in all 3 images"),
    ],
)
def test_what_cannot_be_used_is_refused(run: Run, samples: list[Sample], words: str) -> None:
    with pytest.raises(DataError, match=words):
        clean.run(CleanConfig(), run, table=raw(run, samples))
