"""The metadata services of EC2 and Google, as a machine sees them: a token first on EC2, 404 or FALSE until there is a notice."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    """Answers on a free port of this machine; `looked` is set once somebody was told that there is no notice."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tokens: set[str] = set()
        self.looked = threading.Event()
        self.notice = ""
        self.broken = False

    def take_away(self, *, seconds: float) -> datetime:
        """Give notice; returns when it is over, in whole seconds, as EC2 tells it."""
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
        self.notice = json.dumps({"action": "terminate", "time": until.strftime("%Y-%m-%dT%H:%M:%SZ")})
        return until


class Answers(BaseHTTPRequestHandler):
    """One request."""

    server: Service

    def do_PUT(self) -> None:
        """A token."""
        if self.path != "/latest/api/token" or not self.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            return self.tell(400)
        self.server.tokens.add(token := f"token-{len(self.server.tokens)}")
        return self.tell(200, token)

    def do_GET(self) -> None:
        """The notice, for who has a token (EC2) or says that it means Google's service."""
        if self.server.broken:
            return self.tell(503)
        if self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            return self.tell(200, "TRUE" if self.server.notice else "FALSE")
        if self.headers["X-aws-ec2-metadata-token"] not in self.server.tokens:
            return self.tell(401)
        if self.path != "/latest/meta-data/spot/instance-action":
            return self.tell(400)
        if self.server.notice:
            return self.tell(200, self.server.notice)
        self.tell(404, "Not Found")
        return self.server.looked.set()

    def tell(self, status: int, text: str = "") -> None:
        """Answer."""
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def service() -> Iterator[Service]:
    """The service, ended afterwards."""
    with Service() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()
