"""The fraud lifecycle in miniature: every stage for real, on some twenty thousand transactions."""

from ray_mlops import recipes
from ray_mlops.overrides import override
from ray_mlops.pipeline import Config

SMALL = (
    "name=tiny",
    "ingest.sources.0={kind: simulator, customers: 400, terminals: 500, days: 60}",
    "ingest.name=tiny.transactions",
    "features.split.train_days=14",
    "tune.trials=2",
    "decide.bootstrap=50",
    "evaluate.bootstrap=50",
    "algorithm.rounds=30",
    "register.name=tiny",
    "register.gates={average_precision: 0.05}",
)


def tiny() -> Config:
    """The shipped fraud recipe, smaller."""
    return override(recipes.fraud(), SMALL)
