"""The applications behind uvicorn on a free loopback port, below `/small` and `/shades`, as Serve puts them there."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.app import build_app
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.image_answers import Answerer, Pinned
from ray_mlops.serving.image_app import build_image_app
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.scoring import Scorer
from ray_mlops.vision.predictor import ImagePredictor
from ray_mlops.vision.transform import Transform
from tests.small_images import CentroidModel
from tests.small_model import TRANSACTIONS, bundle, example, transactions
from tests.vision.pictures import encoded

# Without windows an answer does not depend on what was asked before: every protocol must give the same numbers.
DEFINITION = FeatureDefinition(data=TRANSACTIONS, inputs=("amount", "channel"), calendar=("night",))
ROWS = [example(transactions(50), place) for place in range(3)]
WHITE = encoded(np.full((20, 16, 3), 250, np.uint8))
CLASSES = ("black", "grey", "white")
MEANS = np.stack([np.full((8, 8, 1), value, float) for value in (0, 128, 255)])


def transaction_app(folder: Path, limits: Limits | None = None, ring: KeyRing | None = None) -> FastAPI:
    """An endpoint `small`, version 1."""
    predictor = Predictor.load(bundle(folder, definition=DEFINITION))
    scorer = Scorer(predictor, None, Capture(str(folder / "capture"), "v1"), version="1", digest="d")
    model = {"name": "small", "version": "1", "digest": "d", "example": ROWS[0]}
    return build_app(scorer, model, limits or Limits(), health={"status": "ok"}, ring=ring)


def image_app(folder: Path) -> FastAPI:
    """An endpoint `shades`, version 1."""
    predictor = ImagePredictor(CentroidModel(MEANS, 1.0), Transform(size=(8, 8), mode="L"), CLASSES)
    answerer = Answerer(predictor, Capture(str(folder / "images"), "v1"), Pinned("1", "d"), batch=32)
    model = {"name": "shades", "version": "1", "digest": "d", "example": {"image": base64.b64encode(WHITE).decode()}}
    return build_image_app(answerer, model, ImageLimits(), health={"status": "ok"})


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of both, while they answer."""
    limits = Limits(max_body_bytes=100_000, max_transactions=50)
    mounted = [Mount("/small", transaction_app(folder, limits)), Mount("/shades", image_app(folder))]
    with on_loopback(Starlette(routes=mounted)) as url:
        yield url


@contextmanager
def on_loopback(app: Starlette) -> Iterator[str]:
    """The address of an application, while it answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
