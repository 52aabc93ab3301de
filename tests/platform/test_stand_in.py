"""An ingress that is killed, with real HAProxy and without Ray: callers hardly notice, and what Ray starts next takes over."""

import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ray_mlops.platform import ingress
from ray_mlops.platform.runtime import free_port
from ray_mlops.platform.stand_in import StandIn
from tests.platform.test_ingress import folder, listens  # noqa: F401  a fixture
from tests.serving.access.live import wait_for
from tests.serving.processes import wait

ALONE = """global
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    option idle-close-on-response
frontend http_frontend
    bind 127.0.0.1:{port}
"""
ROUTED = "    use_backend app\nbackend app\n    server replica 127.0.0.1:{replica}\n"
NOWHERE = "    default_backend nowhere\nbackend nowhere\n    http-request return status 404\n"


class Replica(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Ingress:
    """What Ray does with HAProxy."""

    def __init__(self, place: Path, replica: int) -> None:
        self.folder, self.port, self.replica = place, free_port(), replica
        environment = ingress.prepare(place, (1, 2, 3, 4))
        self.start_script = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
        self.config = Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
        self.processes: list[subprocess.Popen[bytes]] = []
        ingress.listen(place, ingress.LOOPBACK, self.port, certificate="", private_key="")

    def start(self, rest: str) -> subprocess.Popen[bytes]:
        self.config.write_text((ALONE + rest).format(folder=self.folder, port=self.port, replica=self.replica))
        command = [self.start_script, "-db", "-f", str(self.config), "-dR"]
        self.processes.append(subprocess.Popen(command))
        return self.processes[-1]

    def ask(self) -> int:
        """The status; 0 when there is no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def standing_in(self) -> int:
        path = self.folder / ingress.STANDING_IN
        return int(path.read_text()) if path.exists() else 0


@pytest.fixture
def haproxy(folder: Path) -> Iterator[Ingress]:  # noqa: F811
    with ThreadingHTTPServer(("127.0.0.1", 0), Replica) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Ingress(folder, server.server_port)
        with StandIn(folder):
            yield made
            for process in made.processes:
                process.kill()
                process.wait()
        server.shutdown()


def killed(haproxy: Ingress) -> None:
    """An ingress that answered is killed."""
    first = haproxy.start(ROUTED)
    wait_for(lambda: haproxy.ask() == 200)
    first.kill()
    first.wait()


def test_someone_stands_in_until_the_next_one_takes_over_without_a_failure(haproxy: Ingress) -> None:
    killed(haproxy)
    wait_for(lambda: haproxy.ask() == 200)
    standing_in = haproxy.standing_in()
    assert standing_in
    over, seen = threading.Event(), set[int]()

    def ask() -> None:
        while not over.is_set():
            seen.add(haproxy.ask())

    caller = threading.Thread(target=ask)
    caller.start()
    second = haproxy.start(NOWHERE)  # as Ray does, before it has told its new proxy of any replica
    wait_for(lambda: not haproxy.standing_in())
    over.set()
    caller.join()
    assert seen == {200} and second.poll() is None
    assert haproxy.ask() == 200


def test_it_stands_in_again_and_again(haproxy: Ingress) -> None:
    for _ in range(3):
        killed(haproxy)
        wait_for(lambda: haproxy.ask() == 200)


def test_nobody_stands_in_for_an_ingress_that_was_closed(haproxy: Ingress) -> None:
    haproxy.start(ROUTED)
    wait_for(lambda: haproxy.ask() == 200)
    ingress.close(haproxy.folder)
    haproxy.processes[0].kill()
    haproxy.processes[0].wait()
    with pytest.raises(AssertionError):
        wait(lambda: listens(haproxy.port), seconds=0.5)


def test_who_stands_in_goes_when_the_ingress_is_closed(haproxy: Ingress) -> None:
    killed(haproxy)
    wait_for(lambda: haproxy.ask() == 200)
    ingress.close(haproxy.folder)
    wait_for(lambda: not listens(haproxy.port))
