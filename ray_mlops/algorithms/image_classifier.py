"""The image classifier: one network, ours, torchvision's or a user's own, trained on one worker or many, CPU or GPU."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.debug_rules import DebugRules
from ray_mlops.algorithms.image_model import ImageModel
from ray_mlops.algorithms.optimization import Descent
from ray_mlops.algorithms.own_module import wrapped
from ray_mlops.contract import Backend, Choice, Data, Frozen, Space, Uniform, Worker

Precision = Literal["auto", "fp32", "bf16", "fp16"]
NetworkField = Annotated[Any, BeforeValidator(wrapped), PlainSerializer(str)]


class ImageClassifier(Frozen):
    """A convolution network (or whatever torchvision has by name), trained with a one-cycle learning rate.

    `network` is `small_residual` with its `widths`, a torchvision classification model, or an object of
    `torch.nn.Module` that maps pictures `(rows, channels, height, width)` to logits: the weights it brings are where a
    fit starts, so seed torch before you build it in a recipe. `blocks` is how many residual blocks `small_residual` has
    at each width, where the default is not wanted. `weights` is a local `.safetensors` or `.pth` file to start from; with
    it, the first `freeze_epochs` train the head alone. `batch_size` counts the rows of all workers together.
    `mean` and `std` are per channel, of shares of 255; without them they are measured on the training rows. `ema` is the
    decay of a running average of the weights, which is then what is kept. `precision` `auto` takes bf16 where the device
    computes it fast. `both_ways` averages the probabilities of a picture and of its mirror image, which doubles the time of
    an answer; judging while it trains, a fit does without. `patience` stops after that many epochs without a better validation accuracy and keeps the best.
    """

    kind: Literal["image_classifier"] = "image_classifier"
    network: NetworkField = "small_residual"
    widths: tuple[int, ...] = Field(default=(16, 32, 64, 96), min_length=2)
    blocks: tuple[int, ...] | None = None
    weights: str | None = None
    freeze_epochs: int = Field(default=0, ge=0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=128, ge=2)
    optimizer: Descent = "sgd"
    learning_rate: float = Field(default=0.1, gt=0)
    warm_up: float = Field(default=0.2, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    augment: Augmentation = Augmentation()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = False
    both_ways: bool = False
    patience: int | None = Field(default=None, ge=1)
    debug: DebugRules = DebugRules()

    backend: ClassVar[Backend] = "torch"

    @model_validator(mode="after")
    def _check(self) -> "ImageClassifier":
        if self.blocks is not None and (len(self.blocks) != len(self.widths) or min(self.blocks) < 0):
            raise ValueError(f"blocks has to hold a number for each of the {len(self.widths)} widths, none below 0")
        return self

    def space(self) -> Space:
        """What a search may vary; the epochs are what it spends."""
        low, high = (0.01, 0.4) if self.optimizer == "sgd" else (3e-4, 1e-2)
        return {
            "learning_rate": Uniform(low=low, high=high, log=True, live=True),
            "weight_decay": Uniform(low=1e-5, high=5e-3, log=True, live=True),
            "label_smoothing": Choice(values=(0.0, 0.05, 0.1), live=True),
            "batch_size": Choice(values=(64, 128, 256)),
        }

    def fit(self, data: Data, worker: Worker) -> ImageModel:
        """Train for `epochs`, going on from `worker.resume` when it is given; the middle of an epoch included.

        Raises `ConfigError` for a network or weights that do not exist or fit, and `TrainingError` with the reason when a
        debug rule finds the fit hopeless.
        """
        from ray_mlops.algorithms.image_fit import ImageFit

        return ImageFit(self, data, worker).run()

    def load(self, path: str) -> ImageModel:
        """Read what the model saved."""
        return ImageModel.read(path)

    def steps(self, rows: int) -> int:
        """The number of steps of an epoch over `rows` rows of all workers."""
        return math.ceil(rows / self.batch_size)
