"""The recipe `watched` with a fit that lasts until it may go on, on a worker of the cluster."""

import time
from pathlib import Path
from typing import Literal

from ray_mlops import recipes
from ray_mlops.contract import Data, Worker
from ray_mlops.overrides import override
from ray_mlops.pipeline import Config
from tests.own_algorithm import LargeAmounts, LargeAmountsModel
from tests.recipes.watched import SMALL


class Patient(LargeAmounts):
    """Says in the folder `place` that its fit has begun, and waits there for a file `go`."""

    kind: Literal["patient"] = "patient"  # pyright: ignore[reportIncompatibleVariableOverride]
    place: str = ""

    def fit(self, data: Data, worker: Worker) -> LargeAmountsModel:
        Path(self.place, "began").touch()
        while not Path(self.place, "go").exists():
            time.sleep(0.1)
        return super().fit(data, worker)


def watched_slowly() -> Config:
    """Everything else is as there, on simulated transactions."""
    simulator = "ingest.sources.0={kind: simulator, customers: 200, terminals: 250, days: 40}"
    settings = (simulator, "register.gates={}", "train.in_process_rows=0")
    few = [one for one in SMALL if not one.startswith("algorithm.")]
    return override(recipes.fraud().model_copy(update={"algorithm": Patient()}), [*few, *settings])
