"""What no log may hold: keys, passwords, tokens, card numbers. In doubt something else is masked as well."""

import logging
import re
from typing import Any

from ray_mlops.serving.access.keys import TOKEN

# A text with none of these holds no secret; to look for them costs a tenth of what the expressions do.
_SIGNS = (
    "api", "auth", "pass", "token", "secret", "access", "private", "cookie", "pwd", "cvv", "cvc", "bearer", "basic", "credential",
    "account", "encryption",
)  # fmt: skip
_KEY = re.compile(TOKEN.pattern.replace("(", "(?:"))
_SCHEME = re.compile(r"(?i)\b(bearer|basic)(?:\s|%20|\+)+[A-Za-z0-9._~+/=-]{8,}")
_PASSWORD = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
# A name that says that a secret follows, and that: in quotes (escaped ones too, where a text holds JSON) or up to a sign that
# ends a value. Of headers it is the rest of the line.
_NAMED = re.compile(
    r"""(?ix)
    (?P<name>
        (?:api|access|secret|private|account|encryption)[-_]?key | passw(?:or)?d | passphrase | pwd | secret | token
      | credentials? | cvv2? | cvc2? | (?P<header> authorization | cookie )
    )
    (?P<between> \\*['"]? (?:\s|\\[nrt])*+ (?: [:=]+>? | , | %3[ad] ) (?:\s|\\[nrt])*+ b? )
    (?: (?P<quote>\\*['"]) (?: (?!(?P=quote)) . )*+
      | (?(header) [^\r\n'"]++ | [^\s&,;()\[\]{}'"]++ )
    )""",
    re.DOTALL,
)
# Digits in groups, as card numbers are written: not within a word or a decimal, unless what is before is an escaped sign.
_BETWEEN = r"(?:[ \t\u00a0\u2007\u2009\u202f\u2010-\u2015_+-]|%20|%2[bBdD]|\\(?:t|xa0|u(?:00a0|20[0-9a-f]{2}))){1,3}"
_DIGITS = re.compile(
    r"[0-9](?:(?<=%[0-9A-Fa-f]{2}.)|(?<=\\[a-z].)|(?<=\\x[0-9a-f]{2}.)|(?<=\\u[0-9a-f]{4}.)|(?<![0-9A-Za-z*%].)(?<![0-9]\..))"
    rf"(?=(?:(?:{_BETWEEN})?[0-9]){{12}})[0-9]*+(?:{_BETWEEN}[0-9]++)*+(?![0-9A-Za-z])"
)
_GROUP = re.compile(rf"{_BETWEEN}|[0-9]+")
_LEAST, _MOST = 13, 19  # digits of a card number
_MOST_DIGITS = 400  # a longer row is masked whole: to look for cards at each of its places would take long
_MASK = str.maketrans("0123456789", "*" * 10)
_DOUBLED = str.maketrans("0123456789", "0246813579")


def redact(text: str) -> str:
    """The text with what must not be in a log masked; of a card number the last four digits stay."""
    folded = text.lower()
    if any(sign in folded for sign in _SIGNS):
        text = _NAMED.sub(_named, _SCHEME.sub(r"\1 ***", text))
    if "rmk_" in text:
        text = _KEY.sub("rmk_***", text)
    if "://" in text:
        text = _PASSWORD.sub("***", text)
    return _DIGITS.sub(_masked, text)


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


def _named(found: re.Match[str]) -> str:
    return f"{found['name']}{found['between']}{found['quote'] or ''}***"


def _masked(found: re.Match[str]) -> str:
    """A row of groups with those masked that make a card number together."""
    parts = _GROUP.findall(found[0])
    groups = [place for place, part in enumerate(parts) if part[0] in "0123456789"]
    if sum(len(parts[place]) for place in groups) > _MOST_DIGITS:
        return found[0].translate(_MASK)
    start = 0
    while start < len(groups):
        end = _card_end(parts, groups, start)
        if end:
            first, last = groups[start], groups[end - 1]
            digits = "".join(parts[place] for place in groups[start:end])
            parts[first : last + 1] = [f"{'*' * (len(digits) - 4)}{digits[-4:]}", *[""] * (last - first)]
        start = end or start + 1
    return "".join(parts)


def _card_end(parts: list[str], groups: list[int], start: int) -> int:
    """Behind which group a card number ends that begins with the group `start`; 0 when none does."""
    digits = ""
    for place in range(start, len(groups)):
        digits += parts[groups[place]]
        if len(digits) > _MOST:
            return 0
        if len(digits) >= _LEAST and _is_card(digits):
            return place + 1
    return 0


def _is_card(digits: str) -> bool:
    """Whether the check digit (Luhn) is right."""
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(map(int, digits[-1::-2])) + sum(map(int, doubled))) % 10 == 0
