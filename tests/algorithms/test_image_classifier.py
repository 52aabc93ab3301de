"""The image classifier: what it learns and from what, that it goes on where it was killed, alone and with others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from ray_mlops.algorithms import describe, networks, restore
from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.debug_rules import DebugRules
from ray_mlops.algorithms.examiner import check_algorithm, examination_images
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.algorithms.networks import size_of
from ray_mlops.algorithms.worker import LocalWorker, validation_metrics
from ray_mlops.contract import Data
from ray_mlops.errors import ConfigError, TrainingError
from ray_mlops.platform.parts import ArrayPart

UPRIGHT = Augmentation(crop=1, flip=True)
SMALL = ImageClassifier(widths=(4, 8, 8), epochs=4, batch_size=32, augment=UPRIGHT)

# Two processes with a share of the pictures each, joined as Ray Train joins them; the second dies with its first fit's
# checkpoint, and both go on from it.
TOGETHER = """
import sys
from datetime import timedelta
import numpy as np
import torch.distributed as group
from ray_mlops.algorithms.examiner import examination_images
from ray_mlops.contract import Data
from ray_mlops.platform.parts import ArrayPart
from tests.algorithms.test_image_classifier import SMALL, Keeper, Streamed

rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
group.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=100))
whole = examination_images()
images, labels = whole.train.arrays()
batch = whole.validation.arrays()[0]
scores = []
for case, (kind, cut) in enumerate([(ArrayPart, 60), (Streamed, 60), (Streamed, 0)]):  # uneven shares, also none at all
    share = slice(None, cut) if rank == 0 else slice(cut, None)
    data = Data(kind(images[share], labels[share]), whole.validation, whole.names)
    worker = Keeper(rank=rank, size=2, folder=f"{out}/{case}", keep=4)
    scores.append(SMALL.fit(data, worker).predict(batch))
    group.barrier()
    resumed = Keeper(rank=rank, size=2, resume=f"{out}/{case}")
    scores.append(SMALL.fit(data, resumed).predict(batch))
np.save(f"{out}/{rank}.npy", np.array(scores))
"""


@dataclass
class Keeper(LocalWorker):
    """A worker that is always asked for a checkpoint, and keeps the `keep`th in `folder`."""

    folder: str = ""
    keep: int = 0
    shares: list[float] = field(default_factory=list)

    def wants_checkpoint(self) -> bool:
        return True

    def report(self, metrics: Mapping[str, float], checkpoint: str | None = None) -> None:
        super().report(metrics)
        if checkpoint and len(self.reports) == self.keep:
            shutil.copytree(checkpoint, self.folder)


@dataclass(frozen=True)
class Streamed(ArrayPart):
    """A part of which only the end tells how many rows there are: more than were expected."""

    streams = True

    @property
    def rows(self) -> int:
        return 60


def accuracy(model: Any, data: Data) -> float:
    images, labels = data.validation.arrays()
    return validation_metrics(labels, model.predict(images))["accuracy"]


@pytest.mark.parametrize(
    "algorithm",
    [SMALL, SMALL.model_copy(update={"ema": 0.9, "mixup": 0.2, "cutmix": 0.5, "optimizer": "adamw", "patience": 3})],
    ids=["plain", "everything"],
)
def test_the_examiner_is_content(algorithm: ImageClassifier) -> None:
    algorithm = algorithm.model_copy(update={"learning_rate": 0.1 if algorithm.optimizer == "sgd" else 0.01})
    check_algorithm(algorithm, examination_images())


def test_a_fit_killed_within_an_epoch_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    data = examination_images()
    algorithm = SMALL.model_copy(update={"batch_size": 4, "epochs": 2, "ema": 0.9})  # 60 steps an epoch: 3 looks
    undisturbed = Keeper(seed=5, folder=str(tmp_path / "kept"), keep=1)
    whole = algorithm.fit(data, undisturbed)
    assert next(round(report["progress"], 3) for report in undisturbed.reports) == pytest.approx(1 / 120, abs=1e-3)
    resumed = LocalWorker(seed=5, resume=str(tmp_path / "kept"))
    images = data.validation.arrays()[0]
    assert np.array_equal(algorithm.fit(data, resumed).predict(images), whole.predict(images))
    assert resumed.reports[-1]["accuracy"] == undisturbed.reports[-1]["accuracy"]


def test_threads_change_no_bit_where_batches_are_small() -> None:
    data = examination_images()
    images = data.validation.arrays()[0]
    one, two = (SMALL.fit(data, LocalWorker(threads=threads)).predict(images) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_two_workers_with_uneven_shares_learn_together_and_go_on_together(tmp_path: Path) -> None:
    """Each ends with the same model as the other, also from a checkpoint, also when rows stream and run out early."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    commands = [[sys.executable, "-c", TOGETHER, str(rank), str(tmp_path / "store"), str(tmp_path)] for rank in (0, 1)]
    workers = [subprocess.Popen(command, env=environment) for command in commands]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    one, other = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    # Running statistics of the second worker are not what is kept, so only the first one's answers are compared.
    assert np.array_equal(one[0], one[1])
    assert np.array_equal(one[2], one[3])
    assert np.array_equal(one[4], one[5])
    labels = examination_images().validation.arrays()[1]
    for scores in (*one, *other):
        assert validation_metrics(labels, scores)["accuracy"] > 0.8


