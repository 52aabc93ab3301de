"""One side of `training.py`: the product. `python tests/benchmarks/product_training.py SIDE FOLDER`.

`prepare` makes the feature tables from the public data sets and leaves the same rows as arrays for the other side. Every
other side prints `{"rate": rows a second, ...}` as its last line.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.contract import Decision, Features, ImageFeatures, ImageSchema, ModelVersion, Run, Trained
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.parts import AnySource, ImageSource
from ray_mlops.vision.transform import Transform

DECISION = Decision(uri="", fingerprint="d", verdict="use_ml", reasons=("a benchmark",))
NAMES = ("id", "image", "label", "group")
WARM = 128  # pictures that are scored before those which count, two pieces of them, on both sides


class Noted(Augmentation):
    """The default changes, and a note of when the first step of a fit asked for them: Unix time, in the file `note`."""

    note: str

    def apply(self, images: Any, generator: Any) -> Any:
        """What it is asked for."""
        if not os.path.exists(self.note):
            Path(self.note).write_text(str(time.time()))
        return super().apply(images, generator)


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
    pq.write_table(jpeg.slice(0, WARM), folder / "warm.parquet", row_group_size=WARM // 2)
    if any(case.startswith("batch_inference") for case in settings["cases"]):
        _bundle(folder)
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
    """Figures of a fit; of pictures also `startup_s`, from the begin of this command to the first step but for the pause."""
    from ray_mlops.platform import runtime
    from ray_mlops.stages import train
    from ray_mlops.stages.train import TrainConfig

    runtime.connect()
    connected = time.time()
    _settle()
    paused = time.time() - connected
    with tempfile.TemporaryDirectory(dir=folder) as place:
        note = Path(place, "first_step")
        if isinstance(algorithm, ImageClassifier):
            algorithm = algorithm.model_copy(update={"augment": Noted(note=str(note))})
        result: Trained = train.run(
            TrainConfig(**config),
            a_run(Path(place), "train"),
            features=features,
            decision=DECISION,
            algorithm=algorithm,
        )
        first = {"startup_s": float(note.read_text()) - _born() - paused} if note.exists() else {}
    took = result.performance
    return {"rate": took["samples_per_second"], **first, "took": dict(took), **result.metrics}


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
    """Batch scoring on Ray with a bundle of ResNet-18 at 224 pixels: pictures a second once its processes have begun, which
    takes `startup_s`, a few pictures included."""
    began, _ = _score(folder, "warm", here_bytes=0)
    began, warm = _score(folder, "warm", here_bytes=0)  # the first one started Ray Data as well
    took, rows = _score(folder, "few", here_bytes=0)
    return {"rate": (rows - warm) / (took - began), "whole_rate": rows / took, "startup_s": began}


def batch_inference_here(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The same in the process of the command, where so few files would be scored by themselves."""
    _score(folder, "warm", here_bytes=1 << 40)
    took, rows = _score(folder, "few", here_bytes=1 << 40)
    return {"rate": rows / took}


def _score(folder: Path, name: str, here_bytes: int) -> tuple[float, int]:
    """Seconds and rows."""
    from ray_mlops.platform import runtime
    from ray_mlops.stages.images.score import score_images

    runtime.connect()
    version = ModelVersion.model_validate_json((folder / "resnet18.json").read_text())
    started = time.perf_counter()
    rows = score_images(version, str(folder / f"{name}.parquet"), str(folder / "scores.parquet"), here_bytes=here_bytes)
    return time.perf_counter() - started, rows


def _bundle(folder: Path) -> None:
    """A bundle of ResNet-18 with random weights, and those weights for the other side."""
    from ray_mlops.algorithms.image_model import ImageModel, Plan
    from ray_mlops.platform.bundle import Bundle
    from ray_mlops.vision import predictor

    classes, shape = tuple("0123456789"), (224, 224, 3)
    plan = Plan("resnet18", (), classes, shape, (0.5,) * 3, (0.25,) * 3)
    ImageModel(_resnet(folder, shape), plan).save(str(folder / "resnet18"))
    with tempfile.TemporaryDirectory() as place:
        predictor.save(
            place, ImageClassifier(network="resnet18"), str(folder / "resnet18"),
            transform=Transform(size=(224, 224)), classes=classes, calibration={"temperature": [1.0]},
        )  # fmt: skip
        bundle = Bundle.write(place, str(folder / "bundles"))
    version = ModelVersion(uri=bundle.uri, fingerprint="b", name="b", version="1", digest=bundle.digest)
    (folder / "resnet18.json").write_text(version.model_dump_json())


def _resnet(folder: Path, shape: tuple[int, int, int]) -> Any:
    """The network, its head set so that the logits of each class have mean 0 and deviation 1 over some pictures: at random it
    gives nearly all of them one class, and no comparison would show a difference."""
    import pyarrow.parquet as pq
    import torch

    from ray_mlops.algorithms.networks import build
    from ray_mlops.vision.features import read_all

    torch.manual_seed(0)
    network: Any = build("resnet18", shape, 10, ()).eval()
    files = pq.read_table(folder / "warm.parquet")["image"].to_pylist()
    pixels = torch.from_numpy(np.asarray(read_all(files, Transform(size=(224, 224)), 1))).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = network((pixels / 255 - 0.5) / 0.25)
        deviation = logits.std(dim=0)
        network.fc.weight /= deviation[:, None]
        network.fc.bias[:] = (network.fc.bias - logits.mean(dim=0)) / deviation
    return network


def stop(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """End the local cluster that the sides have used."""
    from ray_mlops.platform import runtime

    runtime.stop()
    return {"rate": 0.0}


SIDES = {f.__name__: f for f in (stop, prepare, vision, ddp, boosting, loader, batch_inference, batch_inference_here)}

if __name__ == "__main__":
    side, where = sys.argv[1], Path(sys.argv[2])
    given = json.loads((where / "settings.json").read_text())
    try:
        print(json.dumps(SIDES[side](where, given)), flush=True)
    finally:
        from ray_mlops.platform import runtime

        runtime.disconnect()
