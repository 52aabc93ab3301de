"""Read the times of a source, however they are written, as UTC microseconds."""

from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

TimeUnit = Literal["s", "ms", "us", "ns"]
_LOCAL = pa.timestamp("us")
_UTC = pa.timestamp("us", tz="UTC")
_ISO = r"^\s*\d{4}-(?:0\d|1[0-2])-[0-3]\d(?:[ T][0-2]\d:[0-5]\d.*)?\s*$"
_OFFSET = r"\d{2}:\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_FORMATTED_OFFSET = r"[+-]\d{4}$"
_UTC_OFFSET = r"(?:Z|[+-]00(?::?00)?)$"
_UTC_NAMES = ("UTC", "Etc/UTC", "Z", "+00:00")
_BEYOND_MICROSECONDS = r"(\.\d{6})\d+"


def plain(column: pa.ChunkedArray) -> pa.Array:
    """One array without dictionary encoding, large or view strings, or raw bytes that are text."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(pa.chunked_array([array.dictionary_decode()]))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string())
    return _decoded(array) if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else array


def _decoded(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        texts = [None if value is None else value.decode(errors="backslashreplace") for value in array.to_pylist()]
        return pa.array(texts, pa.string())


class Clock(NamedTuple):
    """How times are written in a source: the zone of naive ones, a `strptime` format, the unit of numbers."""

    timezone: str = "UTC"
    format: str | None = None
    unit: TimeUnit | None = None

    def instants(self, array: pa.Array) -> pa.Array:
        """Times, dates, text or numbers as UTC; raises when one value does not fit."""
        kind = array.type
        if pa.types.is_string(kind):
            return self._parsed(pc.utf8_trim_whitespace(array))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            if self.unit is None:
                raise pa.ArrowNotImplementedError("a number is a time only where the source declares its time_unit")
            return _epoch(array, self.unit)
        if pa.types.is_timestamp(kind):
            target = pa.timestamp("us", tz=kind.tz)
            array = array.cast(target, safe=kind.unit != "ns")  # finer than microseconds is cut off, never out of range
            return array.cast(_UTC) if kind.tz else self._localised(array)
        return self._localised(array.cast(_LOCAL))

    def well_formed(self, text: pa.Array) -> pa.Array:
        """Which texts look like times."""
        if self.format:
            parsed = pc.strptime(text, format=self.format, unit="us", error_is_null=True)
            return pc.or_(parsed.is_valid(), text.is_null())
        return pc.fill_null(pc.match_substring_regex(text, _ISO), True)

    def conversions(self, column: pa.ChunkedArray) -> int:
        """How many times of a source column were not written in UTC."""
        array = plain(column)
        kind, shifted = array.type, self.timezone not in _UTC_NAMES
        present = len(array) - array.null_count
        if pa.types.is_timestamp(kind):
            return present if (kind.tz or self.timezone) not in _UTC_NAMES else 0
        if pa.types.is_date(kind):
            return present if shifted else 0
        if not pa.types.is_string(kind):
            return 0
        has_offset = pc.match_substring_regex(array, _FORMATTED_OFFSET if self.format else _OFFSET)
        elsewhere = pc.and_(has_offset, pc.invert(pc.match_substring_regex(array, _UTC_OFFSET)))
        naive = pc.sum(pc.invert(has_offset)).as_py() or 0
        return (pc.sum(elsewhere).as_py() or 0) + (naive if shifted else 0)

    def _parsed(self, text: pa.Array) -> pa.Array:
        if self.format:
            times = pc.strptime(text, format=self.format, unit="us")
            return times.cast(_UTC) if times.type.tz else self._localised(times)
        has_offset = pc.match_substring_regex(text, _OFFSET)
        nothing = pa.scalar(None, pa.string())
        aware = _iso(pc.if_else(has_offset, text, nothing), _UTC)
        naive = _iso(pc.if_else(has_offset, nothing, text), _LOCAL)
        return pc.coalesce(aware, self._localised(naive))

    def _localised(self, array: pa.Array) -> pa.Array:
        """Naive local times as UTC: of two possible instants the earlier; a time the clock skipped moves on."""
        return pc.assume_timezone(array, self.timezone, ambiguous="earliest", nonexistent="latest").cast(_UTC)


def _iso(text: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        return pc.replace_substring_regex(text, _BEYOND_MICROSECONDS, r"\1").cast(kind)


def _epoch(array: pa.Array, unit: TimeUnit) -> pa.Array:
    if pa.types.is_integer(array.type):
        ticks = array.cast(pa.int64()).cast(pa.timestamp(unit, tz="UTC"))
        return ticks.cast(_UTC, safe=unit != "ns")
    microseconds = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[unit]
    return pc.round(pc.multiply(array.cast(pa.float64()), microseconds)).cast(pa.int64()).cast(_UTC)
