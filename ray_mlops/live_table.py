"""A bar on the terminal with a table below it, both drawn anew while a stage works."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class LiveTable(Progress):
    """The bar of a stage; `table` is drawn below it when there is one, and both go when the stage is over."""

    def __init__(self) -> None:
        self.table: Table | None = None
        super().__init__(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the table."""
        yield from super().get_renderables()
        if self.table is not None:
            yield self.table
