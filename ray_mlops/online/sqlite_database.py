"""The SQLite side of the embedded store: what is laid out how, and a database for several processes that write often
and must not wait for the disk."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from ray_mlops.errors import ConfigError, StorageError

BUSY_SECONDS = 10.0
CHECKPOINT_SECONDS = 2.0  # between copies of the write-ahead log into the file, by a thread of its own
CHECKPOINT_PAGES = 65_536  # a log that outgrows those (256 MiB) is copied by the writer itself
SWEPT = 64  # records and states looked at each time: more than can have come since the last time
_FIELDS = "id, time, entities, label, label_time, answer"
STATEMENTS = {
    "record": f"SELECT {_FIELDS} FROM records_{{0}} WHERE id = ?",
    "known": "SELECT id, time, label, label_time FROM records_{0} WHERE id IN (%s)",
    "save": f"""INSERT INTO records_{{0}} ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
        time = excluded.time, entities = excluded.entities, label = excluded.label, label_time = excluded.label_time,
        answer = excluded.answer""",
    # Without the answer: binding a missing value takes Python as long as all the others together.
    "remember": """INSERT INTO records_{0} (id, time, entities, label, label_time) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET time = excluded.time, entities = excluded.entities, label = excluded.label,
        label_time = excluded.label_time""",
    "read": "SELECT part, base, data FROM log_{0} WHERE stream = ? AND entity = ? AND part >= ? ORDER BY part",
    "write": "INSERT OR REPLACE INTO log_{0} VALUES (?, ?, ?, ?, ?, ?)",
    "extend": """INSERT INTO log_{0} SELECT ?1, ?2, coalesce(max(part), ?5) + 1, 0, ?4, ?3 FROM log_{0}
        WHERE stream = ?1 AND entity = ?2""",
    "clear": "DELETE FROM log_{0} WHERE stream = ? AND entity = ?",
    "browse": """SELECT id, coalesce(time, label_time) FROM records_{0} WHERE id > ?
        ORDER BY id LIMIT {1}""",
    "forget": "DELETE FROM records_{0} WHERE id = ?",
    "walk": """SELECT stream, entity, max(dated) FROM log_{0} WHERE (stream, entity) > (?, ?)
        GROUP BY stream, entity ORDER BY stream, entity LIMIT {1}""",
    "count": """INSERT INTO counts_{0} VALUES (?, ?)
        ON CONFLICT (name) DO UPDATE SET value = value + excluded.value""",
    "counts": "SELECT name, value FROM counts_{0}",
    "remembered": "SELECT count(*) FROM records_{0}",
    "sizes": """SELECT count(*), sum(size) FROM
        (SELECT sum(length(data)) AS size FROM log_{0} GROUP BY stream, entity)""",
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS log_{0} (stream INTEGER, entity TEXT, part INTEGER, base INTEGER, dated INTEGER,
    data BLOB, PRIMARY KEY (stream, entity, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records_{0} (id {1} PRIMARY KEY, time INTEGER, entities TEXT, label REAL,
    label_time INTEGER, answer BLOB) {2};
CREATE TABLE IF NOT EXISTS counts_{0} (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
SYNCHRONOUS = ("normal", "full")


def schema(digest: str, key_type: str) -> str:
    """The tables of a plan. Integer keys are row ids: then a record touches one tree, as it does without row ids."""
    return _SCHEMA.format(digest, key_type, "" if key_type == "INTEGER" else "WITHOUT ROWID")


def connect(path: str, synchronous: str) -> sqlite3.Connection:
    """A connection in WAL mode that begins and ends its transactions itself; makes the file and its folder."""
    if synchronous not in SYNCHRONOUS:
        raise ConfigError(f"synchronous={synchronous} in the URL of the entity store: use {' or '.join(SYNCHRONOUS)}")
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {synchronous}")
    database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    database.execute("PRAGMA cache_size = -65536")
    return database


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns the database's errors into `StorageError`s that say what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        hint = "Check the path, its permissions and free space."
        if "locked" in str(error):
            hint = f"Another process has been writing for {BUSY_SECONDS:g} s: is it stopped?"
        raise StorageError(f"entity store {path}: {error}. {hint}") from error


class Checkpoints:
    """Copies the write-ahead log into the database from a thread, so that no event waits for the disk."""

    def __init__(self, path: str) -> None:
        self._path, self._stop = path, Event()
        self._thread = Thread(target=self._run, name="entity-store-checkpoints", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        database = sqlite3.connect(self._path, timeout=0.0, isolation_level=None)
        while not self._stop.wait(CHECKPOINT_SECONDS):
            try:
                # Twice: the second pass copies the few pages written meanwhile, so that the log can start anew.
                for _ in range(2):
                    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error:
                continue  # another process is at it, or the disk is full, which the next event reports
        database.close()
