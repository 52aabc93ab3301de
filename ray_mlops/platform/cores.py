"""How many cores there are for this process."""

from functools import cache


@cache
def cores() -> int:
    """The cores this process may use, by affinity and by the quota of its container; `os.cpu_count` counts the machine's.

    As many threads as a large machine has, in a container of two cores, take many times as long as two.
    """
    from joblib import cpu_count

    return max(1, cpu_count())
