"""The checkpoint of a fit in this process, where no controller of Ray Train stores it: the last one, whole or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ray_mlops.platform import files

_FOLDER, _LATEST = "checkpoint", "checkpoint.json"


def keep(uri: str, metrics: Mapping[str, float], checkpoint: str | None) -> None:
    """Copy a local folder to the artifact at `uri`, in place of the checkpoint before; the metrics are not needed."""
    if checkpoint is None:
        return
    before = _number(uri)
    number = 0 if before is None else before + 1
    files.remove(_place(uri, number))  # what a killed attempt had begun
    files.upload(checkpoint, _place(uri, number))
    files.write_json(files.join(uri, _LATEST), {"number": number})
    if before is not None:
        files.remove(_place(uri, before))


@contextmanager
def latest(uri: str) -> Iterator[str | None]:
    """A local path of the last checkpoint, None when there is none."""
    number = _number(uri)
    if number is None:
        yield None
        return
    with files.localised(_place(uri, number)) as folder:
        yield folder


def forget(uri: str) -> None:
    """Delete what was kept."""
    files.remove(files.join(uri, _LATEST))
    files.remove(files.join(uri, _FOLDER))


def _number(uri: str) -> int | None:
    path = files.join(uri, _LATEST)
    return files.read_json(path)["number"] if files.exists(path) else None


def _place(uri: str, number: int) -> str:
    return files.join(uri, _FOLDER, str(number))
