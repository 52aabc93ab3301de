"""Trace context: continued where the header is valid, begun anew where it is not."""

import pytest

from ray_mlops.serving.tracing import Trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "flags"),
    [(f"00-{TRACE}-{SPAN}-01", "01"), (f" 00-{TRACE}-{SPAN}-00 ", "00"), (f"cc-{TRACE}-{SPAN}-01-more", "01")],
)
def test_a_valid_trace_goes_on_in_a_new_span(header: str, flags: str) -> None:
    trace = Trace.of(header)
    assert (trace.trace_id, trace.parent, trace.flags) == (TRACE, SPAN, flags)
    assert trace.span_id not in (SPAN, "0" * 16) and trace.traceparent == f"00-{TRACE}-{trace.span_id}-{flags}"
    assert Trace.of(trace.traceparent).parent == trace.span_id


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f'00-{TRACE}-{SPAN}-01", "forged": "',
    ],
)
def test_what_is_not_valid_begins_a_trace(header: str) -> None:
    trace, other = Trace.of(header), Trace.of(header)
    assert trace.parent == "" and trace.trace_id not in (TRACE, other.trace_id)
    assert Trace.of(trace.traceparent).trace_id == trace.trace_id
