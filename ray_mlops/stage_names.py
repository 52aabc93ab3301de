"""The stages of the lifecycle by name, in order; apart from the contract, so that `--help` need not load pydantic."""

from typing import Literal, get_args

StageName = Literal[
    "ingest", "clean", "analyse", "decide", "features", "tune", "train", "evaluate", "register", "deploy", "monitor"
]
STAGES: tuple[StageName, ...] = get_args(StageName)
