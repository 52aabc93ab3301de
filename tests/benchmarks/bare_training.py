"""The other side of `training.py`: plain loops of torch and XGBoost, as one writes them without this product.

`python tests/benchmarks/bare_training.py SIDE FOLDER` does one side on what `product_training.py prepare` left in the
folder, and prints `{"rate": ...}` (rows a second) and a result as its last line. Only the definition of the network is
shared.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PAD = 1


def device() -> str:
    """A GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def vision(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """A loop over the whole part in memory."""
    import torch

    torch.set_num_threads(settings["threads"])
    return _epochs(folder, settings, rank=0, size=1)


def ddp(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """The same on all workers; to be started by torchrun."""
    import torch
    import torch.distributed as group

    group.init_process_group("nccl" if device() == "cuda" else "gloo")
    torch.set_num_threads(1)
    try:
        return _epochs(folder, settings, rank=group.get_rank(), size=group.get_world_size())
    finally:
        group.destroy_process_group()


def _epochs(folder: Path, settings: dict[str, Any], *, rank: int, size: int) -> dict[str, float]:
    import torch
    from torch.nn import functional
    from torch.nn.parallel import DistributedDataParallel

    from ray_mlops.algorithms.devices import dtype_of
    from ray_mlops.algorithms.networks import build

    place = torch.device(device(), rank) if device() == "cuda" else torch.device("cpu")
    stored = np.load(folder / "images.npz")
    images = torch.from_numpy(stored["features"][rank::size]).to(place)
    labels = torch.from_numpy(stored["labels"][rank::size]).to(place)
    torch.manual_seed(0)
    network = build("small_residual", tuple(images.shape[1:]), 10, tuple(settings["widths"]))
    network = network.to(place, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    trained = DistributedDataParallel(network) if size > 1 else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batch = settings["batch_size"] // size
    steps = -(-len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=settings["epochs"] * steps, pct_start=0.2
    )
    dtype = dtype_of(settings["precision"], place)
    scaler = torch.amp.GradScaler(place.type, enabled=dtype == torch.float16)
    mean, deviation = images[:4096].float().mean() / 255, images[:4096].float().std() / 255
    scale, shift = 1 / (255 * deviation), -mean / deviation
    started = time.perf_counter()
    for _ in range(settings["epochs"]):
        network.train()
        for chosen in torch.randperm(len(labels), device=place).split(batch):
            values = _input(_augmented(images[chosen]), scale, shift)
            with torch.autocast(place.type, dtype=dtype, enabled=dtype != torch.float32):
                logits = trained(values).float()
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
    if place.type == "cuda":
        torch.cuda.synchronize()
    rate = size * settings["epochs"] * len(labels) / (time.perf_counter() - started)
    network.eval()
    judged, wanted = (torch.from_numpy(stored[name]).to(place) for name in ("validation", "validation_labels"))
    with torch.inference_mode():
        found = torch.cat([network(_input(part, scale, shift)).argmax(1) for part in judged.split(256)])
    return {"rate": rate, "accuracy": float((found == wanted).float().mean())}


def _input(images: Any, scale: Any, shift: Any) -> Any:
    import torch

    return (images * scale + shift).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _augmented(images: Any) -> Any:
    """Shift each picture by up to `PAD` pixels, the border mirrored, and mirror half of them."""
    import torch

    rows, height, width, _ = images.shape
    down, right = torch.randint(0, 2 * PAD + 1, (2, rows), device=images.device).unbind()
    across = torch.arange(width, device=images.device).expand(rows, width)
    mirrored = torch.rand(rows, 1, device=images.device) < 0.5
    across = torch.where(mirrored, width - 1 - across, across) + right[:, None] - PAD
    along = torch.arange(height, device=images.device) + down[:, None] - PAD
    across, along = ((side - 1) - ((side - 1) - at.abs()).abs() for at, side in ((across, width), (along, height)))
    return images[torch.arange(rows, device=images.device)[:, None, None], along[:, :, None], across[:, None, :]]


def boosting(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """XGBoost alone, from arrays to a model."""
    import xgboost
    from sklearn.metrics import average_precision_score

    stored = np.load(folder / "rows.npz")
    parameters = {**settings["xgboost"], "nthread": settings["threads"]}
    started = time.perf_counter()
    train = xgboost.QuantileDMatrix(stored["features"], stored["labels"], max_bin=parameters["max_bin"])
    model = xgboost.train(parameters, train, settings["rounds"])
    rate = len(stored["labels"]) / (time.perf_counter() - started)
    scores = model.inplace_predict(stored["validation"])
    return {"rate": rate, "average_precision": float(average_precision_score(stored["validation_labels"], scores))}


def loader(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """One epoch of a `DataLoader` with 2 workers over JPEG bytes in Parquet."""
    import pyarrow.parquet as pq
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchvision.io import decode_jpeg
    from torchvision.transforms import v2

    table = pq.read_table(folder / "jpeg.parquet")

    class Pictures(Dataset):
        def __init__(self) -> None:
            self.bytes = [np.frombuffer(data, np.uint8) for data in table["image"].to_pylist()]
            self.change = v2.Compose([v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip()])

        def __len__(self) -> int:
            return len(self.bytes)

        def __getitem__(self, place: int) -> Any:
            return self.change(decode_jpeg(torch.from_numpy(self.bytes[place].copy())))

    started, rows, light = time.perf_counter(), 0, 0.0
    for batch in DataLoader(Pictures(), batch_size=settings["batch_size"], shuffle=True, num_workers=2):
        rows, light = rows + len(batch), light + float(batch.sum(dtype=torch.int64))
    return {"rate": rows / (time.perf_counter() - started), "brightness": light / rows / 32**2 / 3}


def batch_inference(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """A loop that decodes, resizes and classifies JPEG files with ResNet-18 at 224 pixels. `difference` is how far its
    probabilities are on average from those that the product gave the same files before, `agreement` how often the class is
    the same."""
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import load_file
    from torchvision import models

    torch.set_num_threads(settings["threads"])
    place, network = device(), models.resnet18(num_classes=10).eval()
    network.load_state_dict(load_file(folder / "resnet18" / "model.safetensors"))
    network = network.to(place, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    warm, few = (pq.read_table(folder / f"{name}.parquet")["image"].to_pylist() for name in ("warm", "few"))
    _classified(warm, network, place)
    started = time.perf_counter()
    found = _classified(few, network, place)
    rate = len(few) / (time.perf_counter() - started)
    scores = pq.read_table(folder / "scores.parquet")
    rows = [int(key.rpartition("/")[2]) for key in scores["id"].to_pylist()]  # sorted as text
    classes, given = scores["class"].to_numpy().astype(int), scores["probability"].to_numpy()
    difference = np.abs(found[rows, classes] - given).mean()
    return {
        "rate": rate,
        "difference": float(difference),
        "agreement": float((found[rows].argmax(1) == classes).mean()),
    }


def _classified(files: list[bytes], network: Any, place: str) -> np.ndarray:
    """Probabilities `(files, classes)`."""
    import torch
    from torchvision.io import decode_jpeg
    from torchvision.transforms.v2 import functional

    found = []
    with torch.inference_mode():
        for start in range(0, len(files), 64):
            decoded = [
                decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8)) for data in files[start : start + 64]
            ]
            sized = torch.stack([functional.resize(image, [224, 224]) for image in decoded]).to(place)
            values = (sized.float() / 255 - 0.5) / 0.25
            found.append(network(values.contiguous(memory_format=torch.channels_last)).softmax(1).cpu())
    return torch.cat(found).numpy()


SIDES = {f.__name__: f for f in (vision, ddp, boosting, loader, batch_inference)}
SIDES["batch_inference_here"] = batch_inference

if __name__ == "__main__":
    side, where = sys.argv[1], Path(sys.argv[2])
    found = SIDES[side](where, json.loads((where / "settings.json").read_text()))
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(found))
