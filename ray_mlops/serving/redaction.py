"""What no log may hold: keys, passwords in addresses, card numbers."""

import logging
import re
from typing import Any

from ray_mlops.serving.access.keys import TOKEN

# A payment card's number, by itself or in groups, that is not part of a longer word or of a decimal.
_CARD = re.compile(r"(?<![0-9A-Za-z.])[0-9](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
_KEY = re.compile(TOKEN.pattern.replace("(", "(?:"))
_CREDENTIAL = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|(x-api-key)['\":=\s,b]+[^\s'\",;)}\]]+")
_PASSWORD = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")


def redact(text: str) -> str:
    """The text with what must not be in a log masked; of a card number the last four digits stay."""
    text = _KEY.sub("rmk_***", text)
    text = _CREDENTIAL.sub(lambda found: f"{found[1] or found[2]} ***", text)
    return _CARD.sub(_masked, _PASSWORD.sub("***", text))


def install() -> None:
    """Have every log record of this process redacted, whichever library makes it: its message and its traceback."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacting(*args: Any, **named: Any) -> logging.LogRecord:
        record = make(*args, **named)
        try:
            record.msg, record.args = redact(record.getMessage()), ()
        except (TypeError, ValueError):  # a message that does not fit its arguments is reported by its handler
            return record
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return record

    redacting.redacts = True  # pyright: ignore[reportFunctionMemberAccess]
    logging.setLogRecordFactory(redacting)


def _masked(found: re.Match[str]) -> str:
    digits = re.sub("[ -]", "", found[0])
    return f"{'*' * (len(digits) - 4)}{digits[-4:]}" if _is_card(digits) else found[0]


def _is_card(digits: str) -> bool:
    """Whether the check digit (Luhn) is right."""
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(each - 9 * (each > 9) for each in doubled)) % 10 == 0
