"""History into a store, and the capture log into a store that was restored."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from ray_mlops.contract import Run
from ray_mlops.errors import ConfigError, DataError
from ray_mlops.fraud.windows import Window
from ray_mlops.online import CaptureLog, backfill, catch_up, fill, open_store, parity
from ray_mlops.online.backfill import recent
from ray_mlops.platform import tables
from tests.online.conftest import empty_redis
from tests.online.events import DAY, NOON, card_and_shop, definition, event, table


def test_history_is_what_windows_reach(store_url: str) -> None:
    made = card_and_shop()
    rows = table(made.data, [event(n, NOON + n * DAY, fraud=n % 2) for n in reversed(range(100))])
    store = open_store(store_url, made)
    steps: list[tuple[int, int, str]] = []
    new = backfill(store, rows, progress=lambda *step: steps.append(step))
    # The longest window reaches 37 days back, and a day more for events that come late.
    assert new == store.stats().events == 38
    assert steps == [(0, 38, "rows"), (38, 38, "rows")]
    assert backfill(store, rows) == 0
    probe = event(1000, NOON + 100 * DAY)
    expected = made.compute(table(made.data, [*rows.to_pylist(), probe])).slice(100).to_pylist()[0]
    assert {name: expected[name] for name in made.computed} == {n: store.peek(probe)[n] for n in made.computed}
    store.close()


def test_history_comes_from_a_versioned_table(tmp_path: Path) -> None:
    made = card_and_shop(text_keys=True, label_time=True)
    rows = table(made.data, [event(f"e{n}", NOON + n, fraud=1, known_at=NOON + 2 * n) for n in range(20)])
    run = Run(root=str(tmp_path), id="r", recipe="test", uri=str(tmp_path / "ingest"), fingerprint="f")
    stored = tables.write_arrow(rows, "fraud.transactions", run, data=made.data)
    store = open_store(f"sqlite:///{tmp_path}/entities.db", made)
    assert backfill(store, stored) == 20
    assert store.peek(event("x", NOON + 100))["card_count_1d"] == 21.0
    assert store.peek(event("x", NOON + 20))["shop_count_1d"] == 11.0
    store.close()
    report = parity(made, stored, 5)
    assert (report.rows, report.history, report.mismatches) == (5, 15, 0)


@pytest.mark.usefixtures("ray_session")
def test_workers_fill_a_store_as_one_process_does(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = empty_redis(redis_url)
    module = importlib.import_module("ray_mlops.online.backfill")  # the package has a function of the same name
    monkeypatch.setattr(module, "PARALLEL_ROWS", 400)
    monkeypatch.setattr(module, "ROWS_PER_TASK", 60)
    coarse = Window(
        entity="shop", value="amount", spans=(7.0,), aggregates=("count", "sum", "std", "max"), resolution=3600.0
    )
    made = definition(*card_and_shop().windows, coarse)
    rows = table(
        made.data,
        [
            event(n, NOON + n * DAY // 40, card=n % 7, shop="abc"[n % 3], amount=1.1 * (n % 13), fraud=n % 2)
            for n in range(400)
        ],
    )
    steps: list[tuple[int, int, str]] = []
    assert fill(url, made, rows, progress=lambda *step: steps.append(step)) == 400
    assert steps[0] == (0, 400, "rows") and steps[-1] == (400, 400, "rows") and len(steps) > 2
    assert fill(url, made, rows) == 0, "what is known is left alone"
    alone, filled = open_store("memory://", made), open_store(url, made)
    backfill(alone, rows)
    assert filled.stats().events == 400 and filled.stats().labels == alone.stats().labels
    for n in range(21):
        probe = event(1000 + n, NOON + 10 * DAY + n, card=n % 7, shop="abc"[n % 3])
        assert filled.peek(probe) == alone.peek(probe)
    filled.close()


def test_an_old_event_whose_label_came_lately_is_history() -> None:
    made = card_and_shop(label_time=True)
    rows = table(made.data, [event(1, NOON, fraud=1, known_at=NOON + 90 * DAY), event(2, NOON + 91 * DAY)])
    assert recent(made, rows)["id"].to_pylist() == [1, 2]
    assert recent(made, rows.slice(0, 0)).num_rows == 0


def test_history_without_a_needed_column_is_refused(store_url: str) -> None:
    store = open_store(store_url, card_and_shop())
    with pytest.raises(DataError, match="lacks shop"):
        store.absorb(table(store.definition.data, [event(1, NOON)]).drop_columns(["shop"]))
    store.close()


SENT = [event(n, f"2018-08-08T12:00:{n:02d}Z") for n in range(20)]


def captured(sent: Mapping[str, Any], number: int = 0) -> bytes:
    """A line of the capture log; `number` says when it was received."""
    line = {"time": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z", "id": sent["id"], "inputs": sent}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def labelled(id: Any, value: Any, at: Any, number: int = 0) -> bytes:
    line = {"kind": "label", "time": f"2026-01-01T01:00:{number:02d}Z", "id": id, "label": value, "label_time": at}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def test_a_restored_store_catches_up_from_the_capture_log(store_url: str, tmp_path: Path) -> None:
    lines = [captured(sent, number) for number, sent in enumerate(SENT)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[::2]))
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[1::2]) + b'{"id": 20, "inputs": {"id"')
    store, log = open_store(store_url, card_and_shop()), CaptureLog(str(tmp_path))
    store.observe_many(SENT[:5])
    steps: list[tuple[int, int, str]] = []
    assert catch_up(store, log, progress=lambda *step: steps.append(step)) == 15
    assert steps[-1] == (20, 20, "captured events")
    assert store.peek(event(99, NOON + DAY // 4))["card_count_1d"] == 21.0
    assert (store.stats().events, store.stats().duplicates) == (20, 0)
    assert catch_up(store, log) == catch_up(store, CaptureLog(str(tmp_path))) == 0
    assert catch_up(store, CaptureLog(str(tmp_path / "elsewhere"))) == 0
    store.close()


@pytest.mark.parametrize("label_time", [False, True])
def test_labels_come_back_too_the_last_word_counts(store_url: str, tmp_path: Path, label_time: bool) -> None:
    known_at = "2018-08-09T12:00:00Z"
    labels = [labelled(n, 1, known_at, n) for n in range(10)] + [
        labelled(0, 0, known_at, 30),
        labelled(77, 1, known_at),
    ]
    lines = [captured(sent, number) for number, sent in enumerate(SENT)]
    (tmp_path / "a.jsonl").write_bytes(b"".join([*labels[::2], *lines]))
    (tmp_path / "b.jsonl").write_bytes(b"".join(labels[1::2]))
    store = open_store(store_url, card_and_shop(label_time=label_time))
    assert catch_up(store, CaptureLog(str(tmp_path))) == 20
    assert (store.stats().labels, store.stats().waiting) == (10, 1)
    assert store.peek(event(99, NOON + 9 * DAY))["shop_mean_fraud_30d"] == 9 / 10
    catch_up(store, CaptureLog(str(tmp_path)))
    assert (store.stats().labels, store.stats().waiting) == (10, 1)
    store.close()


def test_what_is_no_event_of_this_schema_is_passed_over(store_url: str, tmp_path: Path) -> None:
    odd = [
        {"id": None, "at": NOON},
        {"id": 100},
        {"id": "x", "at": NOON},
        {"id": 101, "at": "yesterday"},
        {"id": 102, "at": NOON, "amount": "much"},
        {"id": 2**63, "at": NOON},
        {"transaction": 5},
    ]
    others = [
        b"\n",
        b"[1]\n",
        b'{"inputs": 3}\n',
        b"not json\n",
        labelled(0, "?", "2018-08-09"),
        labelled(0, 1, "soon"),
    ]
    wrong = [orjson.dumps({"time": "2026", "inputs": each}, option=orjson.OPT_APPEND_NEWLINE) for each in odd]
    (tmp_path / "a.jsonl").write_bytes(b"".join([*others, *wrong, *map(captured, SENT)]))
    store = open_store(store_url, card_and_shop())
    assert catch_up(store, CaptureLog(str(tmp_path))) == 20
    assert (store.stats().events, store.stats().labels) == (20, 0)
    store.close()


def test_a_date_in_the_future_ages_no_captured_event(shared_url: str, tmp_path: Path) -> None:
    lines = [captured(event(n, NOON + n), n) for n in range(200)]
    (tmp_path / "a.jsonl").write_bytes(b"".join([captured(event(999, NOON + 4000 * DAY)), *lines]))
    store = open_store(shared_url, card_and_shop())
    assert catch_up(store, CaptureLog(str(tmp_path))) == 201
    assert store.peek(event(1000, NOON + 200))["card_count_1d"] == 201.0
    store.close()


def test_the_disk_may_be_flushed_at_every_event(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/entities.db?synchronous=full", card_and_shop())
    assert store.observe(event(1, NOON))["card_count_1d"] == 1.0
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlit:///x.db", "did you mean sqlite://"),
        ("postgresql://host/db", "use sqlite:///path.db"),
        ("sqlite://x.db", "write sqlite:///relative.db"),
        ("sqlite:///x.db?sync=full", "unknown option sync"),
        ("sqlite:///x.db?synchronous=maybe", "use normal or full"),
    ],
)
def test_urls_that_are_wrong(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_store(url, card_and_shop())
