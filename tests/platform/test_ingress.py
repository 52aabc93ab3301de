"""HAProxy as Ray configures it, changed on the way: nothing that Ray leaves open to every machine stays so."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ray.serve._private import haproxy_templates

from ray_mlops.platform import ingress
from tests.serving.access.live import wait_for

PORTS = (21901, 21902, 21903, 21904)
CONFIG = """global
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend prometheus
    bind :21902
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend http_frontend
    bind 127.0.0.1:21905
    http-request return status 200 content-type text/plain string here
listen stats
  bind *:21901
  stats enable
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as short:  # paths of sockets are short
        yield Path(short) / "ingress"


@pytest.fixture
def kept() -> Iterator[socket.socket | None]:
    with ingress.reserved() as made:
        yield made


def started(folder: Path, environment: dict[str, str]) -> str:
    """The configuration with which HAProxy starts, once it has said that it could."""
    config = Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
    config.write_text(CONFIG.format(folder=folder))
    start = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    for _ in range(2):  # Ray reloads it, and may not have written it anew
        subprocess.run([start, "-c", "-f", str(config)], check=True)
    return config.read_text()


def test_only_the_front_may_be_reached_from_elsewhere(folder: Path, kept: socket.socket) -> None:
    found = started(folder, ingress.prepare(folder, PORTS, kept))
    assert re.findall(r"bind (\S+)", found) == ["127.0.0.1:21902", "127.0.0.1:21905", "127.0.0.1:21901"]
    assert "mode 600 level admin" in found and "timeout http-request" in found


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "localhost"])
def test_the_front_listens_where_it_is_told(folder: Path, host: str, kept: socket.socket) -> None:
    environment = ingress.prepare(folder, PORTS, kept)
    ingress.listen(folder, host, 21905, certificate="", private_key="")
    shown = f"[{host}]" if ":" in host else host
    assert re.findall(r"bind (\S+)", started(folder, environment))[1] == f"{shown}:21905"
    assert ingress.listening(folder) == {"host": host, "ssl_certfile": None, "ssl_keyfile": None}


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="without setpriv (util-linux) it may outlive its parent")
def test_it_ends_with_the_process_that_started_it(folder: Path, kept: socket.socket) -> None:
    environment = ingress.prepare(folder, PORTS, kept)
    config = Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
    config.write_text(CONFIG.format(folder=folder))
    start = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    command = f"import subprocess, time; subprocess.Popen({[start, '-db', '-f', str(config)]}); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", command]) as parent:
        wait_for(lambda: listens(21905))
        parent.kill()
    wait_for(lambda: not listens(21905))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_ports_and_files_of_two_clusters_are_their_own(folder: Path, kept: socket.socket) -> None:
    one, two = folder.parent / "a", folder.parent / "b"
    for place in (one, two):
        place.mkdir()
    first = ingress.prepare(one / "ingress", PORTS, kept)
    with ingress.reserved() as another:
        second = ingress.prepare(two / "ingress", (21911, 21912, 21913, 21914), another)
    own = {name for name, value in first.items() if "_PORT" in name or value.startswith("/")}
    assert len(own) == 12 and all(first[name] != second[name] for name in own)
    assert (one / "ingress").stat().st_mode & 0o077 == 0


def test_ports_of_replicas_are_kept_for_one_cluster_until_its_last_process_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingress, "_BLOCKS", range(19_100, 19_160, 20))  # clusters that start meanwhile need the others
    with ExitStack() as all_of_them:
        while last := all_of_them.enter_context(ingress.reserved()):
            owner = subprocess.Popen(["sleep", "60"], pass_fds=[last.fileno()])
            lowest = last.getsockname()[1]
            all_of_them.callback(owner.wait)
            all_of_them.callback(owner.kill)
        assert ingress.prepare(folder, PORTS, None) == {}, "without ports of its own it would ask replicas of others"
    with socket.socket() as again:
        again.bind(("127.0.0.1", lowest))


def test_ray_still_writes_what_is_changed() -> None:
    written = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    for line in (
        "    bind :{{ config.metrics_port }}\n",
        "  bind *:{{ config.stats_port }}\n",
        "    bind {{ config.frontend_host }}:{{ config.frontend_port }}\n",
        " mode 666 level admin",
        "    stats socket {{ config.socket_path }} ",
        "    use_backend ",
        "    errorfile 502 ",
        "global\n",
        "\ndefaults\n",
    ):
        assert line in written


def test_where_no_socket_has_room_there_is_no_ingress(tmp_path: Path, kept: socket.socket) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    assert ingress.prepare(deep / "ingress", PORTS, kept) == {} and not any(deep.iterdir())


def asked(port: int, sent: str) -> tuple[str, bytes]:
    """Status line and body of what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent.encode())
        got = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    return head.decode().splitlines()[0], body


POST = "POST / HTTP/1.1\r\nhost: x\r\n"
# What is sent, the status, and whether HAProxy lets its answer be worded: not before it has understood the headers.
BAD = {
    "garbage": ("\x00\x01\x02\r\n\r\n", 400, False),
    "headers that never end": (POST, 408, False),
    "a body that never ends": (f"{POST}content-length: 9\r\n\r\n{{", 408, True),
    "a broken chunk": (f"{POST}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n", 400, False),
}


def test_who_sends_slowly_or_badly_is_told_so_by_the_front(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kept: socket.socket
) -> None:
    monkeypatch.setattr(ingress, "_REQUEST_S", 1)
    environment = ingress.prepare(folder, PORTS, kept)
    config = Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
    config.write_text(CONFIG.format(folder=folder))
    haproxy = subprocess.Popen([environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config)])
    try:
        wait_for(lambda: listens(21905))
        for name, (sent, status, worded) in BAD.items():
            line, body = asked(21905, sent)
            assert f" {status} " in line, name
            assert not worded or json.loads(body)["error"]["problems"], name
    finally:
        haproxy.kill()
        haproxy.wait()
