"""The keys that a replica knows, which follow the key file, and how much each may still ask."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ray_mlops.contract import Frozen
from ray_mlops.errors import StorageError
from ray_mlops.platform import files
from ray_mlops.serving.access import keys
from ray_mlops.serving.access.keys import Key

_NO_FILE = b"[]"  # an empty file is not the same: somebody is writing it, or it is damaged
_LOG = logging.getLogger(__name__)


class Access(Frozen):
    """Who may ask a replica: holders of a key of the file `keys` (a URI), and its `deployer`.

    Without a file, or while the file has never held a key, everybody may, unless `required`.
    """

    keys: str = ""
    required: bool = False
    deployer: Key | None = None


class Bucket:
    """A token bucket: `rate` requests a second on average, as many at once as come in a second, at least one."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._most = max(1.0, rate)
        self._tokens, self._at = self._most, clock()

    def take(self) -> float:
        """0 when a request may come in now, otherwise the seconds until one may."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.rate


class KeyRing:
    """The keys of a file, read again every `every_s` seconds in a thread of its own, so that no request waits for it.

    Where the file cannot be read, the keys known last go on. A ring that has held a key never opens again: to lose the
    file must not let everybody in.
    """

    def __init__(self, access: Access, *, every_s: float = 2.0) -> None:
        self._access, self._every_s = access, every_s
        self._content: bytes | None = None
        self._keys: dict[str, Key] = {}
        self._buckets: dict[str, Bucket] = {}
        self._ended = threading.Event()
        self.closed = access.required
        self.refresh()
        if access.keys:
            threading.Thread(target=self._follow, name="keys", daemon=True).start()

    def find(self, text: str) -> Key | None:
        """The key that a text is, expired and revoked ones as well; None for all other texts."""
        parts = keys.split(text)
        key = self._keys.get(parts[0]) if parts else None
        return key if parts and key and keys.fits(key, parts[1]) else None

    def wait_s(self, key: Key) -> float:
        """0 when its holder may ask now, counted as asked, otherwise in how many seconds. Each replica counts for itself."""
        if key.rate is None:
            return 0.0
        bucket = self._buckets.get(key.id)
        if bucket is None or bucket.rate != key.rate:
            bucket = self._buckets[key.id] = Bucket(key.rate)
        return bucket.take()

    def refresh(self) -> None:
        """Read the file; raises `StorageError` when it cannot be read."""
        uri = self._access.keys
        content = files.read_bytes(uri) if uri and files.exists(uri) else _NO_FILE
        if content == self._content:
            return
        known = [*(keys.parse(content, uri) if content != _NO_FILE else ()), *filter(None, [self._access.deployer])]
        self._keys = {key.id: key for key in known}  # in one step: requests are checked meanwhile
        self._content, self.closed = content, self.closed or bool(known)

    def close(self) -> None:
        """Follow the file no more."""
        self._ended.set()

    def _follow(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self.refresh()
            except StorageError as error:
                _LOG.warning("the keys known last go on: %s", error)


def state(key: Key) -> str:
    """Whether a key is valid now."""
    return key.state(datetime.now(UTC))
