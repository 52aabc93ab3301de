"""Measures of a user's own."""

from collections.abc import Mapping
from typing import Any


def breaks(summary: Mapping[str, Any]) -> float:
    """Raises: there is no such field."""
    return summary["revenue"]


def says_no(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Has seen enough, whatever it has seen."""
    assert summary["champion"]["requests"] and summary["challenger"]["latency_p95_ms"] > 0
    return {"verdict": "bad", "alerts": summary["challenger"]["alerts"], "reason": "too many alerts"}
