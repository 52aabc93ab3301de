"""How good a classifier becomes through the product in a given time: `python tests/benchmarks/pictures.py --only fashion`.

Fashion-MNIST from its original files and CIFAR-10 as JPEG, each through the stages from ingest to evaluate with the
recipe below, for several seeds; on one worker with all cores, or on several (`--workers 2`) with a core each. `--only
cifar_gpu` is CIFAR-10 with a network and a number of epochs that want a large GPU. Prints what
each run came to and, last, one JSON line: test top-1 and core-seconds of training (wall time of the fit times cores), mean
and standard deviation over the seeds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.debug_rules import DebugRules
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.contract import ImageSchema
from ray_mlops.pipeline import ImageConfig
from ray_mlops.stages.images.ingest import IngestConfig
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.stages.tune import TuneConfig
from ray_mlops.vision.datasets import TorchvisionSet
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.shards import ImageParquet
from ray_mlops.vision.split import Split
from ray_mlops.vision.transform import Transform

HERE = Path(__file__).resolve()
DATA = "RAY_MLOPS_BENCHMARK_DATA"  # the folder of the data sets, for the recipes
CASES = ("fashion", "cifar", "cifar_gpu")
TESTED = Split(validation=0.02, test_keys="test/")  # the test set is the published one


def fashion() -> ImageConfig:
    """Fashion-MNIST: the default network, 265,000 parameters, ten epochs."""
    return ImageConfig(
        name="fashion",
        algorithm=ImageClassifier(),
        ingest=IngestConfig(
            name="fashion.images",
            data=ImageSchema(mode="L"),
            sources=(TorchvisionSet(name="FashionMNIST", path=str(_data() / "fashion")),),
        ),
        features=ImageFeaturesConfig(transform=Transform(size=(28, 28), mode="L"), split=TESTED),
        tune=TuneConfig(trials=0),
        register=RegisterConfig(name="fashion"),
    )


def cifar() -> ImageConfig:
    """CIFAR-10 as JPEG: what a quarter of an hour on two cores has room for."""
    return _cifar(
        ImageClassifier(widths=(32, 64, 128, 256), epochs=14, augment=Augmentation(crop=4, flip=True), ema=0.998)
    )


def cifar_gpu() -> ImageConfig:
    """CIFAR-10 as JPEG: what five minutes on one H200 have room for, 45 million parameters."""
    return _cifar(
        ImageClassifier(
            widths=(128, 256, 640, 768),
            blocks=(0, 2, 2, 2),
            epochs=122,
            batch_size=512,
            learning_rate=0.4,
            cutmix=0.2,
            augment=Augmentation(crop=4, flip=True, erase=1.0),
            ema=0.998,
            debug=DebugRules(dead=None),  # so wide a network can do without some units
            both_ways=True,
        )
    )


def _cifar(algorithm: ImageClassifier) -> ImageConfig:
    sources = tuple(
        ImageParquet(path=str(_data() / "cifar10_jpeg" / f"{part}.parquet"), label="class_name", prefix=part)
        for part in ("train", "test")
    )
    return ImageConfig(
        name="cifar",
        algorithm=algorithm,
        ingest=IngestConfig(name="cifar.images", data=ImageSchema(), sources=sources),
        features=ImageFeaturesConfig(transform=Transform(size=(32, 32)), split=TESTED),
        tune=TuneConfig(trials=0),
        register=RegisterConfig(name="cifar"),
    )


def _data() -> Path:
    return Path(os.environ[DATA])


def prepared(data: Path, folder: Path) -> Path:
    """A folder with the data sets as the recipes look for them: torchvision wants the original files in one of its own."""
    raw = folder / "fashion" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data / "fashion_mnist").glob("*.gz"):
        (raw / file.name).symlink_to(file.absolute())
    (folder / "cifar10_jpeg").symlink_to((data / "cifar10_jpeg").absolute())
    return folder


def trained(case: str, seed: int, workers: int, folder: Path, settings: list[str]) -> dict[str, Any]:
    """One run of the command, and what its artifacts say."""
    root = folder / "mlops"
    changes = [f"seed={seed}", f"train.workers={workers}", *settings]
    command = [sys.executable, "-m", "ray_mlops.cli", "run", f"{HERE}:{case}", "--to", "evaluate", "--root", str(root)]
    for change in changes:
        command += ["-s", change]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, DATA: str(folder / "data")})
    newest = max((root / "runs").glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    stages = {stage["stage"]: stage["artifact"] for stage in json.loads(newest.read_text())["stages"]}
    took = stages["train"]["performance"]
    return {
        "seed": seed,
        "top1": stages["evaluate"]["metrics"]["accuracy"],
        "fit_s": round(took["fit_s"], 1),
        "core_s": round(took["fit_s"] * len(os.sched_getaffinity(0)), 1),
        "images_per_s": round(took["samples_per_second"]),
    }


def main() -> None:
    """Run every case with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parents[3] / "shared" / "data")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES[:2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "-s", "--set", dest="settings", action="append", default=[], help="change a field of the recipe"
    )
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(arguments.data, folder / "data")
        for case in arguments.only:
            runs = []
            for seed in arguments.seeds:
                runs.append(trained(case, seed, arguments.workers, folder, arguments.settings))
                print(f"{case} {json.dumps(runs[-1])}", flush=True)
            found[case] = {"runs": len(runs)}
            for figure in ("top1", "core_s", "fit_s"):
                values = [run[figure] for run in runs]
                found[case] |= {figure: statistics.mean(values), f"{figure}_sd": statistics.pstdev(values)}
    print(json.dumps({"workers": arguments.workers, **found}))


if __name__ == "__main__":
    main()
