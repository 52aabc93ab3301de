"""What the clients of all protocols ask: the columns of `served.ROWS` as tensors and lines, and a white picture."""

import numpy as np

from tests.serving.protocols import served

TYPES = {
    "transaction_id": "INT64",
    "time": "BYTES",
    "customer_id": "INT64",
    "terminal_id": "BYTES",
    "amount": "FP64",
    "channel": "BYTES",
    "note": "BYTES",
}
COLUMNS = list(TYPES)
WHITE_PIXELS = np.full((20, 16, 1), 250, np.uint8)
WHITE = served.WHITE


def values(name: str) -> np.ndarray:
    """A column; a value that is not there is an empty text."""
    listed = [row.get(name, "") for row in served.ROWS]
    return np.array(listed, object if TYPES[name] == "BYTES" else None)
