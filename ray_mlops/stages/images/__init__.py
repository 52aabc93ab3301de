"""The stages in which images differ from transactions: one file a stage, `run(config, run, upstream) -> artifact`."""

from ray_mlops.stages.images import analyse, clean, decide, deploy, evaluate, features, ingest, register

__all__ = ["analyse", "clean", "decide", "deploy", "evaluate", "features", "ingest", "register"]
