"""W3C trace context: a request's place in a trace that somebody else began, or that begins here."""

import random
import re
from dataclasses import dataclass

# Its own, which nobody seeds; the system's generator would give the GIL away at each number.
_RANDOM = random.Random()
# Later versions may append fields; what is there of the first four means the same.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True)
class Trace:
    """The span of this request. `parent` is the caller's span, empty where the trace begins here."""

    trace_id: str
    span_id: str
    parent: str = ""
    flags: str = "00"

    @classmethod
    def of(cls, traceparent: str) -> "Trace":
        """A new span in the trace that the header names; a new trace where it is absent or not valid."""
        found, span = _TRACEPARENT.fullmatch(traceparent.strip()), random_hex(8)
        if not found or (found[1] == "00" and found[5]):
            return cls(random_hex(16), span)
        return cls(found[2], span, found[3], found[4])

    @property
    def traceparent(self) -> str:
        """The header that makes this span the parent of others."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def random_hex(size: int) -> str:
    """A random number of `size` bytes, never 0, in hexadecimal digits; nothing secret."""
    return f"{_RANDOM.randrange(1, 1 << 8 * size):0{2 * size}x}"
