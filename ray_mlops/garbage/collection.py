"""Free what nothing refers to in a run root, oldest business first, so that it may be killed at any moment.

Everything is first made impossible to find and then deleted: an artifact loses its manifest, a snapshot its entry in the
catalog, a bundle its manifest. What a killed collection leaves is garbage like any other, and the next one frees it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ray_mlops import runs
from ray_mlops.errors import StorageError
from ray_mlops.garbage.references import BUNDLES, References, collect
from ray_mlops.platform import bundle, catalog, files, store, sweeping, table_files
from ray_mlops.platform.files import Below
from ray_mlops.platform.table_files import Tables
from ray_mlops.reproduction.verification import FOLDER as VERIFY

_RECORDS = "runs"


class Freed(NamedTuple):
    """One thing to be freed: where it is, its bytes, and why."""

    uri: str
    bytes: int
    why: str


@dataclass(frozen=True)
class _Folder:
    """A folder with all that lies below it."""

    uri: str
    held: tuple[Below, ...]

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.held)

    def untouched_since(self, moment: datetime) -> bool:
        return bool(self.held) and all(one.changed < moment for one in self.held)


def collected(
    root: str, older_than: timedelta, *, dry_run: bool, told: Callable[[str], None] = lambda text: None
) -> list[Freed]:
    """Free what nothing refers to and what nobody has written to for `older_than`; with `dry_run` only tell.

    `told` hears of what is left alone. Raises `StorageError` while a run is under way, as far as can be told from its
    record, or another collection, and when what is referred to cannot be read.
    """
    root = files.absolute(root)
    before = datetime.now(UTC) - older_than
    if dry_run:
        return [item for item, _ in _garbage(root, before, told)]
    freed = []
    with sweeping.marked(root) as renew:
        _refuse_runs(root, older_than)
        for item, free in _garbage(root, before, told):
            free()
            renew()
            freed.append(item)
    return freed


def _refuse_runs(root: str, silent: timedelta) -> None:
    base = files.join(root, _RECORDS)
    states = {run["id"]: run for run in runs.known(root)}
    for name in files.listing(base):
        last_sign = max((when for _, when in files.by_age(files.join(base, name))), default=None)
        run = states.get(name, {"status": "running"})  # one that has no record yet
        if last_sign and runs.under_way(run, last_sign, silent):
            raise StorageError(
                f"run {name} is under way, as far as is known (last sign {last_sign:%F %T} UTC): nothing is freed. If it was "
                "killed, run it again to its end, or say --older-than 0s when nothing else is at work."
            )


_Garbage = Iterator[tuple[Freed, Callable[[], None]]]


def _garbage(root: str, before: datetime, told: Callable[[str], None]) -> _Garbage:
    """What can be freed, with what frees it."""
    known = collect(root)
    yield from _artifacts(root, known, before)
    yield from _bundles(root, known, before)
    yield from _scratch(root, before)
    if catalog.shared():
        told(f"tables are left alone: other roots may refer to what the catalog {catalog.shared()} has")
        return
    yield from _tables(root, known, before, told)


def _artifacts(root: str, known: References, before: datetime) -> _Garbage:
    base = files.join(root, store.FOLDER)
    for stage in files.listing(base):
        for name in files.listing(files.join(base, stage)):
            folder = _folder(files.join(base, stage, name))
            if f"{stage}/{name}" not in known.artifacts and folder.untouched_since(before):
                finished = any(one.name == store.MANIFEST for one in folder.held)
                why = "artifacts that nothing refers to" if finished else "artifacts of stages that did not finish"
                yield Freed(folder.uri, folder.bytes, why), lambda uri=folder.uri: _remove(uri, store.MANIFEST)


def _bundles(root: str, known: References, before: datetime) -> _Garbage:
    base = files.join(root, BUNDLES)
    for name in files.listing(base):
        folder = _folder(files.join(base, name))
        digest = name.partition(".")[0]  # what lies beside a bundle goes with it
        if digest in known.bundles or not folder.untouched_since(before):
            continue
        why = (
            "registrations that did not finish"
            if name.startswith(".")
            else "bundles that no version, run or endpoint refers to"
        )
        yield Freed(folder.uri, folder.bytes, why), lambda uri=folder.uri: _remove(uri, bundle.MANIFEST)


def _scratch(root: str, before: datetime) -> _Garbage:
    """What killed commands leave: a verification's root, and files that were being written."""
    for name in files.listing(files.join(root, VERIFY)):
        folder = _folder(files.join(root, VERIFY, name))
        if folder.untouched_since(before):
            yield (
                Freed(folder.uri, folder.bytes, "verifications that did not finish, or were kept"),
                lambda uri=folder.uri: files.remove(uri),
            )
    for place in (_RECORDS, store.FOLDER, table_files.FOLDER):
        for one in files.below(files.join(root, place)):
            if one.name.rpartition("/")[2].startswith(".") and one.changed < before:
                uri = files.join(root, place, one.name)
                yield Freed(uri, one.bytes, "writes that did not finish"), lambda uri=uri: files.remove(uri)


def _tables(root: str, known: References, before: datetime, told: Callable[[str], None]) -> _Garbage:
    base = files.join(root, table_files.FOLDER)
    held = [one for one in files.below(base) if not one.name.rpartition("/")[2].startswith(".")]
    if not held:
        return
    tables = Tables(root)
    folders = {name: f"{name.replace('.', '/')}/" for name in tables.names()}
    for name, folder in folders.items():
        snapshots = tables.superfluous(name, known.snapshots, before)
        needed = tables.needed(name, known.snapshots, frozenset(snapshots))
        expire = _once(lambda name=name, snapshots=snapshots: tables.expire(name, snapshots))
        inner = [other for other in folders.values() if other != folder and other.startswith(folder)]
        for one in held:
            own = one.name.startswith(folder) and not one.name.startswith(tuple(inner))
            if own and one.name not in needed and one.changed < before:
                uri = files.join(base, one.name)
                item = Freed(uri, one.bytes, "files of snapshots and writes that nothing refers to")
                yield item, lambda uri=uri, expire=expire: (expire(), files.remove(uri))[0]
    if strange := {one.name.split("/data/")[0] for one in held if not one.name.startswith(tuple(folders.values()))}:
        told(f"left alone, as the catalog of this machine does not know them: {', '.join(sorted(strange))}")


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """An act that is done the first time only."""
    waiting = [act]

    def done() -> None:
        while waiting:
            waiting.pop()()

    return done


def _folder(uri: str) -> _Folder:
    return _Folder(uri, tuple(files.below(uri)))


def _remove(uri: str, manifest: str) -> None:
    files.remove(files.join(uri, manifest))
    files.remove(uri)
