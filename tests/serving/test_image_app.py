"""The application for images without Ray: every way to send a picture, and everything that is none."""

import asyncio
import base64
import json
import struct
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis import GenerationMode

from ray_mlops.monitoring import labelled
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.direct import Direct
from ray_mlops.serving.image_answers import Answerer, Pinned
from ray_mlops.serving.image_app import build_image_app
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.signals import SEEN
from ray_mlops.vision.transform import Transform
from tests.serving import made_up
from tests.small_images import CentroidModel
from tests.vision.pictures import encoded

CLASSES = ("black", "grey", "white")
MEANS = np.stack([np.full((8, 8, 1), value, float) for value in (0, 128, 255)])
WHITE = encoded(np.full((20, 16, 3), 250, np.uint8))
BLACK = encoded(np.full((9, 9, 3), 5, np.uint8))


class Slow(CentroidModel):
    """A model that takes its time."""

    seconds = 0.0

    def predict(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return super().predict(batch)


def an_answerer(folder: Path, model: CentroidModel | None = None) -> Answerer:
    predictor = ImagePredictor(model or CentroidModel(MEANS, 1.0), Transform(size=(8, 8), mode="L"), CLASSES)
    return Answerer(predictor, Capture(str(folder / "capture"), "v1"), Pinned("1", "d"), batch=32)


def an_app(answerer: Answerer, limits: ImageLimits | None = None) -> FastAPI:
    model = {"name": "shades", "version": "1", "digest": "d", "example": {}}
    return build_image_app(answerer, model, limits or ImageLimits(), health={"status": "ok"})


def send(answerer: Answerer, requests: Sequence[dict[str, Any]], limits: ImageLimits | None = None) -> list[Any]:
    """Answers to `POST /predict` with these arguments, sent one after the other to an application in this process."""
    return ask(an_app(answerer, limits), requests)


def ask(app: FastAPI, requests: Sequence[dict[str, Any]], path: str = "/predict") -> list[Any]:
    """The same of an application."""

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return [await client.post(path, **{"params": None, **request}) for request in requests]

    return asyncio.run(run())


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


RAW = {"content": WHITE, "headers": {"content-type": "image/png"}}
WAYS = {
    "raw": RAW,
    "octets": {"content": WHITE, "headers": {"content-type": "application/octet-stream"}},
    "no type": {"content": WHITE},
    "form": {"files": {"image": ("a.png", WHITE, "image/png")}},
    "base64": {"json": {"image": text(WHITE)}},
    "data address": {"json": {"image": f"data:image/png;base64,{text(WHITE)}"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_however_a_picture_is_sent_the_answer_is_the_same(way: str, tmp_path: Path) -> None:
    (answer,) = send(an_answerer(tmp_path), [WAYS[way]])
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["class"] == "white" and [one["class"] for one in told["top"]] == ["white", "grey", "black"]
    assert sum(one["probability"] for one in told["top"]) == pytest.approx(1)
    assert told["probability"] == told["top"][0]["probability"]
    assert (told["model"], told["version"], told["digest"]) == ("shades", "1", "d")


def test_several_pictures_are_answered_in_their_order(tmp_path: Path) -> None:
    listed = {"json": {"images": [text(WHITE), text(BLACK), text(WHITE)]}}
    form = {"files": [("image", ("a.png", BLACK)), ("image", ("b.png", WHITE))]}
    in_json, in_form = send(an_answerer(tmp_path), [listed, form])
    assert [one["class"] for one in in_json.json()["results"]] == ["white", "black", "white"]
    assert [one["class"] for one in in_form.json()["results"]] == ["black", "white"]


def test_the_caller_says_how_many_classes_to_give(tmp_path: Path) -> None:
    one, many, none = send(an_answerer(tmp_path), [{**RAW, "params": {"top": top}} for top in (1, 4, 0)])
    assert len(one.json()["top"]) == 1
    for refused in (many, none):
        assert refused.status_code == 422 and refused.json()["error"]["problems"][0]["field"] == "top"


def test_labels_name_a_picture_by_its_request(tmp_path: Path) -> None:
    answerer = an_answerer(tmp_path)
    listed = {"json": {"images": [text(WHITE), text(BLACK)]}, "headers": {"x-request-id": "batch"}}
    send(answerer, [{**RAW, "headers": {"x-request-id": "one"}}, listed])
    labels = [{"request_id": "one", "class": "grey"}, {"request_id": "batch", "class": "black", "picture": 1}]
    single, many, unknown, other = ask(
        an_app(answerer),
        [{"json": one} for one in (labels[0], {"labels": labels}, {"request_id": "one", "class": "blue"}, [])],
        path="/labels",
    )
    assert (single.json()["recorded"], many.json()["recorded"]) == (1, 2), (single.text, many.text)
    assert (unknown.status_code, unknown.json()["error"]["problems"][0]["field"]) == (422, "class")
    assert other.status_code == 422
    answerer.capture.close()
    found = labelled.classified(str(tmp_path / "capture"), "d")
    assert found.told.tolist() == ["white", "white", "black"] and found.label.tolist() == ["grey", "", "black"]


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few kilobytes that claims `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty": ({"content": b""}, 422, "empty"),
    "no image": ({"content": b"GET me a cat"}, 422, "image not an image"),
    "no image in a list": ({"json": {"images": [text(b"none")]}}, 422, "images.0 not an image"),
    "truncated": ({"content": WHITE[: len(WHITE) // 2]}, 422, "image truncated"),
    "bomb": ({"content": bomb()}, 422, "image too many pixels: Image size (3600000000 pixels)"),
    "text": ({"content": b"hello", "headers": {"content-type": "text/plain"}}, 415, "content-type"),
    "too large": ({"content": bytes(3_000)}, 413, "larger than 2,000 bytes"),
    "packed": ({"content": WHITE, "headers": {"content-encoding": "gzip"}}, 415, "content-encoding"),
    "no JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
    "other JSON": ({"json": {"picture": "x"}}, 422, "neither"),
    "no base64": ({"json": {"image": "&&&&"}}, 422, "image is not base64"),
    "a number": ({"json": {"image": 7}}, 422, "image should be"),
    "no list": ({"json": {"images": "x"}}, 422, "images should be a list"),
    "too many": ({"json": {"images": ["AAAA"] * 5}}, 413, "at most 4"),
    "one is none": ({"json": {"images": [text(WHITE), text(b"zzz")]}}, 422, "images.1"),
    "form without file": ({"data": {"a": "b"}, "files": {}}, 415, "content-type"),
    "form without boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
    "form of text": ({"files": {"image": (None, "just text")}}, 422, "no file"),
    "form of too many": ({"files": [("image", (f"{n}.png", b"x")) for n in range(5)]}, 413, "Too many files"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    request, status, words = BAD[case]
    answer, good = send(an_answerer(tmp_path), [request, RAW], ImageLimits(max_body_bytes=2_000, max_images=4))
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]
    assert good.status_code == 200


def test_the_short_way_says_what_the_long_one_says(tmp_path: Path) -> None:
    asked = [*WAYS.values(), *(request for request, _, _ in BAD.values()), {**RAW, "params": {"top": 0}}]
    named = [{**one, "headers": {**one.get("headers", {}), "x-request-id": f"r{n}"}} for n, one in enumerate(asked)]
    answerer, limits = an_answerer(tmp_path), ImageLimits(max_body_bytes=2_000, max_images=4)
    short, long = an_app(answerer, limits), an_app(answerer, limits)
    long.user_middleware = [one for one in long.user_middleware if one.cls is not Direct]
    told = [
        [(one.status_code, one.headers["content-type"], one.content) for one in ask(app, named)]
        for app in (short, long)
    ]
    assert told[0] == told[1] and {200, 413, 415, 422} <= {status for status, _, _ in told[0]}


def test_json_that_nests_deep_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (answer,) = send(an_answerer(tmp_path), [{"content": b"[" * 5000, "headers": {"content-type": "application/json"}}])
    assert answer.status_code == 400 and "nests deeper than 32 levels" in answer.json()["error"]["message"]


def test_a_hundred_megabytes_are_refused_without_being_read(tmp_path: Path) -> None:
    read = 0

    async def body() -> Any:
        nonlocal read
        for _ in range(100):
            read += 1
            yield bytes(1_000_000)

    (answer,) = send(an_answerer(tmp_path), [{"content": body(), "headers": {"content-length": "100000000"}}])
    assert answer.status_code == 413 and read <= 1
    (unsized,) = send(an_answerer(tmp_path), [{"content": body()}])
    assert unsized.status_code == 413 and read < 30


def test_a_model_that_takes_too_long_is_given_up_and_the_next_one_is_answered(tmp_path: Path) -> None:
    model = Slow(MEANS, 1.0)
    answerer = an_answerer(tmp_path, model)
    model.seconds = 0.6
    (late,) = send(answerer, [RAW], ImageLimits(deadline_s=0.2))
    assert late.status_code == 503 and late.headers["retry-after"] == "1"
    model.seconds = 0.0
    assert send(an_answerer(tmp_path, model), [RAW])[0].status_code == 200


def test_every_picture_answered_is_a_line_of_the_log(tmp_path: Path) -> None:
    send(an_answerer(tmp_path), [{"json": {"images": [text(WHITE), text(BLACK)]}}, {"content": b"none"}])
    (log,) = (tmp_path / "capture").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["white", "black"]
    assert set(lines[0]["features"]) == set(SEEN) and lines[0]["digest"] == "d"
    assert lines[0]["features"]["brightness"] == pytest.approx(250 / 255, abs=0.01)


@pytest.mark.parametrize("mode", made_up.MODES)
def test_requests_made_up_from_the_document_get_the_documented_answers(tmp_path: Path, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_asgi("/openapi.json", an_app(an_answerer(tmp_path)))
    assert made_up.ask(document, mode)["/predict"]
