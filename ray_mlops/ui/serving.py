"""The console on its address: by default one that only this machine reaches."""

import socket
from datetime import UTC, datetime

from ray_mlops import commands
from ray_mlops.errors import ConfigError
from ray_mlops.platform import files, tracking
from ray_mlops.reports.page import Link
from ray_mlops.serving.access import keys
from ray_mlops.serving.access.network import Network
from ray_mlops.ui.app import application
from ray_mlops.ui.parts import Console
from ray_mlops.ui.sessions import Sessions
from ray_mlops.ui.tasks import Tasks


def serve(root: str, network: Network, port: int, *, mlflow: str = "", ray_dashboard: str = "") -> None:
    """Answer until stopped; raises `ConfigError` where others could reach a console that asks nobody for a key."""
    import uvicorn

    network.check_certificate()
    root = files.absolute(root)
    if not network.loopback:
        _check_keys(root)
    console = Console(
        root, Sessions(root, required=not network.loopback), Tasks(), links(mlflow, ray_dashboard), not network.loopback
    )
    tracking.open_early(tracking.tracking_uri(commands.administration(root)))
    listening = _listening(network.host, port)
    print(f"console of {root}: {network.url(listening.getsockname()[1])}", flush=True)
    settings = uvicorn.Config(
        application(console),
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=network.certificate or None,
        ssl_keyfile=network.private_key or None,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(settings).run([listening])


def links(mlflow: str, ray_dashboard: str) -> tuple[tuple[str, str], ...]:
    """Where else to look: MLflow's server, if that is what the tracking address is, and the Ray dashboard."""
    tracked = tracking.configured()
    mlflow = mlflow or (tracked if tracked.startswith(("http://", "https://")) else "")
    named = (("MLflow", mlflow), ("Ray dashboard", ray_dashboard))
    return tuple((name, Link(name, address).url) for name, address in named if address)


def _check_keys(root: str) -> None:
    now = datetime.now(UTC)
    known = keys.read(keys.key_file(root))
    if not any("admin" in key.scopes and key.state(now) == "valid" for key in known):
        raise ConfigError(
            "a console that other machines reach needs a key: `ray-mlops keys create NAME --scope admin`, "
            "or leave --host at 127.0.0.1"
        )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error
    return made