def test_reports_tell_what_the_time_went_into() -> None:
    worker = LocalWorker()
    SMALL.fit(examination_images(), worker)
    last = worker.reports[-1]
    assert [report["progress"] for report in worker.reports] == [0.25, 0.5, 0.75, 1.0]
    assert last["samples_per_second"] * (last["data_wait_s"] + last["compute_s"]) == pytest.approx(4 * 240)
    assert last["compute_s"] > last["data_wait_s"] > 0


def test_pretrained_weights_keep_the_body_and_the_frozen_epochs_train_the_head_alone(tmp_path: Path) -> None:
    data = examination_images()
    before = SMALL.fit(data, LocalWorker())
    before.save(str(tmp_path))
    algorithm = SMALL.model_copy(
        update={"weights": str(tmp_path / "model.safetensors"), "freeze_epochs": 1, "epochs": 1, "weight_decay": 0.0}
    )
    two = Data(  # two of the three classes: the head has to be a fresh one
        *(ArrayPart(images[labels < 2], labels[labels < 2]) for images, labels in map(ArrayPart.arrays, parts(data))),
        names=data.names[:2],
    )
    tuned = algorithm.fit(two, LocalWorker())
    old, new = before.network.state_dict(), tuned.network.state_dict()
    assert new["head.weight"].shape == (2, 8)
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("head."))
    thawed = algorithm.model_copy(update={"epochs": 2}).fit(two, LocalWorker())
    assert not torch.equal(thawed.network.state_dict()["stages.0.0.weight"], old["stages.0.0.weight"])
    assert accuracy(thawed, two) > 0.8


def test_a_network_of_torchvision_is_tuned_from_a_file_of_its_weights(tmp_path: Path) -> None:
    """Colour weights for ten classes, a body with statistics of its own, grey pictures of three classes."""
    from torchvision import models

    torch.manual_seed(1)
    given = models.mobilenet_v3_small(num_classes=10).state_dict()
    torch.save(given, tmp_path / "weights.pth")
    data = examination_images(rows=90)
    algorithm = ImageClassifier(
        network="mobilenet_v3_small",
        weights=str(tmp_path / "weights.pth"),
        freeze_epochs=1,
        epochs=1,
        batch_size=16,
        debug=DebugRules(stalled=None),
    )
    first = "features.0.0.weight"
    body = {name: value for name, value in given.items() if not name.startswith("classifier.3.")}
    body[first] = given[first].sum(dim=1, keepdim=True)
    frozen = algorithm.fit(data, LocalWorker()).network.state_dict()
    assert [name for name, value in body.items() if not torch.equal(frozen[name], value)] == []
    assert frozen["classifier.3.weight"].shape == (3, 1024)
    torch.manual_seed(LocalWorker().seed)
    head = networks.build("mobilenet_v3_small", (12, 10, 1), 3, ()).state_dict()["classifier.3.weight"]
    assert not torch.equal(frozen["classifier.3.weight"], head)  # which is where it began: it has learnt
    thawed = algorithm.model_copy(update={"epochs": 2}).fit(data, LocalWorker()).network.state_dict()
    learnt = [name for name in body if name.endswith((".weight", ".bias"))]
    assert [name for name in learnt if torch.equal(thawed[name], body[name])] == []
    assert not torch.equal(thawed["features.0.1.running_mean"], body["features.0.1.running_mean"])


def parts(data: Data) -> tuple[ArrayPart, ArrayPart]:
    return data.train, data.validation  # pyright: ignore[reportReturnType]


