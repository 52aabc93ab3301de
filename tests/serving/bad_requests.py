"""Requests that must be refused, and with what."""

from typing import Any

# What is changed in a good transaction, the field that is named, and what is said of it.
FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"amount": None}, "amount", "valid number"),
    ({"amount": "12"}, "amount", "valid number"),
    ({"amount": -1}, "amount", "greater than or equal to 0"),
    ({"amount": 1e9}, "amount", "less than or equal to 100000"),
    ({"transaction_id": 2**70}, "transaction_id", "less than or equal"),
    ({"transaction_id": 1.5}, "transaction_id", "valid integer"),
    ({"customer_id": "c1"}, "customer_id", "valid integer"),
    ({"channel": "fax"}, "channel", "'chip' or 'online'"),
    ({"time": "soon"}, "time", "ISO 8601"),
    ({"time": "9999-12-31T23:59:59-12:00"}, "time", "outside the years"),
    ({"terminal_id": ["t1"]}, "terminal_id", "valid string"),
    ({"amonut": 1}, "amonut", "did you mean 'amount'"),
    ({"is_fraud": 1}, "is_fraud", "not a field"),
]
NOT_JSON = [b"", b"{", b"amount=3", b"\xff\xfe\x00", b"\x00" * 100]
TOO_DEEP = [b"[" * 50_000, b'{"a":' * 9_000]
NOT_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999"]
SHAPES: list[Any] = [None, 3, "x", [], [{"amount": 1}], {}, {"transactions": {}}, {"transactions": []}]
KINDS = [
    ({"content-type": "text/csv"}, "content-type"),
    ({"content-type": "application/x-www-form-urlencoded"}, "content-type"),
    ({"content-type": "application/jsonx"}, "content-type"),
    ({"content-type": ""}, "content-type"),
    ({"content-type": "application/json", "content-encoding": "gzip"}, "content-encoding"),
]
REASONS = ["-1", "21", "three", "", "1.0", "%ff", "1e1"]
METHODS = ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
PATHS = ["/", "/nothing", "/score/1", "/static-offline-docs/..%2f..%2fcore.py", "/%2e%2e/%2e%2e/etc/passwd"]

HEAD = "POST /small/score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
# Bytes that no HTTP library would send, and the status that comes back.
RAW = {
    "a body that never comes": (HEAD + "content-length: 500\r\n\r\n{", 408),
    "a length beyond the limit": (HEAD + "content-length: 99999999\r\n\r\n" + 100_000 * "{", 413),
    "a length beyond the limit, and no body": (HEAD + "content-length: 99999999\r\n\r\n{", 408),
    "a length in words": (HEAD + "content-length: many\r\n\r\n{", 400),
    "a length below zero": (HEAD + "content-length: -5\r\n\r\n{", 400),
    "a broken chunk": (HEAD + "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400),
    "no body": (HEAD + "content-length: 0\r\n\r\n", 400),
    "no HTTP": ("\x00\x01\x02\r\n\r\n", 400),
    "HTTP of the future": ("POST /small/score HTTP/9.9\r\n\r\n", 400),
}
