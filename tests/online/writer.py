"""A replica in a process of its own: `python -m tests.online.writer URL FIRST COUNT` observes events and prints each id
with the number of events that its card had, as soon as it is acknowledged."""

import sys

from ray_mlops.online import open_store
from tests.online.events import NOON, card_and_shop, event


def main(url: str, first: int, count: int) -> None:
    """Observe events `first` to `first + count`, one microsecond apart, of one card."""
    store = open_store(url, card_and_shop())
    for id in range(first, first + count):
        features = store.observe(event(id, NOON + id))
        print(id, int(features["card_count_1d"]), flush=True)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
