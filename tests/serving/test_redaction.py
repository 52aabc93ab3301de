"""What no log may hold, through every way into one."""

import io
import json
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


@given(
    st.text(max_size=200)
    | st.text("0123456789 -+%*4x.\\n", max_size=200)
    | st.text("apikeytoken:=\"'\\ x,", max_size=60)
)
def test_nothing_it_has_seen_is_changed_again(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "part", ["4", "4 ", "41 ", "4111 1", "4-", "1%20", "api", "token=", "x-api-key: '", "://", "\\u00a0"]
)
def test_long_texts_take_no_time(part: str) -> None:
    assert redact(part * 200_000)


def with_check_digit(digits: str) -> str:
    """A card number that begins with some digits."""
    doubled = [2 * int(digit) for digit in digits[::-2]]
    total = sum(map(int, digits[-2::-2])) + sum(each - 9 * (each > 9) for each in doubled)
    return f"{digits}{-total % 10}"


BETWEEN = ["", "", "", " ", "-", "  ", " - ", "\t", "\u00a0", "\u202f", "\u2013", "+", "%20", "%2D"]
NUMBERS = st.text("0123456789", min_size=12, max_size=18).map(with_check_digit)
# What may stand around a number: other numbers too, such as a security code, a date or a count.
BEFORE = [
    "",
    "card ",
    "n=",
    "12 ",
    "2026-01-31 ",
    "0.5 ",
    "(",
    '"',
    "%22",
    "%3D",
    "\\n",
    "\\u00a0",
    "paid.",
    "000 1 ",
    "/",
    "é",
]
AFTER = ["", ".", " 123", " 12/27", "-7", ",12", ")", '"', "%22", "\\n", " 4111", " x", ":", "\n9"]


@st.composite
def written_cards(draw: st.DrawFn) -> tuple[str, str]:
    """A card number, and how somebody has written it."""
    digits = draw(NUMBERS)
    between = st.lists(st.sampled_from(BETWEEN), min_size=len(digits) - 1, max_size=len(digits) - 1)
    return digits, "".join(map("".join, zip(digits, [*draw(between), ""], strict=True)))


@given(written_cards(), st.sampled_from(BEFORE), st.sampled_from(AFTER))
def test_a_card_number_is_masked_however_it_is_written_and_whatever_is_beside_it(
    card: tuple[str, str], before: str, after: str
) -> None:
    digits, text = card
    for found in (
        redact(before + text + after),
        redact(json.dumps({"a": [{"b": before + text + after}]}, ensure_ascii=False)),
    ):
        assert digits[:-4] not in "".join(filter(str.isdigit, found)), found


NAMES = [
    "x-api-key", "X-Api-Key", "api_key", "apikey", "apiKey", "password", "db_password", "passwd", "pwd", "secret", "client_secret",
    "token", "access_token", "X-Amz-Security-Token", "aws_secret_access_key", "AccountKey", "private_key", "authorization",
    "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "credential", "cvv", "CVC2",
]  # fmt: skip
WRITTEN = [
    "{name}: {secret}", "{name}={secret}", "GET /score?{name}={secret}&x=1 HTTP/1.1", "?{name}%3D{secret}&x=1", '{{"{name}": "{secret}"}}',
    "{{'{name}': '{secret}', 'x': 1}}", "('{name}', '{secret}')", "(b'{name}', b'{secret}')", "Headers({{'{name}': '{secret}'}})",
    '{{"a": [{{"b": {{"{name}": "{secret} and more {secret}"}}}}]}}', '"{{\\"{name}\\": \\"{secret}\\"}}"', "{name} => {secret}",
    "ValueError: {name}='{secret}' is wrong", "x=1;{name}={secret};y=2", "{name}:\n  {secret}", "{name} = {secret}",
]  # fmt: skip
SECRETS = st.text("abcdefXYZ0123456789._~-/+=!$", min_size=8, max_size=40)


@given(st.sampled_from(NAMES), st.sampled_from(WRITTEN), SECRETS)
def test_what_is_named_as_a_secret_is_masked(name: str, written: str, secret: str) -> None:
    text = written.format(name=name, secret=secret)
    assert secret not in redact(text), redact(text)
    nested = json.dumps({"error": {"detail": text}})
    assert secret not in redact(nested), redact(nested)


@given(st.sampled_from(NAMES), SECRETS, written_cards())
def test_nothing_of_it_is_in_a_traceback(name: str, secret: str, card: tuple[str, str]) -> None:
    digits, text = card
    stream = io.StringIO()
    handler, before = logging.StreamHandler(stream), logging.getLogRecordFactory()
    log = logging.getLogger("traced")
    log.addHandler(handler)
    try:
        redaction.install()
        try:
            try:
                raise KeyError({name: secret})
            except KeyError as error:
                raise ValueError(f"{name}={secret}&card={text} is refused") from error
        except ValueError:
            log.exception("request %s failed: %r", {"headers": [(name, secret)]}, {"card": text})
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    found = stream.getvalue()
    assert "is refused" in found and secret not in found
    assert digits[:-4] not in "".join(filter(str.isdigit, found)), found


@pytest.mark.parametrize(
    "text",
    [
        "the request has 3 tokens, the key of it is shop", '{"key": "shop", "route": "/score", "status": 200, "ms": 1.25}',
        "4111 1111 1111 1112", "2026-01-31 12:00:00 1234", "took 12 34 56 ms", "passed: 12, failed: 0", "api at /docs", "author: me",
        "127.0.0.1:8000 - 200 OK", "1.4111111111111111", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_still_read(text: str) -> None:
    assert redact(text) == text


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
