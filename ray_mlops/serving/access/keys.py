"""API keys: one file a run root, with what is needed to recognise a key and nothing from which one could be made.

A key is `rmk_<id>_<secret>`, its secret 32 random bytes. Nobody guesses those, so at rest a keyed hash serves as well as a
slow password hash would, and one that costs a microsecond lets nobody keep a replica busy with wrong keys.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from ray_mlops.contract import Frozen
from ray_mlops.contract.names import KeyName
from ray_mlops.errors import ConfigError, StorageError
from ray_mlops.platform import files, leases

Scope = Literal["score", "label", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = ("score", "label", "metrics", "admin")
TOKEN = re.compile(r"rmk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class Key(Frozen):
    """What is kept of a key. `rate` is how many requests a second each replica takes from it; None: any number."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    name: KeyName
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    salt: str
    digest: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    rate: Annotated[float, Field(gt=0)] | None = None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """Whether it opens anything at a moment."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= now else "valid"


_KEYS = TypeAdapter(tuple[Key, ...])


def key_file(root: str) -> str:
    """Where the keys of a run root are."""
    return files.join(files.absolute(root), "access", "keys.json")


def read(uri: str) -> tuple[Key, ...]:
    """The keys of a file, none when it is not there; raises `StorageError` when it is damaged."""
    return parse(files.read_bytes(uri), uri) if files.exists(uri) else ()


def parse(content: bytes, uri: str) -> tuple[Key, ...]:
    """The keys in the content of the file `uri`; raises `StorageError` when it is damaged."""
    try:
        return _KEYS.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]  # never what is in the file
        place = ".".join(map(str, first["loc"]))
        raise StorageError(
            f"the key file {uri} is damaged ({place}: {first['msg']}): bring back a copy of it"
        ) from None


def new(
    name: str, scopes: Sequence[str], *, expires: datetime | None = None, rate: float | None = None
) -> tuple[Key, str]:
    """A key that is nowhere yet, and the text that its holder sends; raises `ConfigError` naming a wrong field."""
    secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
    fields = {"id": secrets.token_hex(6), "name": name, "scopes": tuple(dict.fromkeys(scopes)), "rate": rate}
    try:
        key = Key.model_validate(
            {**fields, "salt": salt, "digest": _digest(secret, salt), "created": datetime.now(UTC), "expires": expires}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"a key cannot have {first['loc'][0]} {first['input']!r}: {first['msg']}") from None
    return key, f"rmk_{key.id}_{secret}"


def create(
    root: str, name: str, scopes: Sequence[str], *, days: float | None = None, rate: float | None = None
) -> tuple[Key, str]:
    """A new key of a run root, and its text, which is shown this once; raises `ConfigError` when the name is in use."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    key, text = new(name, scopes, expires=expires, rate=rate)

    def add(known: tuple[Key, ...]) -> tuple[Key, ...]:
        if any(one.name == name and one.state(key.created) == "valid" for one in known):
            raise ConfigError(
                f"there is a key called {name!r} already: `ray-mlops keys rotate {name}`, or another name"
            )
        return (*known, key)

    _change(root, add)
    return key, text


def rotate(root: str, which: str, *, overlap_hours: float = 24.0) -> tuple[Key, str]:
    """A new key like the newest valid one called so (or with this id), which lives on for `overlap_hours`."""
    made: list[tuple[Key, str]] = []

    def follow(known: tuple[Key, ...]) -> tuple[Key, ...]:
        now = datetime.now(UTC)
        old = [key for key in _named(known, which) if key.state(now) == "valid"]
        if not old:
            raise ConfigError(f"no key called {which!r} is valid: `ray-mlops keys create` makes one")
        like = old[-1]
        expires = now + (like.expires - like.created) if like.expires else None
        made.append(new(like.name, like.scopes, expires=expires, rate=like.rate))
        end = now + timedelta(hours=overlap_hours)
        return (*(_ending(key, end) if key in old else key for key in known), made[0][0])

    _change(root, follow)
    return made[0]


def revoke(root: str, which: str) -> tuple[Key, ...]:
    """End the keys called so, or the one with this id, now; those it ended."""
    ended: list[Key] = []

    def end(known: tuple[Key, ...]) -> tuple[Key, ...]:
        now, chosen = datetime.now(UTC), _named(known, which)
        ended.extend(key.model_copy(update={"revoked": now}) for key in chosen if not key.revoked)
        later = {key.id: key for key in ended}
        return tuple(later.get(key.id, key) for key in known)

    _change(root, end)
    return tuple(ended)


def split(text: str) -> tuple[str, str] | None:
    """Id and secret of the text of a key; None when it is none."""
    found = TOKEN.fullmatch(text)
    return (found[1], found[2]) if found else None


def fits(key: Key, secret: str) -> bool:
    """Whether a secret is that of a key; takes as long for a wrong one as for a right one."""
    return hmac.compare_digest(_digest(secret, key.salt), key.digest)


def _digest(secret: str, salt: str) -> str:
    return hashlib.blake2b(
        secret.encode(), key=bytes.fromhex(salt), digest_size=32, person=b"ray-mlops key"
    ).hexdigest()


def _ending(key: Key, end: datetime) -> Key:
    return key.model_copy(update={"expires": min(end, key.expires) if key.expires else end})


def _named(known: tuple[Key, ...], which: str) -> list[Key]:
    found = [key for key in known if which in (key.name, key.id)]
    if not found:
        names = ", ".join(sorted({key.name for key in known})) or "none"
        raise ConfigError(f"no key is called {which!r}; there are: {names}")
    return found


def _change(root: str, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
    uri = key_file(root)
    with _alone(uri):
        files.write_bytes(uri, _KEYS.dump_json(change(read(uri)), indent=2))


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One change at a time, or a key that another command revokes meanwhile would live on."""
    if files.is_remote(uri):
        with leases.alone(uri.rpartition("/")[0]):
            yield
        return
    folder = Path(uri).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
