"""The command that looks once at an endpoint, and the line by which cron runs it: with hardly any environment."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ray_mlops import recipes
from ray_mlops.errors import ConfigError
from ray_mlops.platform import files, s3

# What a command finds its cluster, registry and store by; credentials stay where their libraries look for them.
KEPT = (
    "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_MLOPS_HOME", "RAY_MLOPS_CATALOG", "MLFLOW_TRACKING_URI",
    *s3.SETTINGS, "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
    "SSL_CERT_FILE", "PYTHONPATH",
)  # fmt: skip


def looking(
    recipe: str, root: str, assignments: Sequence[str], *, override: str = "", verbose: bool = False
) -> list[str]:
    """The words after `ray-mlops` by which a watch looks once."""
    settings = [word for assignment in assignments for word in ("--set", assignment)]
    settings += [*(["--override", override] if override else []), *(["-v"] if verbose else [])]
    return ["watch", recipe, "--once", "--root", root, *settings]


def line(recipe: str, root: str, assignments: Sequence[str], *, override: str = "") -> str:
    """A line that looks as often as `watch.every_s` says, from this folder, with this Python and the variables that are set here;
    what it says goes to a file in the root, or in this folder where the root is remote.

    Raises `ConfigError` for a recipe that is none, or a time that cron cannot keep.
    """
    config, _ = recipes.load(recipe, assignments)
    here = Path.cwd() if files.is_remote(root) else Path(root).absolute()
    log = str(here / f"watch-{config.deploy.name or config.register.name}.log")
    settings = [f"{name}={os.environ[name]}" for name in KEPT if os.environ.get(name)]
    words = looking(recipe, files.absolute(root), assignments, override=override)
    command = [*(["env", *settings] if settings else []), sys.executable, "-m", "ray_mlops.cli", *words]
    run = f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(command)} >> {shlex.quote(log)} 2>&1"
    return f"{when(config.watch.every_s)} {run}".replace("%", r"\%")  # cron takes a bare one for the end of the command


def when(every_s: float) -> str:
    """The five fields of a time: whole minutes that divide an hour, whole hours that divide a day, or a day."""
    minutes, rest = divmod(every_s, 60)
    if rest or minutes < 1:
        raise ConfigError(f"cron looks once a minute: {every_s:g} s is no whole number of minutes")
    hours, over = divmod(int(minutes), 60)
    if not hours and 60 % over == 0:
        return f"*/{over} * * * *"
    if not over and hours < 24 and 24 % hours == 0:
        return f"0 */{hours} * * *"
    if (hours, over) == (24, 0):
        return "0 0 * * *"
    raise ConfigError(f"cron cannot keep {every_s:g} s: give minutes that divide 60, hours that divide 24, or 24h")
