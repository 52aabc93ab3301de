"""Who is using the console: one session a browser, in memory, with the key that it was opened with and a token for forms."""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ray_mlops.serving.access import keyring
from ray_mlops.serving.access.keyring import Access, KeyRing
from ray_mlops.serving.access.keys import key_file

COOKIE = "ray_mlops_console"
IDLE_S = 8 * 3600.0
MOST = 1000
ANYBODY = "anybody"


@dataclass
class Session:
    """One browser. `key` is the text of its key, empty while the run root has none; `token` stands in every form."""

    name: str = ANYBODY
    key: str = ""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    used: float = 0.0

    def wrote(self, token: object) -> bool:
        """Whether a form came from a page of this session."""
        return isinstance(token, str) and hmac.compare_digest(self.token.encode(), token.encode())


class Sessions:
    """The sessions of a console. From the first key of the run root on, each needs one of scope `admin`, and ends with it."""

    def __init__(self, root: str, *, required: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._ring = KeyRing(Access(keys=key_file(root), required=required))
        self._clock = clock
        self._open: dict[str, Session] = {}

    @property
    def closed(self) -> bool:
        """Whether a key is needed."""
        return self._ring.closed

    def find(self, identity: str | None) -> Session | None:
        """The session of a cookie, while it and its key are valid."""
        session = self._open.get(identity or "")
        if session is None:
            return None
        if self._clock() - session.used > IDLE_S or (self.closed and self._refusal(session.key)):
            self.end(session)
            return None
        session.used = self._clock()
        return session

    def begin(self, text: str = "") -> Session | str:
        """A new session, or why there is none."""
        if self.closed and (refusal := self._refusal(text)):
            return refusal
        key = self._ring.find(text)
        session = Session(name=key.name if key else ANYBODY, key=text if key else "", used=self._clock())
        while len(self._open) >= MOST:
            self._open.pop(next(iter(self._open)), None)  # the oldest one
        self._open[session.id] = session
        return session

    def end(self, session: Session) -> None:
        """Sign out."""
        self._open.pop(session.id, None)

    def close(self) -> None:
        """Follow the key file no more."""
        self._ring.close()

    def _refusal(self, text: str) -> str:
        key = self._ring.find(text)
        if key is None:
            return "This is no key of the run root. `ray-mlops keys create NAME --scope admin` makes one."
        if (state := keyring.state(key)) != "valid":
            return f"The key {key.name} is {state}."
        if "admin" not in key.scopes:
            return f"The key {key.name} has the scope {', '.join(key.scopes)}; the console needs admin."
        return "" if not self._ring.wait_s(key) else f"The key {key.name} asks too often: try again later."
