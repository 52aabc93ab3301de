"""An S3-compatible server's proxy that for a while answers 503, as S3 does when it is overloaded, or refuses for good."""

import http.client
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
HOP = ("connection", "content-length", "date", "server", "transfer-encoding")


class Proxy(ThreadingHTTPServer):
    """Hands requests on; while `refusing` is set each gets 503. `refused` counts those, `answered` the others."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.refusing = threading.Event()
        self.refused = self.answered = 0
        self.refusal = (503, SLOW_DOWN)
        self._seconds, self._after = 0.0, 0

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def refuse_for_good(self, status: int, body: bytes, *, after: int = 0) -> None:
        """Answer this, from now on or once so many more requests have been answered."""
        self.refusal = (status, body)
        self._seconds, self._after = math.inf, self.answered + after
        self._look()

    def refuse(self, seconds: float, *, after: int = 0) -> None:
        """Answer 503 for so long, from now on or once so many more requests have been answered."""
        self._seconds, self._after = seconds, self.answered + after
        self._look()

    def count(self) -> None:
        """Note one that is answered."""
        self.answered += 1
        self._look()

    def _look(self) -> None:
        if self._seconds and self.answered >= self._after:
            self.refusing.set()
            if self._seconds < math.inf:
                threading.Timer(self._seconds, self.refusing.clear).start()
            self._seconds = 0.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _answer(self) -> None:
        body = self._body()
        if self.server.refusing.is_set():
            self.server.refused += 1
            status, told = self.server.refusal
            self._send(status, {"Content-Type": "application/xml"}, told)
            return
        self.server.count()
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        sent = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        connection.request(self.command, self.path, body, {**sent, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._send(answer.status, headers, content, length)
        connection.close()

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

    def _send(self, status: int, headers: dict[str, str], content: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the client tells."""


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
