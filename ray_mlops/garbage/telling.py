"""What the terminal says of a collection."""

from collections.abc import Sequence
from datetime import timedelta

from ray_mlops.errors import ConfigError
from ray_mlops.garbage.collection import Freed, collected

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def collect(root: str, older_than: str, *, dry_run: bool) -> None:
    """Collect, and print a line a kind with its bytes; with `dry_run` every single thing."""
    items = collected(root, _age(older_than), dry_run=dry_run, told=print)
    if dry_run:
        for item in items:
            print(f"{_size(item.bytes):>10}  {item.uri}  ({item.why})")
    for why in dict.fromkeys(item.why for item in items):
        chosen = [item for item in items if item.why == why]
        print(f"{_size(_sum(chosen)):>10}  {len(chosen):,} {why}")
    print(f"{_size(_sum(items)):>10}  {len(items):,} in all {'would be freed' if dry_run else 'are freed'}")


def _sum(items: Sequence[Freed]) -> int:
    return sum(item.bytes for item in items)


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size >= 1000:
            size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _age(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdigit():
        raise ConfigError(f"--older-than {text!r}: write a time such as 0s, 90m, 12h or 7d")
    return timedelta(seconds=int(number) * _UNITS[unit])
