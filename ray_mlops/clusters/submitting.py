"""`ray-mlops submit`: a recipe as a job on a cluster, followed from here as if it ran here."""

import asyncio
import json
import logging
import os
import shlex
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray_mlops import recipes
from ray_mlops.clusters import local, packing, pins
from ray_mlops.errors import ConfigError, RayMlopsError, TokenError
from ray_mlops.pipeline import AnyConfig
from ray_mlops.platform import files, s3

_STOP_S = 60
_AWAY_S = 180
_FORWARDED = ("MLFLOW_TRACKING_URI", *s3.SETTINGS)  # where things are; never who may use them


def submit(
    recipe: str, address: str, words: Sequence[str], assignments: Sequence[str], *, include: Sequence[str] = (),
    root: str, install: bool = False,
) -> int:  # fmt: skip
    """Run a recipe, or what else the command in `words` does with it, with the options that follow, on the cluster whose dashboard
    is at `address`; prints what the job prints and returns its exit code.

    Raises `ConfigError` where the job could not work (before anything is sent) and `RayMlopsError` when the cluster
    refuses; Ctrl-C stops the job.
    """
    config, _ = recipes.load(recipe, assignments)  # what is wrong with it is said here, not minutes later
    _check_root(root, address)
    with packed(recipe, include) as package, client(address) as jobs:
        print(f"sending {package.files} files, {package.bytes / 1e6:.1f} MB", flush=True)
        command = [words[0], package.recipe, "--root", root, *words[1:]]
        command += [word for assignment in assignments for word in ("-s", assignment)]
        wanted = {"pins": {} if install else pins.pinned(), "demands": demands(config), "plain": True}
        name = _send(jobs, package, f"{_checkup(package, wanted)} && exec {_python('cli', command)}", install)
        print(f"job {name}", flush=True)
        return follow(jobs, name)


