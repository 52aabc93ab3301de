"""Deep JSON is refused before a parser sees it; brackets in strings are letters."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.serving.access import nesting
from ray_mlops.serving.access.nesting import MOST
from ray_mlops.serving.schema import BadRequest

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\ax\n', max_size=60),
    lambda inside: st.lists(inside, max_size=40) | st.dictionaries(st.text(alphabet='[{"\\', max_size=9), inside),
    max_leaves=80,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def refused(body: bytes) -> bool:
    try:
        nesting.check(body)
    except BadRequest as error:
        assert error.status == 400 and f"deeper than {MOST} levels" in error.problems[0].message
        return True
    return False


@pytest.mark.parametrize("levels", [1, MOST, MOST + 1, 100_000])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"]":', b"}]")])
def test_the_limit_is_exact_for_lists_and_objects(levels: int, opened: bytes, closed: bytes) -> None:
    each = 2 if closed == b"}]" else 1
    assert refused(opened * levels + b"1" + closed * levels) == (levels * each > MOST)
    assert refused(opened * levels) == (levels * each > MOST)  # never closed


@given(VALUES, st.integers(0, 2 * MOST))
def test_it_counts_as_a_parser_would(value: Any, around: int) -> None:
    for _ in range(around):
        value = [value]
    assert refused(json.dumps(value).encode()) == (depth(value) > MOST)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b"[" * 1000,
        b'"' + b'\\"' * 1_000_000 + b"[" * 1000,
        b"[]" * 1_000_000,
        b'""' * 1_000_000,
        b'["' * 40 + b"\\",
    ],
)
def test_what_only_looks_deep_passes_and_costs_no_more_for_it(body: bytes) -> None:
    assert not refused(body)


def test_a_wide_batch_is_not_deep() -> None:
    assert not refused(json.dumps({"transactions": [{"note": "[[[[", "amount": 1}] * 1000}).encode())