def test_a_network_of_torchvision_takes_grey_pictures_of_any_size() -> None:
    data = examination_images(rows=30)
    calm = DebugRules(stalled=None)
    algorithm = ImageClassifier(network="squeezenet1_1", epochs=1, batch_size=16, learning_rate=0.001, debug=calm)
    tall = Data(*(ArrayPart(np.tile(p.features, (1, 3, 3, 1)), p.labels) for p in parts(data)), names=data.names)
    model = algorithm.fit(tall, LocalWorker())
    assert model.predict(tall.validation.arrays()[0]).shape == (10, 3)


def test_blocks_are_residual_blocks_at_each_width_and_are_kept_with_the_model(tmp_path: Path) -> None:
    data = examination_images()
    images = data.validation.arrays()[0]
    default = SMALL.fit(data, LocalWorker())
    named = SMALL.model_copy(update={"blocks": (0, 0, 1)}).fit(data, LocalWorker())  # what three widths have by default
    assert np.array_equal(default.predict(images), named.predict(images))
    deep = SMALL.model_copy(update={"blocks": (1, 2, 1)}).fit(data, LocalWorker())
    # A block is two convolutions of 9 x width x width weights, each with its normalisation.
    added = 2 * (9 * 4**2 + 2 * 4) + 2 * 2 * (9 * 8**2 + 2 * 8)
    assert size_of(deep.network) == size_of(default.network) + added
    deep.save(str(tmp_path))
    assert np.array_equal(SMALL.load(str(tmp_path)).predict(images), deep.predict(images))
    with pytest.raises(ValidationError, match="a number for each of the 3 widths"):
        ImageClassifier(widths=(4, 8, 8), blocks=(1, 1))


def test_a_model_that_looks_both_ways_gives_the_mean_of_a_picture_and_its_mirror_image(tmp_path: Path) -> None:
    data = examination_images()
    images = data.validation.arrays()[0]
    plain = SMALL.fit(data, LocalWorker())
    SMALL.model_copy(update={"both_ways": True}).fit(data, LocalWorker()).save(str(tmp_path))
    both = SMALL.load(str(tmp_path))
    mirrored = plain.predict(np.ascontiguousarray(images[:, :, ::-1]))
    assert np.allclose(both.predict(images), (plain.predict(images) + mirrored) / 2, atol=1e-6)
    assert not np.allclose(both.predict(images), plain.predict(images), atol=1e-3)
    assert np.allclose(both.embed(images)[1], plain.embed(images)[1], atol=1e-5)


