"""Text files in byte ranges that begin and end with lines, so that a large file is read in parallel."""

from typing import NamedTuple

from pyarrow import NativeFile

from ray_mlops.errors import DataError
from ray_mlops.platform.inputs import InputFile

SPAN_BYTES = 8 << 20
BOM = b"\xef\xbb\xbf"
_PROBE_BYTES = 64 << 10
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".br")


class Place(NamedTuple):
    """Where a stretch of text stands, for messages: the file (and byte) and the number of its first line."""

    name: str
    first_line: int = 1

    def line(self, number: int) -> str:
        """The name of a line, counted from 1 within the stretch."""
        return f"{self.name} line {self.first_line + number - 1}"


class Span(NamedTuple):
    """The lines that begin at bytes `[start, end)` of a file; `end` None is its end, whatever its size unpacked."""

    start: int
    end: int | None
    size: int

    def place(self, file: InputFile) -> Place:
        """How messages name it."""
        return Place(f"{file.name} from byte {self.start}" if self.start else file.name)

    def first(self, size: int) -> "Span":
        """The beginning of the span, at most `size` bytes; a compressed file stays whole."""
        return self if self.end is None else self._replace(end=min(self.end, self.start + size))


def spans(file: InputFile, *, split: bool = True) -> list[Span]:
    """The parts of a file; one where it cannot be cut (compressed files, values with line breaks)."""
    if not split or file.path.endswith(_COMPRESSED):
        return [Span(0, None, file.size)]
    starts = range(0, file.size, SPAN_BYTES)
    return [Span(start, min(start + SPAN_BYTES, file.size), min(SPAN_BYTES, file.size - start)) for start in starts]


def read_span(file: InputFile, part: Span) -> bytes:
    """The lines of a part, whole and decompressed."""
    try:
        if part.end is None:
            with file.filesystem.open_input_stream(file.path) as stream:
                return stream.read().removeprefix(BOM)
        with file.filesystem.open_input_file(file.path) as stream:
            return _whole_lines(stream, part.start, part.end).removeprefix(BOM)
    except OSError as error:
        raise DataError(f"cannot read {file.label}: {error}. The file may be truncated: write it again.") from error


def _whole_lines(stream: NativeFile, start: int, end: int) -> bytes:
    # One byte earlier tells whether a line begins at `start`; the line cut there belongs to the range before.
    stream.seek(max(start - 1, 0))
    data = stream.read(end - max(start - 1, 0))
    if start:
        data = data[data.find(b"\n") + 1 :] if b"\n" in data else b""
    parts = [data]
    while parts[-1] and not parts[-1].endswith(b"\n"):
        more = stream.read(_PROBE_BYTES)
        parts.append(more[: more.find(b"\n") + 1] if b"\n" in more else more)
    return b"".join(parts)
