"""The catalog that serialises the writers of tables: SQLite in a local run root, else in this user's home folder, or any
pyiceberg catalog that `RAY_MLOPS_CATALOG` names."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ray_mlops.errors import StorageError
from ray_mlops.platform import files, s3

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

NAMED = "RAY_MLOPS_CATALOG"


def of(root: str) -> "Catalog":
    """The catalog of a run root; raises `StorageError` when it cannot be opened."""
    from pyiceberg.catalog import load_catalog

    if named := os.environ.get(NAMED):
        return load_catalog(named, **s3.of_iceberg())
    file = file_of(root)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return load_catalog("sql", type="sql", uri=f"sqlite:///{file}", warehouse=root, **s3.of_iceberg())
    except OSError as error:
        raise StorageError(f"cannot open the table catalog in {file.parent}: {error}") from error


def shared() -> str:
    """The name of the catalog that `RAY_MLOPS_CATALOG` names, which may be that of several roots; empty for none."""
    return os.environ.get(NAMED, "")


def file_of(root: str) -> Path:
    """The default catalog of a run root: in a local one, else in the home folder of this user."""
    if not files.is_remote(root):
        return Path(files.absolute(root)) / "catalog.db"
    return Path.home() / ".ray_mlops" / f"{hashlib.blake2b(root.encode(), digest_size=8).hexdigest()}.db"
