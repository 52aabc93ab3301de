"""An endpoint on Ray Serve: replicas that pin a bundle's digest, autoscaled, behind a proxy, by default on the loopback address.

It lives in the Ray cluster and outlives the process that started it. Ray is imported when an endpoint is started.
"""

import difflib
import hashlib
import logging
import re
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray_mlops.contract import Endpoint, ModelVersion
from ray_mlops.contract.names import ENDPOINT
from ray_mlops.errors import ConfigError, EndpointError
from ray_mlops.platform import files, ingress, runtime
from ray_mlops.serving import door, probe, records
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.bypass import Room
from ray_mlops.serving.replica import Answering, Replica, health
from ray_mlops.serving.scale import Scale

LOOPBACK = Network()


@contextmanager
def opening(port: int, network: Network = LOOPBACK) -> Iterator[None]:
    """Have Serve begin to listen on `port` while other work is done; where that fails, Serve ends if nobody needs it.

    Raises `EndpointError` when the port is taken.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="serve") as side:
        opened = side.submit(_open_port, port, network)
        try:
            yield
            opened.result()
        except BaseException:
            if opened.exception() is None:
                _close_unused()
            raise


def start(
    settings: Answering,
    scale: Scale,
    *,
    port: int,
    network: Network = LOOPBACK,
    seconds: float = 120.0,
    replica: type = Replica,
    code: str = "",
) -> str:
    """Start an endpoint, or roll it over to new settings, and wait until it answers; returns its URL.

    `replica` is the class that answers, made with the settings as JSON; under the same `code` as before nothing but Serve's
    user config may change, which old replicas take over in place.

    Raises `EndpointError` when the port is taken, or when no replica is ready within `seconds`; replicas of an earlier
    version live on.
    """
    from ray import serve

    _open_port(port, network)
    known, name = _applications(), settings.name
    targets = [target(settings.model_dump(mode="json"), scale, replica, code=code)]
    if door.needed(network, _all_applications().get(door.APPLICATION)):
        if _taken(network.host, network.grpc_port):
            raise EndpointError(f"port {network.grpc_port} is taken by another program: set deploy.network.grpc_port")
        targets.append(door.target(network.url(port), network, _quiet()))
    try:
        serve.run_many(targets, wait_for_applications_running=False)
        for one in targets:
            _wait_running(one.name, seconds)
    except (EndpointError, RuntimeError) as error:
        reason = " ".join([f"{error}.", *(_failure(one.name) for one in targets)]).strip()
        for one in targets:
            if one.name not in known:
                _abandon(one.name)
        raise EndpointError(f"endpoint {name!r} did not start: {reason}") from error
    url = f"{network.url(port)}/{name}"
    probe.wait(url, health(settings), seconds=seconds)
    runtime.keep(name)
    return url


def undeploy(name: str) -> None:
    """Take an endpoint down, and Serve with the last one; raises `EndpointError` when there is none of that name."""
    from ray import serve

    _quiet()
    known = _applications()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"running: {', '.join(sorted(known)) or 'none'}"
        raise EndpointError(f"no endpoint is called {name!r}; {hint}")
    serve.delete(name)
    runtime.release(name)
    _close_unused()


def named(name: str, version: ModelVersion) -> str:
    """The name of an endpoint: its own, else that of its model; raises `ConfigError` where it cannot be one."""
    if not name and not ENDPOINT.allows(version.name):
        raise ConfigError(f"{ENDPOINT.refusal(version.name)}. Give it a name of its own: -s name=…")
    return name or version.name


def local_folder(root: str, name: str) -> str:
    """Where an endpoint keeps what its replicas write: below a local root, else in this machine's own folder.

    Raises `ConfigError` for what is no name of one.
    """
    ENDPOINT.check(name)
    if not files.is_remote(root):
        return files.join(files.absolute(root), "endpoints", name)
    key = hashlib.blake2b(root.rstrip("/").encode(), digest_size=8).hexdigest()
    return str(Path(runtime.home()) / "endpoints" / key / name)


def queue_folder(root: str, name: str) -> str:
    """Where an endpoint of a run root keeps what is asked for later."""
    return files.join(files.absolute(root), "async", ENDPOINT.check(name))


def monitoring_folder(root: str, name: str) -> str:
    """Where what the replicas of an endpoint count is kept, and what was made of it."""
    return files.join(files.absolute(root), "endpoints", name, "monitoring")


def remember(endpoint: Endpoint, root: str) -> None:
    """Record below a run root what was deployed, for `stages.deploy.live_endpoint`."""
    records.write(root, ENDPOINT.check(endpoint.name), records.ENDPOINT, endpoint.model_dump(mode="json"))


def target(settings: Mapping[str, Any], scale: Scale, replica: type, *, code: str = "", user: Any = None) -> Any:
    """What Serve runs for an endpoint: replicas of a class, made with these settings, that take `user` over as user config."""
    from ray import serve

    deployment = _deployment(scale, replica).options(user_config=user, version=code or None, _internal=True)
    name, room = settings["name"], Room(ongoing=scale.max_ongoing, queued=scale.max_queued)
    app = deployment.bind({**settings, "room": room.model_dump()})
    return serve.RunTarget(app, name=name, route_prefix=f"/{name}", logging_config=_quiet())


def application(settings: Answering, scale: Scale, replica: type) -> Any:
    """What Serve runs for an endpoint that its own config file declares."""
    return _deployment(scale, replica).bind(settings.model_dump(mode="json"))


def _deployment(scale: Scale, replica: type) -> Any:
    from ray import serve

    decorate = serve.deployment(
        name="Replica",
        autoscaling_config=scale.autoscaling,
        max_ongoing_requests=scale.max_ongoing,
        max_queued_requests=scale.max_queued,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
        ray_actor_options={"num_cpus": scale.replicas.cpus},
        graceful_shutdown_timeout_s=10,
        health_check_period_s=2,  # so soon is a replica missed that died
        max_constructor_retry_count=2,
        max_surge_percent=100,  # old replicas answer until the new ones do
    )
    return decorate(serve.ingress()(replica))


def _open_port(port: int, network: Network) -> None:
    """Have Serve listen there: started there, or already there; raises `EndpointError` otherwise."""
    from ray import serve
    from ray.serve.config import HTTPOptions

    options = HTTPOptions(
        host=network.host,
        port=port,
        request_timeout_s=60,
        keep_alive_timeout_s=60,
        ssl_keyfile=network.private_key or None,
        ssl_certfile=network.certificate or None,
    )
    own = runtime.ingress_folder()
    running = _serving(own)
    if running is not None:
        check_same(running, options)
        return
    if _taken(network.host, port):
        raise EndpointError(f"port {port} of {network.host} is taken by another program: set deploy.port to a free one")
    if own:
        tls = {"certificate": network.certificate, "private_key": network.private_key}
        ingress.listen(own, network.host, port, **tls)
        behind = {"host": ingress.LOOPBACK, "ssl_keyfile": None, "ssl_certfile": None}
        options = options.model_copy(update=behind)
    serve.start(
        # Elsewhere than on one machine each node answers for all: a load balancer stands in front, and the head may be lost.
        proxy_location="HeadOnly" if own or network.loopback else "EveryNode",
        http_options=options,
        logging_config=_quiet(),
    )


def _close_unused() -> None:
    from ray import serve

    if not _applications():
        serve.shutdown()


def check_same(running: Any, asked: Any) -> None:
    """Raises `EndpointError` when Serve listens elsewhere, or otherwise, than is asked for: it has one proxy for all."""
    if running.port != asked.port:
        raise EndpointError(
            f"the endpoints of this cluster answer on port {running.port}, so port {asked.port} cannot be used: "
            f"set deploy.port to {running.port}, or undeploy them first"
        )
    for name, field in (("host", "host"), ("certificate", "ssl_certfile"), ("private_key", "ssl_keyfile")):
        now, then = getattr(running, field), getattr(asked, field)
        if now != then:
            raise EndpointError(
                f"the endpoints of this cluster answer with {name} {now or 'none'}, so {then or 'none'} cannot be used: "
                f"set deploy.network.{name} to {now or 'nothing'}, or undeploy them first"
            )


def _serving(own: Path | None) -> Any:
    """How Serve listens, behind an ingress of our own perhaps; None when it does not."""
    from ray.serve.context import _get_global_client  # the only way to ask Serve for its port without a dashboard

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return None
    return client.http_config.model_copy(update=dict(ingress.listening(own))) if own else client.http_config


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _all_applications() -> dict[str, Any]:
    from ray import serve

    return {name: one for name, one in serve.status().applications.items() if one.status != "DELETING"}


def _applications() -> dict[str, Any]:
    """The endpoints."""
    return {name: application for name, application in _all_applications().items() if name != door.APPLICATION}


def _wait_running(name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (status := _status(name)) != "RUNNING":
        if status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise EndpointError(f"its status is {status}")
        if time.monotonic() > deadline:
            raise EndpointError(f"it was not ready within {seconds:g} s (set deploy.ready_s)")
        time.sleep(0.5)  # to ask costs 0.1 s of processor time, which the replica could use to start


def _abandon(name: str) -> None:
    """Have an application deleted, without waiting for the end of replicas that never started."""
    from ray import serve

    serve.delete(name, _blocking=False)
    deadline = time.monotonic() + 10
    while name in _all_applications() and time.monotonic() < deadline:
        time.sleep(0.1)


def _status(name: str) -> str:
    found = _all_applications().get(name)
    return found.status.value if found else "DELETING"


def _failure(name: str) -> str:
    status = _all_applications().get(name)
    if status is None:
        return ""
    messages = " ".join([status.message, *(deployment.message for deployment in status.deployments.values())])
    # The last line of a replica's traceback.
    ours = re.findall(r"^ray_mlops\.errors\.\w+: (.+)$", messages, re.MULTILINE)
    return ours[-1] if ours else messages.strip()[-1500:]


def _quiet() -> dict[str, Any]:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return {"log_level": "ERROR", "enable_access_log": False}
