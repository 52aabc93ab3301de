"""The fraud lifecycle in miniature, on Parquet files that somebody goes on adding to, with a watch that may retrain."""

from ray_mlops import recipes
from ray_mlops.overrides import override
from ray_mlops.pipeline import Config

SMALL = (
    "name=watched",
    "ingest.sources.0={kind: parquet, path: transactions}",
    "ingest.name=watched.transactions",
    "features.split={train_days: 14, delay_days: 1, validation_days: 3, test_days: 3, remove_known: false}",
    "tune.trials=0",
    "decide.bootstrap=50",
    "evaluate.bootstrap=50",
    "algorithm.rounds=30",
    "register={name: watched, gates: {average_precision: 0.05}}",
    "deploy.parity_rows=200",
    "deploy.watching={window_s: 1, flush_s: 0.2}",
    "monitor={window_s: 1, grace_s: 1}",
    "watch={every_s: 1, cooldown_s: 0, act: [retrain]}",
    "watch.rollout={mode: canary, shares: [0.5], bake_s: 2}",
    # What was trained on another world decides otherwise: that alone shall not speak against it.
    "watch.rollout.judging={min_requests: 50, min_agreement: 0.2, max_psi: 20, alert_tolerance: 0.99}",
)


def watched() -> Config:
    """The shipped fraud recipe, smaller."""
    return override(recipes.fraud(), SMALL)
