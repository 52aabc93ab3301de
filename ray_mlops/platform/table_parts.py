"""Work on the parts of a table one by one: in this process when the table is small, else a task a part on Ray."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_mlops.contract import Run, Snapshot
from ray_mlops.platform import files, tables
from ray_mlops.platform.cores import cores

PART = "part"
_PATH = "path"
_HERE_BYTES = 128 << 20

Work = Callable[[pa.Table], pa.Table]
"""Takes a table of one row, the number and path of a part beside the values given for it, and gives rows."""
Given = Mapping[int, Mapping[str, Any]]
"""Values for the work on a part, by the number of the part."""


@dataclass(frozen=True)
class Parts:
    """The parts of a snapshot and where they are worked on; the rows that come out are the same."""

    table: Snapshot
    paths: tuple[str, ...]
    in_process: bool

    @classmethod
    def of(cls, table: Snapshot, in_process_rows: int) -> "Parts":
        """The parts of a table; in this process up to so many rows, where their files are small too."""
        paths = tuple(tables.paths(table))
        return cls(table, paths, table.rows <= in_process_rows and _size(paths) <= _HERE_BYTES)

    @property
    def threads(self) -> int:
        """How many threads the work on a part may use."""
        return cores() if self.in_process else 1

    def over(self, work: Work, run: Run, given: Given | None = None) -> Iterator[pa.Table]:
        """What `work` makes of each part, or of those that are `given` values, in no order; progress is told in rows."""
        tasks, done = self._tasks(given), 0
        for made in map(work, tasks) if self.in_process else _plan(work, tasks).iter_batches(**_WHOLE):
            done += made.num_rows
            run.progress(done, self.table.rows, "images")
            yield made

    def rows(self, work: Work, given: Given | None = None) -> Any:
        """The same as rows for `tables.write_images`."""
        tasks = self._tasks(given)
        return map(work, tasks) if self.in_process else _plan(work, tasks)

    def _tasks(self, given: Given | None) -> list[pa.Table]:
        chosen = {number: {} for number in range(len(self.paths))} if given is None else given
        return [
            pa.table({PART: [number], _PATH: [self.paths[number]], **{name: [value] for name, value in values.items()}})
            for number, values in chosen.items()
        ]


_WHOLE: Mapping[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}


def _plan(work: Work, tasks: list[pa.Table]) -> Any:
    import ray.data

    return ray.data.from_arrow(tasks).map_batches(work, **_WHOLE)


def load(task: pa.Table, columns: list[str] | None = None) -> pa.Table:
    """The rows of the part that a task names."""
    filesystem, place = files.filesystem(task[_PATH][0].as_py())
    return pq.read_table(place, columns=columns, filesystem=filesystem)


def _size(paths: tuple[str, ...]) -> int:
    filesystem, _ = files.filesystem(paths[0])
    return sum(info.size for info in filesystem.get_file_info([files.filesystem(path)[1] for path in paths]))
