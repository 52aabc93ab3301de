"""One side of `training.py`: the product. `python tests/benchmarks/product_training.py SIDE FOLDER`.

`prepare` makes the feature tables from the public data sets and leaves the same rows as arrays for the other side. Every
other side prints `{"rate": rows a second, ...}` as its last line.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.contract import Decision, Features, ImageFeatures, ImageSchema, ModelVersion, Run, Trained
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.parts import AnySource, ImageSource
from ray_mlops.vision.transform import Transform

DECISION = Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("a benchmark",))
NAMES = ("id", "image", "label", "group")


def a_run(folder: Path, stage: str) -> Run:
    """The run of a stage in the folder."""
    return Run(root=str(folder), id="b", recipe="benchmark", uri=str(folder / "artifacts" / stage), fingerprint=stage)


def prepare(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Feature tables of Fashion-MNIST and of generated events, their arrays, and CIFAR-10's JPEG files."""
    import pyarrow.parquet as pq

    data = Path(settings["data"])
    (folder / "raw" / "FashionMNIST" / "raw").mkdir(parents=True)
    for file in (data / "fashion_mnist").glob("*.gz"):
        (folder / "raw" / "FashionMNIST" / "raw" / file.name).symlink_to(file)
    _images(folder, settings)
    if "boosting" in settings["cases"]:
        _events(folder, settings)
    jpeg = pq.read_table(data / "cifar10_jpeg" / "train.parquet", columns=["image"])
    pq.write_table(jpeg.slice(0, settings["images"]), folder / "jpeg.parquet", row_group_size=1024)
    pq.write_table(jpeg.slice(0, settings["inferred"]), folder / "few.parquet", row_group_size=256)
    return {"rate": 0.0}


def _images(folder: Path, settings: dict[str, Any]) -> None:
    from itertools import islice

    import pyarrow as pa

    from ray_mlops.platform import tables
    from ray_mlops.stages.images import features
    from ray_mlops.vision.datasets import TorchvisionSet
    from ray_mlops.vision.sources import rows

    source = TorchvisionSet(name="FashionMNIST", path=str(folder / "raw"), include=("train",))
    samples = (sample for piece in source.pieces() for sample in piece.read())
    made = rows(islice(samples, settings["images"]), NAMES)
    made = made.append_column("phash", pa.array(np.arange(made.num_rows))).append_column("twins", made["id"])
    table = tables.write_images(made, "images.clean", a_run(folder, "clean"), data=ImageSchema(mode="L"))
    config = ImageFeaturesConfig(transform=Transform(size=(28, 28), mode="L"), in_process_rows=1_000_000)
    found = features.run(config, a_run(folder, "images"), table=table)
    (folder / "images.json").write_text(found.model_dump_json())
    _leave(folder / "images.npz", ImageSource.of(found))


def _events(folder: Path, settings: dict[str, Any]) -> None:
    from ray_mlops.platform import runtime
    from ray_mlops.platform.parts import Source
    from ray_mlops.stages import features
    from tests.planted import FEATURES, by_many_causes, clean_table, events

    runtime.connect()
    table = clean_table(events(by_many_causes, rows=settings["events"]), folder)
    found = features.run(FEATURES, a_run(folder, "events"), table=table)
    (folder / "events.json").write_text(found.model_dump_json())
    _leave(folder / "rows.npz", Source.of(found))


def _leave(file: Path, source: AnySource) -> None:
    train, judged = source.read("train"), source.read("validation")
    np.savez(
        file,
        features=train.features,
        labels=train.labels,
        validation=judged.features,
        validation_labels=judged.labels,
    )


def _trained(folder: Path, features: Features | ImageFeatures, algorithm: Any, **config: Any) -> dict[str, Any]:
    from ray_mlops.platform import runtime
    from ray_mlops.stages import train
    from ray_mlops.stages.train import TrainConfig

    runtime.connect()
    connected = time.time()
    _settle()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        result: Trained = train.run(
            TrainConfig(**config),
            a_run(Path(place), "train"),
            features=features,
            decision=DECISION,
            algorithm=algorithm,
        )
    took = result.performance
    start_up = connected - _born() + took["start_up_s"]
    return {"rate": took["samples_per_second"], "startup_s": start_up, "took": dict(took), **result.metrics}


def _settle() -> None:
    """Wait until the processes of a cluster just begun have come to rest: their start is not the speed of training."""
    for _ in range(30):
        busy, total = _ticks()
        time.sleep(1)
        busy, total = (now - before for now, before in zip(_ticks(), (busy, total), strict=True))
        if busy < 0.05 * total:
            return


