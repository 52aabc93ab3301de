"""The request schema: whatever arrives is either events of the declared types or a refusal that names the field."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.serving.schema import BadRequest, RequestSchema, label_schema, transaction_schema
from tests.online.events import card_and_shop
from tests.small_model import DEFINITION, TRANSACTIONS

SCHEMA = transaction_schema(DEFINITION, most=3)
GOOD: dict[str, Any] = {
    "transaction_id": 7,
    "time": "2026-01-31T12:00:00+01:00",
    "customer_id": 3,
    "terminal_id": "t1",
    "amount": 12.5,
    "channel": "chip",
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def refusal(body: bytes | Any, schema: RequestSchema = SCHEMA) -> tuple[int, dict[str, str]]:
    with pytest.raises(BadRequest) as refused:
        schema.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    return refused.value.status, {problem.field: problem.message for problem in refused.value.problems}


def test_one_transaction_and_a_batch() -> None:
    expected = {**GOOD, "time": datetime(2026, 1, 31, 11, tzinfo=UTC)}
    assert SCHEMA.read(json.dumps(GOOD).encode()) == ([expected], False)
    assert SCHEMA.read(json.dumps({"transactions": [GOOD, GOOD]}).encode()) == ([expected, expected], True)


def test_a_nullable_column_may_be_null_or_absent_and_a_declared_one_may_come_along() -> None:
    for body in ({**GOOD, "terminal_id": None}, without("terminal_id"), {**GOOD, "note": "x"}, {**GOOD, "note": None}):
        assert SCHEMA.read(json.dumps(body).encode())[0]


def test_whole_numbers_are_numbers_but_not_the_reverse() -> None:
    assert SCHEMA.read(json.dumps({**GOOD, "amount": 12}).encode())[0][0]["amount"] == 12.0
    assert refusal({**GOOD, "transaction_id": 7.0})[1].keys() == {"transaction_id"}


@pytest.mark.parametrize("name", ["transaction_id", "time", "customer_id", "amount", "channel"])
def test_a_missing_field_is_named(name: str) -> None:
    assert refusal(without(name)) == (422, {name: "is missing"})
    assert refusal({"transactions": [GOOD, without(name)]}) == (422, {f"transactions.1.{name}": "is missing"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("transaction_id", "7", "valid integer"),
        ("transaction_id", True, "valid integer"),
        ("transaction_id", 2**63, "less than or equal"),
        ("transaction_id", -(2**63) - 1, "greater than or equal"),
        ("transaction_id", 10**400, "should be"),
        ("transaction_id", None, "valid integer"),
        ("customer_id", -1, "greater than or equal to 0"),
        ("terminal_id", 5, "valid string"),
        ("terminal_id", "x" * 10_001, "at most 10000 characters"),
        ("amount", "12", "valid number"),
        ("amount", -0.01, "greater than or equal to 0"),
        ("amount", 100_000.5, "less than or equal to 100000"),
        ("amount", None, "valid number"),
        ("amount", [12], "valid number"),
        ("amount", {"value": 12}, "valid number"),
        ("amount", False, "valid number"),
        ("channel", "carrier pigeon", "'chip' or 'online'"),
        ("channel", None, "'chip' or 'online'"),
        ("time", 1_700_000_000, "valid string"),
        ("time", "2026", "ISO 8601"),
        ("time", "yesterday", "ISO 8601"),
        ("time", "", "ISO 8601"),
        ("time", "2026-02-30T00:00:00Z", "ISO 8601"),
        ("time", "2026-01-01T00:00:00+99:00", "ISO 8601"),
        ("time", "0001-01-01T00:00:00+14:00", "outside the years"),
        ("time", "9999-12-31T23:59:59-14:00", "outside the years"),
        ("time", None, "valid string"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_legal(name: str, value: Any, message: str) -> None:
    status, problems = refusal({**GOOD, name: value})
    assert status == 422 and problems.keys() == {name} and message in problems[name]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_not_a_number_and_infinity_are_refused(number: bytes) -> None:
    body = json.dumps(GOOD).encode().replace(b"12.5", number)
    assert refusal(body) == (422, {"amount": "should be a finite number"})


def test_an_unknown_field_gets_the_nearest_known_one() -> None:
    assert "did you mean 'amount'" in refusal({**GOOD, "amonut": 1})[1]["amonut"]
    assert "known fields: transaction_id, time" in refusal({**GOOD, "colour": 1})[1]["colour"]
    assert refusal({**GOOD, "is_fraud": 1})[1].keys() == {"is_fraud"}
    assert "transactions.0.amonut" in refusal({"transactions": [{**GOOD, "amonut": 1}]})[1]


def test_all_problems_are_told_at_once_but_not_thousands() -> None:
    assert refusal({"amount": -1, "channel": 3})[1].keys() == {
        "transaction_id", "time", "customer_id", "amount", "channel",
    }  # fmt: skip
    status, problems = refusal({f"field{number}": 1 for number in range(1000)})
    assert status == 422 and len(problems) <= 20


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ([], "", "neither a transaction"),
        ([GOOD], "", "neither a transaction"),
        (3, "", "neither a transaction"),
        ("text", "", "neither a transaction"),
        (None, "", "neither a transaction"),
        ({"transactions": []}, "transactions", "at least 1 item"),
        ({"transactions": GOOD}, "transactions", "valid array"),
        ({"transactions": None}, "transactions", "valid array"),
        ({"transactions": [3]}, "transactions.0", "should be an object"),
        ({"transactions": [GOOD], "extra": 1}, "extra", "not a field"),
        ({"transactions": [GOOD], **GOOD}, "amount", "belongs inside a transaction"),
    ],
)
def test_another_shape_is_refused(body: Any, field: str, message: str) -> None:
    status, problems = refusal(body)
    assert status == 422 and message in problems[field]


def test_a_batch_may_be_too_large() -> None:
    status, problems = refusal({"transactions": [GOOD] * 4})
    assert status == 413 and "at most 3 items" in problems["transactions"]


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"\xff\xfe", b"amount=3", b"[" * 100_000, b'{"a":' * 5000, b'{"terminal_id":"\\ud800"}']
)
def test_what_is_not_json_is_400(body: bytes) -> None:
    status, problems = refusal(body)
    assert status == 400 and problems[""].startswith("the body is not JSON")


def test_a_time_without_offset_is_read_in_the_zone_of_the_data() -> None:
    berlin = FeatureDefinition(data=TRANSACTIONS.model_copy(update={"timezone": "Europe/Berlin"}), inputs=("amount",))
    schema = transaction_schema(berlin, most=1)
    events, _ = schema.read(json.dumps({**GOOD, "time": "2026-07-01T12:00:00"}).encode())
    assert events[0]["time"] == datetime(2026, 7, 1, 10, tzinfo=UTC)


def test_columns_no_feature_asks_for_may_be_left_out() -> None:
    lean = transaction_schema(FeatureDefinition(data=TRANSACTIONS, inputs=("amount",)), most=1)
    assert lean.read(b'{"transaction_id": 1, "time": "2026-01-01", "amount": 3}')[0]
    assert refusal(b'{"transaction_id": 1, "time": "2026-01-01", "amount": 3, "channel": "smoke"}', lean)[0] == 422


def test_the_json_schema_says_what_the_validator_does() -> None:
    one, batch = SCHEMA.json_schema()["anyOf"]
    assert one["required"] == ["transaction_id", "time", "customer_id", "amount", "channel"]
    assert one["additionalProperties"] is False and "is_fraud" not in one["properties"]
    assert one["properties"]["amount"]["maximum"] == 100_000 and one["properties"]["amount"]["description"] == "In euro"
    assert one["properties"]["channel"]["enum"] == ["chip", "online"]
    assert one["properties"]["time"]["format"] == "date-time"
    assert batch["properties"]["transactions"]["maxItems"] == 3


LABELS = label_schema(DEFINITION, most=3)
LABEL: dict[str, Any] = {"transaction_id": 7, "is_fraud": 1}


def test_a_label_is_the_key_and_what_became_known() -> None:
    assert LABELS.read(json.dumps(LABEL).encode()) == ([LABEL], False)
    assert LABELS.read(json.dumps({"labels": [LABEL, LABEL]}).encode()) == ([LABEL, LABEL], True)
    assert LABELS.json_schema()["anyOf"][0]["required"] == ["transaction_id", "is_fraud"]


def test_a_label_brings_its_time_where_the_data_say_when_it_became_known() -> None:
    timed = label_schema(card_and_shop(label_time=True), most=1)
    sent = {"id": 7, "fraud": 0, "known_at": "2026-01-31T12:00:00+01:00"}
    assert timed.read(json.dumps(sent).encode())[0] == [{**sent, "known_at": datetime(2026, 1, 31, 11, tzinfo=UTC)}]
    assert refusal({"id": 7, "fraud": 0}, timed) == (422, {"known_at": "is missing"})
    assert refusal({**sent, "fraud": None}, timed)[1].keys() == {"fraud"}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"is_fraud": 2}, "is_fraud", "0 or 1"),
        ({"is_fraud": None}, "is_fraud", "0 or 1"),
        ({"is_fraud": "1"}, "is_fraud", "0 or 1"),
        ({"transaction_id": "7"}, "transaction_id", "valid integer"),
        ({"is_frud": 1}, "is_frud", "not a field of a label; did you mean 'is_fraud'?"),
        ({"amount": 3}, "amount", "not a field of a label"),
    ],
)
def test_a_wrong_label_is_named(change: dict[str, Any], field: str, message: str) -> None:
    status, problems = refusal({**LABEL, **change}, LABELS)
    assert status == 422 and message in problems[field]
    assert message in refusal({"labels": [LABEL, {**LABEL, **change}]}, LABELS)[1][f"labels.1.{field}"]


def test_labels_have_a_shape_and_a_number_too() -> None:
    assert 'neither a label {...} nor a batch {"labels": [...]}' in refusal([], LABELS)[1][""]
    assert refusal({"labels": [LABEL] * 4}, LABELS)[0] == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "transactions", "x"]), inner),
    max_leaves=10,
)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from([*GOOD, "note"]), JSON)))
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        events, _ = SCHEMA.read(json.dumps(value).encode())
    except BadRequest as refused:
        assert refused.status in (400, 413, 422) and refused.problems
    else:
        assert all(event.keys() <= {*GOOD, "note"} for event in events)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        SCHEMA.read(body)


def test_a_large_batch_is_read_in_parts_as_a_small_one_is() -> None:
    schema = transaction_schema(DEFINITION, most=60_000)
    good = [{**GOOD, "transaction_id": number, "note": "n" * 60} for number in range(40_000)]
    body = orjson.dumps({"transactions": good})
    assert len(body) > 4 << 20
    rows, batch = schema.read(body)
    assert batch and [row["transaction_id"] for row in rows] == list(range(40_000))
    assert rows[:2] == schema.read(orjson.dumps({"transactions": good[:2]}))[0]
    for place, change in ((31_234, {"amount": -1}), (39_999, {"amout": 1})):
        bad = [*good[:place], {**good[place], **change}, *good[place + 1 :]]
        with pytest.raises(BadRequest) as refused:
            schema.read(orjson.dumps({"transactions": bad}))
        assert (
            refused.value.status == 422
            and refused.value.problems[0].field == f"transactions.{place}.{next(iter(change))}"
        )
    with pytest.raises(BadRequest) as refused:
        schema.read(orjson.dumps({"transactions": good * 2}))
    assert refused.value.status == 413
    with pytest.raises(BadRequest) as refused:
        schema.read(body[:-1])
    assert refused.value.status == 400
