"""A page as Markdown: the same content for a repository, a ticket or a terminal."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ray_mlops.reports.numerals import shown
from ray_mlops.reports.page import Block, Chart, Drawing, Facts, Link, Page, Pictures, Rows, Text

MOST_ROWS = 40
_MARKS = {"plain": "", "good": "> ", "warning": "> **Note.** ", "bad": "> **Warning.** "}
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def as_markdown(page: Page) -> str:
    """The page as GitHub-flavoured Markdown; a chart becomes the table of its figures."""
    lines = [f"# {_plain(page.title)}", ""]
    if page.subtitle:
        lines += [_plain(page.subtitle), ""]
    for section in page.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield _MARKS[block.tone] + _plain(block.text)
    elif isinstance(block, Facts):
        yield from (f"- **{_plain(name)}**: {_cell(value)}" for name, value in block.values.items())
    elif isinstance(block, Rows):
        yield from _table(block.columns, block.rows, block.alignments, block.caption)
    elif isinstance(block, Chart):
        data = block.data()
        columns = list(dict.fromkeys(name for row in data for name in row))
        rows = Rows(columns, [[row.get(name) for name in columns] for row in data])
        yield from _table(columns, rows.rows, rows.alignments, block.caption)
    elif isinstance(block, Drawing):
        yield f"*{_plain(block.caption)}*"
    elif isinstance(block, Pictures):
        yield from (f"- {_plain(picture.words)}" for picture in block.pictures)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], sides: Sequence[str], caption: str) -> Iterator[str]:
    if caption:
        yield from (f"*{_plain(caption)}*", "")
    yield f"| {' | '.join(map(_plain, columns))} |"
    yield f"|{'|'.join('---:' if side == 'number' else '---' for side in sides)}|"
    for row in rows[:MOST_ROWS]:
        yield f"| {' | '.join(map(_cell, row))} |"
    if len(rows) > MOST_ROWS:
        yield from ("", f"{len(rows) - MOST_ROWS:,} more rows are not shown.")


def _cell(value: Any) -> str:
    if isinstance(value, Link):
        return f"[{_plain(value.text)}]({value.url.replace(' ', '%20').replace(')', '%29')})"
    return _plain(shown(value))


def _plain(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or HTML would read."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