class Noter(nn.Module):
    """A module that notes in what numbers and layout it computes while it learns; its copies share the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Linear(8, 3)
        self.notes: list[tuple[torch.dtype, bool]] = []

    def __deepcopy__(self, _: dict[int, Any]) -> "Noter":
        copied = Noter()
        copied.load_state_dict(self.state_dict())
        copied.notes = self.notes
        return copied

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.second(torch.relu(self.first(images)))
        if self.training:
            laid_out = [
                tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (images, self.second.weight)
            ]
            assert laid_out[0] == laid_out[1]
            self.notes.append((values.dtype, laid_out[0]))
        return self.head(values.amax(dim=(2, 3)))


@pytest.mark.parametrize(
    ("change", "noted"),
    [
        ({"precision": "fp32"}, (torch.float32, True)),
        ({"precision": "bf16"}, (torch.bfloat16, True)),
        ({"precision": "fp16"}, (torch.float16, True)),
        ({"precision": "fp32", "channels_last": False}, (torch.float32, False)),
    ],
)
def test_other_numbers_and_layouts_learn_too(change: dict[str, Any], noted: tuple[torch.dtype, bool]) -> None:
    data = examination_images()
    assert accuracy(SMALL.model_copy(update=change).fit(data, LocalWorker()), data) > 0.8
    coloured = Data(*(ArrayPart(p.features.repeat(3, axis=3), p.labels) for p in parts(data)), names=data.names)
    torch.manual_seed(0)
    noter = Noter()
    network = ImageClassifier(network=noter).network
    SMALL.model_copy(update={"network": network, "epochs": 1, **change}).fit(coloured, LocalWorker())
    assert set(noter.notes) == {noted}


def test_a_compiled_fit_is_the_same_fit_and_its_model_needs_no_compiler(tmp_path: Path) -> None:
    data = examination_images()
    images = data.validation.arrays()[0]
    compiled = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        compiled.append(graph)
        return graph.forward

    with torch.compiler.set_stance(force_backend=backend):  # the default one would take half a minute
        model = SMALL.model_copy(update={"compile": True}).fit(data, LocalWorker())
    assert compiled
    model.save(str(tmp_path))
    assert np.array_equal(SMALL.load(str(tmp_path)).predict(images), SMALL.fit(data, LocalWorker()).predict(images))


class Own(nn.Module):
    """A user's module, with a class of its own and nothing that we know."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(120, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def test_a_users_own_module_is_trained_saved_and_read_without_its_code(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Own()
    first = module.layers[1].weight.detach().clone()
    algorithm = SMALL.model_copy(update={"network": ImageClassifier(network=module).network, "learning_rate": 0.05})
    data = examination_images()
    model, again = (algorithm.fit(data, LocalWorker()) for _ in range(2))
    images = data.validation.arrays()[0]
    assert torch.equal(module.layers[1].weight, first)  # each fit starts from what the module brings
    assert np.array_equal(model.predict(images), again.predict(images))
    assert accuracy(model, data) > 0.8
    model.save(str(tmp_path))
    loaded = restore(describe(algorithm)).load(str(tmp_path))  # pyright: ignore[reportArgumentType]
    assert np.allclose(loaded.predict(images), model.predict(images), atol=1e-6)
    assert np.allclose(loaded.explain(images[:4]), model.explain(images[:4]), atol=1e-4)
    assert not list(tmp_path.glob("*.py"))
    with pytest.raises(ConfigError, match="module:Own:.* is an object of the recipe that it came from"):
        restore(describe(algorithm)).fit(data, LocalWorker())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "resnet19"}, "no network 'resnet19'.*did you mean resnet1"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5)}, "mean and std have 2 and 2 values; the pictures have 1 channels"),
        ({"weights": "/nowhere/w.pth"}, "no file of weights /nowhere/w.pth"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL.model_copy(update=change).fit(examination_images(), LocalWorker())


def spoilt(images: Any = None, labels: Any = None) -> Data:
    whole = examination_images()
    (train, validation), names = parts(whole), whole.names
    pictures = train.features if images is None else images(train.features)
    return Data(ArrayPart(pictures, train.labels if labels is None else labels(train.labels)), validation, names)


class Steep(nn.Module):
    """A module whose logits are `slope` times as steep as they should be, or so far out that a sigmoid is flat."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope, self.offset, self.head = slope, offset, nn.Linear(120, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.head(images.flatten(1)) * self.slope + self.offset
        return torch.sigmoid(logits) if self.offset else logits


def steep(slope: float, offset: float) -> dict[str, Any]:
    network = ImageClassifier(network=Steep(slope, offset)).network
    return {"network": network, "batch_size": 4, "learning_rate": 1e-9}  # small batches: three looks within an epoch


def mostly_wrong(labels: np.ndarray) -> np.ndarray:
    """Labels of which only two in five can be learnt from pictures; the others only by heart."""
    return np.where(np.random.default_rng(0).random(len(labels)) < 0.6, (labels + 1) % 3, labels)


@pytest.mark.parametrize(
    ("change", "data", "reason"),
    [
        (steep(1e7, 0.0), spoilt(), "the gradient explodes"),
        (steep(1.0, -100.0), spoilt(), "the gradient vanishes"),
        (
            {
                "widths": (16, 32),
                "epochs": 20,
                "batch_size": 16,
                "learning_rate": 0.05,
                "label_smoothing": 0.0,
                "augment": Augmentation(crop=0, flip=False),
                "debug": DebugRules(patience=2, overfitting=1.5),
            },
            spoilt(labels=mostly_wrong),
            "memorises its rows",
        ),
        ({"learning_rate": 1e30}, spoilt(), "became|explodes"),
        ({"learning_rate": 1e-12, "debug": DebugRules(stalled=0.2)}, spoilt(), "does not decrease"),
        ({}, spoilt(images=np.zeros_like), "all inputs of the first batch are 0, which is black"),
        (
            {"learning_rate": 3.0, "optimizer": "adamw", "epochs": 10, "debug": DebugRules(dead=0.2)},
            spoilt(),
            "are dead",
        ),
    ],
)
def test_a_hopeless_fit_is_stopped_with_the_reason(change: dict[str, Any], data: Data, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        SMALL.model_copy(update=change).fit(data, LocalWorker())
