"""Any windows and any streams of events, ties, gaps and late labels among them."""

from typing import Any

from hypothesis import strategies as st

from ray_mlops.fraud.windows import COMPARED, ORDERED, Window
from tests.online.events import DAY, EVERYTHING, NOON


@st.composite
def windows(draw: st.DrawFn, *, label_time: bool = False) -> tuple[Window, ...]:
    """Two to four windows, of which no two make the same feature."""
    made = []
    for number in range(draw(st.integers(2, 4))):
        value = draw(st.sampled_from([None, "amount", "fraud", "city"]))
        legal = {
            None: ("count", "since"),
            "city": ("count", "distinct", "since"),
            "fraud": tuple(name for name in EVERYTHING if name not in COMPARED),
            "amount": EVERYTHING,
        }[value]
        aggregates = tuple(draw(st.lists(st.sampled_from(legal), min_size=1, unique=True)))
        steps = [0.0] if ORDERED & set(aggregates) else [0.0, 0.0, 600.0, 7200.0]
        delays = [0.5, 7.0] if value == "fraud" and not label_time else [0.0, 0.0, 2.0]
        made.append(
            Window(
                entity=draw(st.sampled_from(["card", "shop", ("card", "shop")])),
                value=value,
                spans=tuple(
                    draw(st.lists(st.sampled_from([0.01, 1.0, 3.0, 30.0]), min_size=1, max_size=2, unique=True))
                ),
                aggregates=aggregates,
                delay=draw(st.sampled_from(delays)),
                resolution=draw(st.sampled_from(steps)),
                spike=draw(st.sampled_from([0.5, 1.0, 2.0])),
                baseline=draw(st.sampled_from([0.02, 3.0, 30.0])),
                prefix=f"w{number}",
            )
        )
    return tuple(made)


@st.composite
def streams(draw: st.DrawFn, *, text_keys: bool = False, label_time: bool = False) -> list[dict[str, Any]]:
    """Up to 60 events with ties in time, missing values and labels, in order of (time, id)."""
    # Coarse times make ties and events exactly on the edge of a window likely.
    steps = draw(st.lists(st.integers(0, 40 * 48), min_size=1, max_size=60))
    events = []
    for number, step in enumerate(steps):
        at = NOON + step * DAY // 48
        delay = draw(st.sampled_from([None, 0, DAY // 48, 3 * DAY, 12 * DAY]))
        values = {
            "card": draw(st.sampled_from([1, 2, None])),
            "shop": draw(st.sampled_from(["a", "b|c", None])),
            "city": draw(st.sampled_from(["x", "y", "z", None])),
            "amount": draw(
                st.sampled_from([None, 0.0, -3.5, 0.1, 1e9, 12.25])
                | st.integers(-(10**6), 10**6).map(lambda c: c / 100)
            ),
            "fraud": draw(st.sampled_from([None, 0, 0, 1])),
        }
        if label_time:
            values["known_at"] = None if delay is None or values["fraud"] is None else at + delay
        events.append({"id": f"e{number % 7}-{number}" if text_keys else number, "at": at, **values})
    return sorted(events, key=lambda event: (event["at"], event["id"]))
