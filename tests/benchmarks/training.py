"""Training through the product beside bare loops: `python tests/benchmarks/training.py --data ../shared/data`.

Vision (one worker against a torch loop, two against torchrun), boosting, data loading and batch inference (on Ray, once its
processes have begun, and in the command's process, where a few files are scored); each side in a process of its own, in
turns, on the same rows with the same settings. Results that differ beyond what chance explains (`RESULTS`) end the run.
Prints a table of rows a second, medians of the rounds, and, last, one JSON line: `{"ratios": {...}, "startup_s": ...,
"startup_ddp_s": ...}`, a ratio above 1 meaning that the product is faster. The start-up is from the command to the first
step, on one worker and on two.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = ("vision", "ddp", "boosting", "loader", "batch_inference", "batch_inference_here")
# What both sides must agree on, and how closely: they draw other rows (vision; with far fewer images than the default,
# chance alone may exceed it), share all (boosting) or decode otherwise. A `difference` is one already, of probabilities.
RESULTS = {
    "vision": ("accuracy", 0.02),
    "ddp": ("accuracy", 0.02),
    "boosting": ("average_precision", 0.002),
    "loader": ("brightness", 0.5),
    "batch_inference": ("difference", 0.001),
    "batch_inference_here": ("difference", 0.001),
}


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What both sides read."""
    from ray_mlops.algorithms.boosting import XGBoost
    from ray_mlops.algorithms.image_classifier import ImageClassifier
    from ray_mlops.algorithms.worker import LocalWorker

    cores = len(os.sched_getaffinity(0))
    parameters = XGBoost()._parameters(LocalWorker(threads=cores))
    return {
        "data": str(arguments.data.absolute()),
        "images": arguments.images,
        "events": arguments.events,
        "inferred": arguments.inferred,
        "cases": list(arguments.only),
        "epochs": arguments.epochs,
        "precision": arguments.precision,
        "rounds": arguments.rounds,
        "batch_size": arguments.batch_size or ImageClassifier().batch_size,
        "widths": ImageClassifier().widths,
        "threads": cores,
        "xgboost": parameters,
    }


def measured(script: str, side: str, folder: Path) -> dict[str, Any]:
    """The figures of one side, from its last line."""
    command = [sys.executable, str(HERE / script), side, str(folder)]
    if (script, side) == ("bare_training.py", "ddp"):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [*launcher, *command[1:]]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    environment["RAY_MLOPS_HOME"] = str(folder / "home")  # a cluster of its own
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=environment, timeout=1800)
    if done.returncode:
        raise SystemExit(f"{script} {side} ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Prepare, run both sides of every case in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--inferred", type=int, default=1536)
    parser.add_argument("--events", type=int, default=1_000_000)  # about the values that the recipe fraud trains on
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--trees", dest="rounds", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    arguments = parser.parse_args()
    arguments.only = _possible(arguments.only)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {case: {"product": [], "bare": []} for case in arguments.only}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings.json").write_text(json.dumps(settings_of(arguments)))
        try:
            measured("product_training.py", "prepare", folder)
            for _ in range(arguments.repeat):
                for case, sides in found.items():
                    for side, runs in sides.items():
                        runs.append(measured(f"{side}_training.py", case, folder))
                        print(f"{case} {side}: {json.dumps(runs[-1])}", file=sys.stderr, flush=True)
        finally:
            measured("product_training.py", "stop", folder)
    _print(found)


def _possible(cases: Sequence[str]) -> list[str]:
    """The cases that this machine can do."""
    import torch

    left_out = {}
    if torch.cuda.device_count() == 1:
        left_out["ddp"] = "two workers need a GPU each, and there is one"
    if torch.cuda.is_available():
        left_out["batch_inference_here"] = "with a GPU, files are scored on Ray however few they are"
    for case in left_out.keys() & cases:
        print(f"{case} is left out: {left_out[case]}", file=sys.stderr)
    return [case for case in cases if case not in left_out]


def _agree(found: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    for case, sides in found.items():
        name, tolerance = RESULTS[case]
        values = [run[name] for runs in sides.values() for run in runs if name in run]
        print(f"{case}: {name} " + " ".join(f"{value:.4f}" for value in values))
        if max(values) - (0 if name == "difference" else min(values)) > tolerance:
            raise SystemExit(f"{case}: the sides do not agree in {name}: {values}")


def _print(found: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    print(f"{'case':<18}{'product rows/s':>16}{'bare rows/s':>16}{'ratio':>8}")
    ratios = {}
    for case, sides in found.items():
        product, bare = (statistics.median(run["rate"] for run in sides[side]) for side in ("product", "bare"))
        ratios[case] = round(product / bare, 3)
        print(f"{case:<18}{product:>16,.0f}{bare:>16,.0f}{ratios[case]:>8.2f}")
    _agree(found)
    start_ups = {name: _start_up(found, case) for name, case in (("startup_s", "vision"), ("startup_ddp_s", "ddp"))}
    print(json.dumps({"ratios": ratios, **start_ups}))


def _start_up(found: dict[str, dict[str, list[dict[str, Any]]]], case: str) -> float | None:
    """The median of the rounds; None where the case was left out."""
    times = [run["startup_s"] for run in found.get(case, {}).get("product", [])]
    return round(statistics.median(times), 1) if times else None


if __name__ == "__main__":
    main()
