"""Texts that must be nobody's name, wherever one is taken from a caller."""

from pathlib import Path

HOSTILE = {
    "parent": "..",
    "out": "../x",
    "deep": "../../../../../../tmp/x",
    "absolute": "/etc/x",
    "folder": "a/b",
    "backslash": "..\\x",
    "encoded": "%2e%2e",
    "encoded twice": "%252e%252e%252fx",
    "NUL": "a\0b",
    "line": "a\nb",
    "long": "x" * 300,
    "very long": "x" * 5000,
    "look-alike": "fr\u0430ud",  # the third letter is Cyrillic
    "wide": "\uff46raud",
    "backwards": "a\u202eb",
    "device": "CON",
    "device with an ending": "nul.txt",
    "dash": "-rf",
    "empty": "",
    "dot": ".",
    "hidden": ".x",
    "ends in a dot": "x.",
    "space": "a b",
    "quote": "o'hara",
    "home": "~x",
    "variable": "$HOME",
    "wildcard": "*",
}


def tree(folder: Path) -> set[str]:
    """Every path below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
