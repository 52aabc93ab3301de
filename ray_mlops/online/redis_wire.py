"""One connection to Redis: scripts, many of them in one round trip, and commands whose reply nobody waits for."""

import hashlib
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError, NoScriptError, RedisError, TimeoutError

from ray_mlops.errors import StorageError

Command = Sequence[Any]
TIMEOUT_S = 5.0


class Wire:
    """Every script sent through it must be safe to send again: a broken connection is opened anew, once a call."""

    def __init__(self, url: str, scripts: Sequence[str]) -> None:
        self._name = url.rsplit("@", 1)[-1]
        self._scripts = scripts
        self._shas = {script: hashlib.sha1(script.encode()).hexdigest() for script in scripts}
        options = {"protocol": 2, "socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        try:
            self._pool = ConnectionPool.from_url(url, **options)
            self._connection = self._pool.get_connection()
            self._load()
        except (RedisError, ValueError, TypeError) as error:
            raise self._failure(error) from error

    def script(self, text: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script; its reply."""
        return self.scripts([(text, keys, arguments)])[0]

    def scripts(self, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run scripts in one round trip; their replies."""
        return self.commands([self.command(*call) for call in calls])

    def command(self, text: str, keys: Sequence[str], arguments: Sequence[Any]) -> Command:
        """A script as a command."""
        return ("EVALSHA", self._shas[text], len(keys), *keys, *arguments)

    def commands(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip; their replies."""
        try:
            return self._exchange(commands)
        except (ConnectionError, TimeoutError, NoScriptError):
            return self._again(commands)
        except RedisError as error:
            raise self._failure(error) from error

    def send(self, commands: Sequence[Command]) -> None:
        """Hand commands to the operating system and do not wait; what fails stays undone."""
        if commands:
            quiet = [part for command in commands for part in (("CLIENT", "REPLY", "SKIP"), command)]
            try:
                self._connection.send_packed_command([packed(quiet)])
            except (ConnectionError, TimeoutError):
                self._connection.disconnect()  # the next call opens it anew, or says what is wrong

    def client(self) -> Redis:
        """An ordinary client of the same server, for what is not in a hurry."""
        return Redis(connection_pool=self._pool)

    def close(self) -> None:
        self._connection.disconnect()
        self._pool.disconnect()

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        self._connection.send_packed_command([packed(commands)])
        replies = [self._reply() for _ in commands]
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except (ConnectionError, TimeoutError):
            raise
        except RedisError as error:  # the replies of the other commands are still to be read
            return error

    def _again(self, commands: Sequence[Command]) -> list[Any]:
        try:
            self._connection.disconnect()
            self._load()
            return self._exchange(commands)
        except RedisError as error:
            self._connection.disconnect()
            raise self._failure(error) from error

    def _load(self) -> None:
        self._connection.connect()
        self._exchange([("SCRIPT", "LOAD", script) for script in self._scripts])

    def _failure(self, error: Exception) -> StorageError:
        return StorageError(f"entity store redis {self._name}: {error}. Is the server up, and does it take writes?")


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they go over the wire (RESP): the client library does the same for any type, at ten times the cost."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            data = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
