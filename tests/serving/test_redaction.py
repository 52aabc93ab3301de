"""What no log may hold, through every way into one."""

import io
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_mlops.serving import redaction
from ray_mlops.serving.access import keys
from ray_mlops.serving.redaction import redact

CARDS = [
    "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005", "3782 822463 10005",
    "5555555555554444", "6011111111111117", "30569309025904", "4222222222222", "6304000000000000000",
]  # fmt: skip


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize(
    "around", ["{}", '{{"card": "{}"}}', "card={}&x=1", "/score/{}", "({})", "a\n{}\nb", "x: {}, y"]
)
def test_card_numbers_are_masked_but_for_four_digits(card: str, around: str) -> None:
    found, digits = redact(around.format(card)), "".join(filter(str.isdigit, card))
    assert digits[:-4] not in "".join(filter(str.isdigit, found)) and f"*{digits[-4:]}" in found


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # its check digit is wrong
        "2026-01-01T00:00:00.000000Z",
        "0.4111111111111111",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "a4111111111111111b",
        "411111111111",
        "x" * 1000,
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert redact(text) == text


def test_keys_headers_and_passwords_are_masked() -> None:
    _, key = keys.new("shop", ["score"])
    secret = key.split("_", 2)[2]
    for text in (
        key,
        f"Bearer {key}",
        f"'x-api-key': '{key}'",
        f"x-api-key={key[4:]}",
        f"(b'x-api-key', b'{key[4:]}')",
    ):
        assert secret not in redact(text), text
    for text in (
        "Authorization: Bearer abcdef123456",
        "authorization: basic YWxhZGRpbjpvcGVu",
        "x-api-key: hunter2hunter2",
    ):
        assert text.split()[-1] not in redact(text), text
    assert redact("redis://shop:hunter2@redis:6379/0 failed") == "redis://***@redis:6379/0 failed"


@given(st.text(max_size=200))
def test_nothing_it_has_seen_is_changed_again(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_long_rows_of_digits_take_no_time() -> None:
    assert len(redact("4 " * 500_000)) == 1_000_000


def test_every_logger_of_the_process_is_redacted_message_arguments_and_traceback() -> None:
    code = f"""if True:
        import logging
        from ray_mlops.serving import redaction
        logging.basicConfig(level="INFO")
        redaction.install()
        redaction.install()
        log = logging.getLogger("any.library")
        log.info("card %s of %r", {CARDS[0]!r}, {{"card": {CARDS[1]!r}}})
        log.warning("card {CARDS[2]}")
        try:
            int("{CARDS[3]}", 2)
        except ValueError:
            log.exception("request {CARDS[4]} failed")
        log.info("%d", "no number")
        log.info("whole")
    """
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr
    for card in CARDS:
        assert card not in found.replace(code, ""), found
    assert "invalid literal" in found and "whole" in found and "*1111" in found


def test_a_handler_of_its_own_gets_redacted_text_too() -> None:
    stream, handler = io.StringIO(), None
    before = logging.getLogRecordFactory()
    try:
        redaction.install()
        handler = logging.StreamHandler(stream)
        logging.getLogger("handled").addHandler(handler)
        logging.getLogger("handled").error("card %s", CARDS[0])
    finally:
        logging.setLogRecordFactory(before)
        if handler:
            logging.getLogger("handled").removeHandler(handler)
    assert stream.getvalue() == f"card {'*' * 12}1111\n"
