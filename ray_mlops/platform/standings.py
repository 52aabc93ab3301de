"""How the trials of a search stand while it runs: rows for a person to read, the best first."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

COLUMNS = ("trial", "state", "reports", "value", "settings")
_SHOWN = 12


class Standing(Protocol):
    """What is known of one trial."""

    number: int
    settings: Mapping[str, Any]
    curve: list[float]
    value: float | None
    over: bool
    error: str


def standings(trials: Sequence[Standing], running: set[int]) -> list[tuple[str, ...]]:
    """Rows for `COLUMNS`: those that run now, then the best of those that have ended."""
    ranked = sorted(trials, key=lambda trial: (trial.number not in running, -_value(trial), trial.number))
    return [_row(trial, trial.number in running) for trial in ranked[:_SHOWN]]


def _value(trial: Standing) -> float:
    reached = trial.value if trial.value is not None else (trial.curve or [float("-inf")])[-1]
    return float("-inf") if trial.error else reached


def _row(trial: Standing, running: bool) -> tuple[str, ...]:
    ended = "stopped" if trial.value is None else "ended" if trial.over else "paused"
    state = "running" if running else "failed" if trial.error else ended
    settings = ", ".join(f"{name} {_short(value)}" for name, value in trial.settings.items()) or "as it is"
    value = _value(trial)
    shown = "" if value == float("-inf") else f"{value:.4f}"
    return (str(trial.number), state, str(len(trial.curve)), shown, settings)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