def _ticks() -> tuple[int, int]:
    """Processor time of the machine since it started: busy, and in all."""
    spent = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(spent) - spent[3] - spent[4], sum(spent)


def _born() -> float:
    """When this process began, Unix time."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def _classifier(settings: dict[str, Any]) -> ImageClassifier:
    widths, epochs, batch = tuple(settings["widths"]), settings["epochs"], settings["batch_size"]
    return ImageClassifier(widths=widths, epochs=epochs, batch_size=batch, precision=settings["precision"])


def vision(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The image classifier on one worker."""
    features = ImageFeatures.model_validate_json((folder / "images.json").read_text())
    return _trained(folder, features, _classifier(settings))


def ddp(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The same on two."""
    features = ImageFeatures.model_validate_json((folder / "images.json").read_text())
    return _trained(folder, features, _classifier(settings), workers=2)


def boosting(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """XGBoost on one worker; loaded before, as on the other side."""
    import xgboost  # noqa: F401

    features = Features.model_validate_json((folder / "events.json").read_text())
    return _trained(folder, features, XGBoost(rounds=settings["rounds"]))


def loader(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One epoch from JPEG bytes in Parquet to augmented tensors, as a fit reads them."""
    import pyarrow.dataset as pads
    import torch

    from ray_mlops.algorithms.augmentation import Augmentation
    from ray_mlops.algorithms.devices import moved
    from ray_mlops.platform.parts import ArrayPart
    from ray_mlops.vision.features import read_all

    transform, change, draws = Transform(size=(32, 32)), Augmentation(crop=4, flip=True), torch.Generator()
    started, rows, light = time.perf_counter(), 0, 0.0
    found = pads.dataset(str(folder / "jpeg.parquet")).to_table(columns=["image"])["image"].to_pylist()
    part = ArrayPart(read_all(found, transform, 4), np.zeros(len(found), np.int64))
    for images, _ in moved(part.batches(settings["batch_size"], seed=0), torch.device("cpu")):
        batch = change.apply(images, draws).permute(0, 3, 1, 2)
        rows, light = rows + len(batch), light + float(batch.sum(dtype=torch.int64))
    return {"rate": rows / (time.perf_counter() - started), "brightness": light / rows / 32**2 / 3}


def batch_inference(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Batch scoring with a bundle of ResNet-18 at 224 pixels; once before, so that its processes are there."""
    import torch

    from ray_mlops.algorithms.image_model import ImageModel, Plan
    from ray_mlops.algorithms.networks import build
    from ray_mlops.platform import runtime
    from ray_mlops.platform.bundle import Bundle
    from ray_mlops.stages.images.score import score_images
    from ray_mlops.vision import predictor

    torch.manual_seed(0)
    classes, shape = tuple("0123456789"), (224, 224, 3)
    plan = Plan("resnet18", (), classes, shape, (0.5,) * 3, (0.25,) * 3)
    with tempfile.TemporaryDirectory() as place:
        ImageModel(build("resnet18", shape, 10, ()), plan).save(f"{place}/model")
        shutil.copytree(f"{place}/model", folder / "resnet18", dirs_exist_ok=True)
        bundle_files, calibration = f"{place}/bundle", {"temperature": [1.0]}
        Path(bundle_files).mkdir()
        predictor.save(
            bundle_files, ImageClassifier(network="resnet18"), f"{place}/model",
            transform=Transform(size=(224, 224)), classes=classes, calibration=calibration,
        )  # fmt: skip
        bundle = Bundle.write(bundle_files, str(folder / "bundles"))
    version = ModelVersion(uri=bundle.uri, fingerprint="b", name="b", version="1", digest=bundle.digest)
    runtime.connect()
    source, out = str(folder / "few.parquet"), str(folder / "scores.parquet")
    score_images(version, source, out)
    started = time.perf_counter()
    rows = score_images(version, source, out)
    return {"rate": rows / (time.perf_counter() - started), "agreement": 1.0}


def stop(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """End the local cluster that the sides have used."""
    from ray_mlops.platform import runtime

    runtime.stop()
    return {"rate": 0.0}


SIDES = {f.__name__: f for f in (stop, prepare, vision, ddp, boosting, loader, batch_inference)}

if __name__ == "__main__":
    side, where = sys.argv[1], Path(sys.argv[2])
    given = json.loads((where / "settings.json").read_text())
    try:
        print(json.dumps(SIDES[side](where, given)), flush=True)
    finally:
        from ray_mlops.platform import runtime

        runtime.disconnect()
