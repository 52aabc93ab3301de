"""Into the registry: through the gates first, then as a version, then perhaps as the champion."""

import difflib
import math
from collections.abc import Mapping
from typing import Literal

from ray_mlops.contract import Evaluation, Frozen, ModelVersion, Run
from ray_mlops.contract.names import ModelName
from ray_mlops.errors import ConfigError, GateError, RegistryError
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.model_card import CardConfig
from ray_mlops.platform.registry import Registry, Version, open_registry


class Gate(Frozen):
    """The legal range of a metric, ends included."""

    minimum: float = -math.inf
    maximum: float = math.inf


class RegisterConfig(Frozen):
    """Under which name, and when.

    `gates` are by metric of the evaluation: a number is a minimum. `promote` says when a new version becomes champion:
    `first` only while there is none, `better` also when its `gain` over the champion is above 0, `never` by hand only.
    The gain is a metric taken on the same rows for both; `gain_over_champion_low` asks for a significant one. `card` is
    what people state of the model.
    """

    name: ModelName = "fraud"
    gates: Mapping[str, float | Gate] = {}
    promote: Literal["first", "better", "never"] = "better"
    gain: str = "gain_over_champion"
    card: CardConfig = CardConfig()


def check(config: RegisterConfig, metrics: Mapping[str, float]) -> None:
    """Raise `GateError` naming metric, value and limit of each gate missed, `ConfigError` for a gate on no metric."""
    for name in (*config.gates, config.gain):
        if name not in metrics:
            near = difflib.get_close_matches(name, metrics, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(metrics))}"
            raise ConfigError(f"register: {name!r} is no metric of the evaluation; {hint}")
    missed = [text for name, gate in config.gates.items() if (text := _miss(name, metrics[name], gate))]
    if missed:
        raise GateError(
            f"model {config.name!r} is not registered: {'; '.join(missed)}. Improve the model, or change register.gates."
        )


def enter(config: RegisterConfig, run: Run, bundle: Bundle, evaluation: Evaluation) -> ModelVersion:
    """Register a bundle; the first version of a name becomes champion, later ones as `promote` says: of several that were
    held against the same champion at once one, as it is not known how the others compare with that."""
    registry = open_registry(run)
    version = registry.register(config.name, bundle, metrics=evaluation.metrics, run=run.id, reason=f"run {run.id}")
    version = _promoted(config, registry, version, evaluation.champion)
    return ModelVersion(
        uri=version.uri,
        fingerprint=run.fingerprint,
        name=version.name,
        version=version.version,
        digest=version.digest,
        aliases=version.aliases,
    )


def _promoted(config: RegisterConfig, registry: Registry, version: Version, held_against: str | None) -> Version:
    """The version after the automatic promotion; one that a person has judged already is left alone."""
    if config.promote == "never" or version.approval != "pending":
        return version
    champion = registry.champion(config.name)
    if champion is not None and held_against not in (None, champion.version):
        return version  # it is not known how it compares with this one
    reason = "there was no champion"
    if champion is not None:
        gain = version.metrics[config.gain]
        if config.promote == "first" or not gain > 0:
            return version
        reason = f"{config.gain} is {gain:.4g} against version {champion.version}"
    try:
        return registry.promote(config.name, version.version, reason, over=champion)
    except RegistryError:  # another run was faster: what this one was held against is no longer the champion
        return registry.version(config.name, version.version)


def _miss(name: str, value: float, gate: float | Gate) -> str:
    limits = gate if isinstance(gate, Gate) else Gate(minimum=gate)
    if limits.minimum <= value <= limits.maximum:
        return ""
    if value > limits.maximum:
        return f"{name} is {value:.4g}, above its limit {limits.maximum:g}"
    limit = limits.minimum if math.isfinite(limits.minimum) else limits.maximum
    return f"{name} is {value:.4g}, below its limit {limit:g}"
