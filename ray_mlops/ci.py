"""What a CI/CD system calls, whichever it is: train a candidate, compare it with the champion, bring it to the endpoint.

The candidate goes from step to step as a small file that pins its digest; a registry that says otherwise by then stops the step.
"""

import importlib.metadata
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_mlops import commands, recipes, rollout_commands, runs
from ray_mlops.clusters import pins, submitting
from ray_mlops.errors import ConfigError, RegistryError
from ray_mlops.pipeline import AnyConfig
from ray_mlops.platform import provenance, registry
from ray_mlops.serving.rollouts.plan import Plan
from ray_mlops.stages import deploy as deploy_stage

_LOWER_IS_BETTER = ("loss", "error", "ece", "brier", "seconds", "latency")


def train(recipe: str, root: str, assignments: Sequence[str], *, address: str, out: str) -> int:
    """Run a recipe until its model is registered, here or as a job at `address`, and write the candidate to `out`.

    Returns the exit code of the job; raises what the run raises, `GateError` where the model misses a gate.
    """
    config, _ = recipes.load(recipe, assignments)
    earlier = {run["id"] for run in runs.of(root, config.name)}
    if address:
        code = submitting.submit(recipe, address, ["run", "--to", "register"], assignments, root=root)
        if code:
            return code
    else:
        commands.lifecycle(recipe, root, assignments, span=("ingest", "register"))
    made, run = _made(root, config, earlier)
    candidate = {name: made[name] for name in ("name", "version", "digest")} | {"run": run}
    Path(out).write_text(json.dumps(candidate, indent=2) + "\n")
    print(f"candidate {made['name']}/{made['version']} ({made['digest'][:12]}), in {out}")
    return 0


def _made(root: str, config: AnyConfig, earlier: Collection[str]) -> tuple[dict[str, Any], str]:
    """The version that the run of this config registered, and the run: one that ended since there were only the `earlier` ones.

    Raises `RegistryError` when there is none, or several made different models and their configs do not tell which is ours.
    """
    found = [run for run in runs.of(root, config.name) if run["status"] == "done" and run["id"] not in earlier]
    ours = config.model_dump(mode="json")
    same = [run for run in found if runs.read_config(provenance.config_file(root, run["id"]))[1] == ours]
    made = [
        (stage["artifact"], run["id"])
        for run in same or found
        for stage in run["stages"]
        if stage["stage"] == "register"
    ]
    if len({version["digest"] for version, _ in made}) != 1:
        told = ", ".join(f"{version['version']} by {run}" for version, run in made) or "none"
        raise RegistryError(f"which version of {config.name} this run has registered is not known ({told}): train anew")
    return made[0]


def compare(root: str, candidate: str, *, out: str) -> None:
    """Write a Markdown report of the candidate beside the champion."""
    known = registry.open_registry(commands.administration(root))
    version = _pinned(known, candidate)
    champion = known.champion(version.name)
    text = markdown(version, None if champion and champion.digest == version.digest else champion)
    Path(out).write_text(text)
    print(text)


def markdown(candidate: registry.Version, champion: registry.Version | None) -> str:
    """The report: which versions, that the gates were met, and every metric of both."""
    title = f"### {candidate.name}: candidate {candidate.version}"
    against = f"champion {champion.version} (`{champion.digest[:12]}`)" if champion else "no champion yet"
    lines = [
        f"{title} against {against}",
        "",
        f"Digest `{candidate.digest}`, run `{candidate.run or 'unknown'}`. It is registered, so every gate of its recipe was met.",
        "",
        "| metric | champion | candidate | difference |",
        "|---|---|---|---|",
    ]
    before = champion.metrics if champion else {}
    for name, value in sorted(candidate.metrics.items()):
        lines.append(
            f"| {name} | {_number(before.get(name))} | {_number(value)} | {_difference(name, before, value)} |"
        )
    lines += ["", "Whoever approves the deployment has the candidate brought beside the champion and judged there."]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _difference(name: str, before: Mapping[str, float], value: float) -> str:
    if name not in before:
        return ""
    change = value - before[name]
    better = change < 0 if any(word in name for word in _LOWER_IS_BETTER) else change > 0
    return f"{change:+.4f}{' better' if better else ' worse' if change else ''}"


def deploy(root: str, candidate: str, assignments: Sequence[str], *, plan: Plan, verbose: bool = False) -> None:
    """Bring the candidate beside the champion by a guarded rollout; where nothing answers yet, all at once.

    Raises `EndpointError` when the rollout ends in a rollback.
    """
    known = registry.open_registry(commands.administration(root))
    version = _pinned(known, candidate)
    model = f"{version.name}/{version.version}"
    live = deploy_stage.live_endpoint(commands.administration(root).root, version.name)
    if live is not None and live.digest == version.digest:
        print(f"{live.url} answers with {version.digest[:12]} already")
    elif live is None:
        known.promote(version.name, version.version, "the first to be deployed")
        commands.deploy(root, model, assignments, verbose=verbose)
    else:
        rollout_commands.deploy(root, model, assignments, plan=plan, verbose=verbose)


def _pinned(known: registry.Registry, candidate: str) -> registry.Version:
    """The version that a candidate file names, with the digest it names.

    Raises `ConfigError` when the file is none, `RegistryError` when the registry holds another digest.
    """
    try:
        named = json.loads(Path(candidate).read_text())
        name, number, digest = named["name"], named["version"], named["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{candidate} is no candidate written by `ray-mlops ci train`: {error}") from error
    version = known.version(name, number)
    if version.digest != digest:
        raise RegistryError(
            f"{name}/{number} is {version.digest} in the registry, {candidate} pins {digest}: train anew"
        )
    return version


def sbom(out: str) -> None:
    """Write the libraries of this installation as a bill of materials (CycloneDX 1.5, JSON)."""
    components = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}", **_licence(name)}
        for name, version in pins.pinned().items()
        if name != "python"
    ]
    ours = {"type": "application", "name": "ray-mlops", "version": importlib.metadata.version("ray-mlops")}
    bill: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": ours},
    }
    Path(out).write_text(json.dumps({**bill, "components": components}, indent=2) + "\n")
    print(f"{len(components)} libraries, in {out}")


def _licence(name: str) -> dict[str, Any]:
    expressions = importlib.metadata.metadata(name).get_all("License-Expression")
    return {"licenses": [{"expression": expressions[0]}]} if expressions else {}
