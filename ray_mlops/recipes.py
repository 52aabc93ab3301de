"""The recipes that ship with the package, and how any recipe is found: by name, by file, or as a dumped config."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from ray_mlops import algorithms, runs
from ray_mlops.algorithms.augmentation import Augmentation
from ray_mlops.algorithms.image_classifier import ImageClassifier
from ray_mlops.contract import ImageSchema
from ray_mlops.errors import ConfigError
from ray_mlops.fraud.features import FeaturesConfig, Split, Window
from ray_mlops.fraud.simulate import TRANSACTIONS
from ray_mlops.overrides import nearest, override, read_back
from ray_mlops.pipeline import AnyConfig, Config, ImageConfig
from ray_mlops.stages.images.ingest import IngestConfig as ImageIngestConfig
from ray_mlops.stages.ingest import IngestConfig, Simulator
from ray_mlops.stages.register import RegisterConfig
from ray_mlops.stages.tune import TuneConfig
from ray_mlops.vision.datasets import Digits
from ray_mlops.vision.features import ImageFeaturesConfig
from ray_mlops.vision.transform import Transform

Recipe = Callable[[], AnyConfig]

# The fifteen features of the public handbook: what each card and each terminal did before, labels a week late.
HANDBOOK_WINDOWS = (
    Window(entity="customer_id", value="amount", spans=(1, 7, 30), aggregates=("count", "mean")),
    Window(entity="terminal_id", value="is_fraud", spans=(1, 7, 30), aggregates=("count", "mean"), delay=7),
)

# What finds more frauds: each amount beside the card's own, earlier amounts out of the ordinary, and what is known of the
# terminal from labels older than the delay.
RICH_WINDOWS = (
    *HANDBOOK_WINDOWS,
    Window(
        entity="customer_id",
        value="amount",
        spans=(60,),
        aggregates=("ratio", "max_ratio", "geometric_ratio"),
    ),
    Window(entity="customer_id", value="amount", spans=(3, 7, 14), aggregates=("spikes",), baseline=60),
    Window(entity="customer_id", spans=(30,), aggregates=("since",)),
    Window(
        entity="terminal_id",
        value="is_fraud",
        spans=(60,),
        aggregates=("sum", "last", "since", "since_positive", "streak", "streak_age"),
        delay=7,
    ),
    Window(entity="terminal_id", value="is_fraud", spans=(3, 14), aggregates=("sum",), delay=7),
    Window(entity="terminal_id", value="amount", spans=(60,), aggregates=("last", "mean"), delay=7),
    Window(entity="terminal_id", spans=(7,), aggregates=("count", "since"), prefix="unlabelled"),
)


def fraud() -> Config:
    """Card fraud on simulated transactions: 5,000 customers, 10,000 terminals, three fraud scenarios."""
    return Config(
        name="fraud",
        algorithm=algorithms.ALGORITHMS["xgboost"](),
        ingest=IngestConfig(name="fraud.transactions", data=TRANSACTIONS, sources=(Simulator(),)),
        features=FeaturesConfig(
            inputs=("amount",),
            calendar=("weekend", "night"),
            windows=RICH_WINDOWS,
            split=Split(train_days=21, delay_days=7, validation_days=7, test_days=7),
        ),
        tune=TuneConfig(trials=4, max_rows=100_000),  # few, on half the rows, so that a first run is short
        register=RegisterConfig(name="fraud", gates={"average_precision": 0.3, "roc_auc": 0.7}),
    )


def vision() -> ImageConfig:
    """Handwritten digits: the 1,797 pictures of 8 x 8 pixels that come with scikit-learn."""
    return ImageConfig(
        name="vision",
        algorithm=ImageClassifier(
            widths=(16, 32, 64), epochs=12, batch_size=64, augment=Augmentation(crop=1, flip=False)
        ),
        ingest=ImageIngestConfig(name="vision.images", data=ImageSchema(mode="L"), sources=(Digits(),)),
        features=ImageFeaturesConfig(transform=Transform(size=(8, 8), mode="L")),
        tune=TuneConfig(trials=0),
        register=RegisterConfig(name="vision", gates={"accuracy": 0.95, "macro_f1": 0.95}),
    )


RECIPES: dict[str, Recipe] = {"fraud": fraud, "vision": vision}


def load(name: str, assignments: Iterable[str] = ()) -> tuple[AnyConfig, str]:
    """The validated config of a recipe with overrides applied, and the recipe's name for the record.

    `name` is a shipped recipe (`fraud`), a Python file with one recipe function (`mine.py`, `mine.py:function`), or a
    `config.yaml` of an earlier run.
    """
    if name.endswith((".yaml", ".yml")):
        recipe, fields = runs.read_config(name)
        return override(read_back(_recipe(recipe)(), fields), assignments), recipe
    return override(_recipe(name)(), assignments), name


def _recipe(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]
    path, _, function = name.partition(":")
    if not path.endswith(".py"):
        raise ConfigError(f"no recipe is called {name!r}{nearest(name, RECIPES)}; a file is given as path/to/recipe.py")
    return _from_file(Path(path), function)


def _from_file(path: Path, function: str) -> Recipe:
    if not path.is_file():
        raise ConfigError(f"the recipe file {path} is not there")
    name = f"ray_mlops_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = {
        key: value
        for key, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == name
        and value.__annotations__.get("return") in (Config, ImageConfig, "Config", "ImageConfig")
    }
    if function and function not in found:
        raise ConfigError(f"{path} has no recipe {function!r}{nearest(function, found)}")
    if not function and len(found) != 1:
        raise ConfigError(
            f"{path} must have one function annotated `-> Config` or `-> ImageConfig` (has {len(found)}); or name it: {path}:name"
        )
    return found[function] if function else next(iter(found.values()))
