"""From events to what the model reads: one function, behind the endpoint and behind the proof that it has no skew."""

from collections.abc import Sequence

import numpy as np

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online.contract import EntityStore, Event, Features


def observed(
    definition: FeatureDefinition, store: EntityStore | None, events: Sequence[Event]
) -> tuple[Sequence[Features], np.ndarray]:
    """Record events; their features by name, and their encoded rows, float32 `(events, features)`.

    `store` is None when no feature needs a history; there are no features by name then.
    """
    features = store.observe_many(events) if store else [{} for _ in events]
    rows = [definition.vector(event, seen) for event, seen in zip(events, features, strict=True)]
    return features, np.array(rows, np.float32).reshape(len(rows), len(definition.names))