def _python(module: str, words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", f"ray_mlops.{module}", *words])


def _checkup(package: packing.Package, wanted: Mapping[str, Any]) -> str:
    """The command that examines the cluster; what it is to look at travels in the package."""
    (Path(package.folder) / "checkup.json").write_text(json.dumps(wanted))
    return _python("clusters.checkup", ["checkup.json"])


def demands(config: AnyConfig) -> list[dict[str, Any]]:
    """What a recipe asks of a cluster at least, for `checkup.demanded`."""
    train = config.train
    resources = {"CPU": train.cpus_per_worker or 0.01, **({"GPU": 1.0} if train.gpu is True else {})}
    return [{"what": "train.workers", "count": train.span[0], "resources": resources}]


def _check_root(root: str, address: str) -> None:
    if not files.is_remote(root) and not os.path.isabs(root):
        raise ConfigError(
            f"the run root {root!r} would lie in the job's own folder on {address} and go with it: "
            "use --root s3://bucket/prefix, or the absolute path of a folder that all nodes share"
        )


@contextmanager
def packed(recipe: str, include: Sequence[str]) -> Iterator[packing.Package]:
    """A package that is deleted afterwards."""
    package = packing.pack(recipe, include)
    try:
        yield package
    finally:
        package.discard()


@contextmanager
def client(address: str) -> Iterator[Any]:
    """Ray's client of a cluster's jobs, with the token of our own cluster, or that of the environment or `~/.ray`.

    Raises `TokenError` where the token is refused, `RayMlopsError` where nothing answers.
    """
    own = local.known(address)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if own:
        os.environ.update(local.credentials(own))
        address = own["dashboard"]
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("job.sdk", "dashboard_sdk"):  # they tell of every package and every connection
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    verify = os.environ.get("SSL_CERT_FILE") or True  # the certificate of a TLS proxy in front
    if verify is not True and not os.path.exists(verify):
        raise ConfigError(
            f"SSL_CERT_FILE is {verify}, where nothing is: name the certificate of your authority, or unset it"
        )
    try:
        yield JobSubmissionClient(address, verify=verify)
    except AuthenticationError as error:
        raise TokenError(
            f"{address} does not accept the token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's own "
            "(RAY_AUTH_MODE=disabled where it asks for none)"
        ) from error
    except RayMlopsError:
        raise
    except (RuntimeError, ConnectionError) as error:
        raise RayMlopsError(f"the cluster at {address} refuses: {str(error)[:500]}{_of_tls(error)}") from error


def _of_tls(error: BaseException) -> str:
    """What to do where it is the certificate that was not trusted."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # pyright: ignore[reportAssignmentType]  one of them is there
    if not isinstance(error, ssl.SSLError):
        return ""
    return f" ({error}). Set SSL_CERT_FILE to the certificate of the authority that has signed the one of the server."


def _send(jobs: Any, package: packing.Package, entrypoint: str, install: bool) -> str:
    forwarded = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    environment: dict[str, Any] = {
        "working_dir": package.folder,
        # Not our settings for Ray: the command there sets them, and Ray refuses what two set.
        "env_vars": {**forwarded, "PYTHONUNBUFFERED": "1"},
    }
    if install:
        environment["pip"] = {"packages": pins.requirements(pins.pinned())}
    return jobs.submit_job(entrypoint=entrypoint, runtime_env=environment, metadata={"by": "ray-mlops submit"})


def follow(jobs: Any, name: str) -> int:
    """Print the log of a job until its end; its exit code. Ctrl-C stops the job and then this."""
    try:
        asyncio.run(_print_log(jobs, name))
        return _code(jobs, name)
    except KeyboardInterrupt:
        print(f"stopping job {name}", flush=True)
        deadline = time.monotonic() + _STOP_S
        while not jobs.get_job_status(name).is_terminal() and time.monotonic() < deadline:
            jobs.stop_job(name)  # again: one that has not begun yet does not hear of it
            time.sleep(0.5)
        raise


async def _print_log(jobs: Any, name: str) -> None:
    """The log, once; a connection that breaks is made anew while the job goes on."""
    shown = 0
    while True:
        seen = 0
        with suppress(RuntimeError, OSError):
            async for text in jobs.tail_job_logs(name):
                print(text[max(0, shown - seen) :], end="", flush=True)
                seen += len(text)
                shown = max(shown, seen)
        info = _info(jobs, name)
        if info.status.is_terminal() or _lost(jobs, info):
            return
        await asyncio.sleep(0.5)


def _info(jobs: Any, name: str) -> Any:
    """What the cluster knows of a job; asked again for a while when it does not answer, as when its head starts anew."""
    deadline = time.monotonic() + _AWAY_S
    while True:
        try:
            return jobs.get_job_info(name)
        except (RuntimeError, OSError) as error:
            if time.monotonic() > deadline:
                raise RayMlopsError(
                    f"nothing was heard of job {name} for {_AWAY_S} s ({str(error)[-300:]}). When the cluster is back, "
                    "submit it again: it goes on where it was"
                ) from error
            time.sleep(1)


def _lost(jobs: Any, info: Any) -> bool:
    """Whether the node that ran a job is gone. Ray says of such a job that it is running, until its next one comes."""
    with suppress(RuntimeError, OSError, ValueError, KeyError):
        answer = jobs._do_request("GET", "/api/v0/nodes?limit=10000")
        nodes = {node["node_id"]: node["state"] for node in answer.json()["data"]["result"]["result"]}
        return bool(info.driver_node_id) and nodes.get(info.driver_node_id) != "ALIVE"
    return False


def _code(jobs: Any, name: str) -> int:
    info = _info(jobs, name)
    if info.status == "SUCCEEDED":
        return 0
    if info.status == "STOPPED":
        print(f"job {name} was stopped", flush=True)
        return 130
    if not info.status.is_terminal():
        print(f"job {name} failed: the node that ran it is gone. Submit it again: it goes on where it was", flush=True)
    elif info.driver_exit_code in (None, 0):  # it never began
        print(f"job {name} failed: {(info.message or 'no reason given')[-2000:]}", flush=True)
    return info.driver_exit_code or 1


def run_checkup(jobs: Any, package: packing.Package, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The findings of `checkup` on the cluster.

    Raises `RayMlopsError` when the job ends without any.
    """
    name = _send(jobs, package, _checkup(package, wanted), install=False)
    while not jobs.get_job_status(name).is_terminal():
        time.sleep(0.3)
    log = jobs.get_job_logs(name)
    found = [json.loads(line) for line in log.splitlines() if line.startswith('{"check"')]
    if not found:
        raise RayMlopsError(f"the cluster could not be examined: {(log or jobs.get_job_info(name).message)[-1500:]}")
    return found
