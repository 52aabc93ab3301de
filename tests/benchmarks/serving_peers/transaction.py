"""What every server has alike: the transaction, checked by pydantic, and its score by the library, on one thread.

The fields are written down beside the model by the benchmark, so that this file needs nothing of the product.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xgboost
from pydantic import BaseModel, ConfigDict, Field, create_model

FOLDER = Path(os.environ["BENCHMARK_MODEL"])  # model.ubj and names.json
NAMES: list[str] = json.loads((FOLDER / "names.json").read_text())
_FIELDS: dict[str, Any] = {
    "id": (Annotated[int, Field(ge=-(2**63), le=2**63 - 1)], ...),
    "time": (Annotated[datetime, Field(strict=False)], ...),  # FastAPI hands over what it has parsed
    **{name: (Annotated[float, Field(allow_inf_nan=False)], ...) for name in NAMES},
}
_FIELDS["amount"] = (Annotated[float, Field(ge=0, allow_inf_nan=False)], ...)
Transaction: type[BaseModel] = create_model(
    "Transaction", __config__=ConfigDict(extra="forbid", strict=True), **_FIELDS
)


class Model:
    """The booster; one thread, since threads only cost time on a single row."""

    def __init__(self) -> None:
        self._booster = xgboost.Booster(model_file=str(FOLDER / "model.ubj"))
        self._booster.set_param({"nthread": 1})
        self.score([0.0] * len(NAMES))

    def score(self, values: list[float]) -> float:
        """The score of the features in their order."""
        return float(self._booster.inplace_predict(np.array([values], np.float32))[0])

    def answer(self, transaction: Any) -> dict[str, Any]:
        """What is answered to a checked transaction."""
        fields = transaction.__dict__
        return {"id": fields["id"], "score": self.score([fields[name] for name in NAMES])}
