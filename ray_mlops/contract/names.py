"""What may be the name of what people name: one rule, for whoever takes a name from a caller.

Names become parts of paths, of URLs and of commands, on any system. So they are of ASCII letters (no others, which may look
like them), digits and a few signs, begin with a letter or a digit (a dash would be an option, a dot a way to other folders),
do not end in a dot, and are no device of Windows. What is only ever written into JSON needs no such rule.
"""

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from ray_mlops.errors import ConfigError

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
_LONGEST_SHOWN = 64


class Kind(NamedTuple):
    """The names of a kind of things: `signs` may stand in them beside letters and digits, a dash as the last
    of them, up to `most` characters."""

    what: str
    signs: str
    most: int

    def allows(self, text: str) -> bool:
        """Whether it may be one."""
        return re.fullmatch(self.pattern, text) is not None and _DEVICES.isdisjoint(text.lower().split("."))

    def check(self, text: str) -> str:
        """The text, when it may be one; raises `ConfigError` else."""
        if not self.allows(text):
            raise ConfigError(self.refusal(text))
        return text

    def optional(self, text: str) -> str:
        """The text, when it may be one or is empty; raises `ConfigError` else."""
        return text and self.check(text)

    def refusal(self, text: str) -> str:
        """Why it is none."""
        shown = f"{text[:_LONGEST_SHOWN]!a}{'…' * (len(text) > _LONGEST_SHOWN)}"
        return f"{shown} cannot name {self.what}: it {self.rule}"

    @property
    def pattern(self) -> str:
        """The regular expression of all names, devices included."""
        inside = f"A-Za-z0-9{self.signs}"  # a dash among the signs is their last
        return f"^[A-Za-z0-9]([{inside}]{{0,{self.most - 2}}}[{inside.replace('.', '')}])?$"

    @property
    def rule(self) -> str:
        """What is asked of a name, in words."""
        return (
            f"should be at most {self.most} letters, digits and {' '.join(self.signs)}, the first a letter or a digit"
            f"{', the last no dot' * ('.' in self.signs)}, and no device of Windows (such as con, nul, lpt1)"
        )


ENDPOINT = Kind("an endpoint", "_-", 63)
MODEL = Kind("a model", "_.-", 100)
RECIPE = Kind("a recipe", "_.-", 63)
TABLE = Kind("a table", "_.", 127)
KEY = Kind("a key", "_.-", 63)
REQUEST = Kind("a request", "_.:-", 128)
ROLLOUT = Kind("a rollout", "_-", 63)
RUN = Kind("a run", "_.-", 100)

EndpointName = Annotated[str, AfterValidator(ENDPOINT.optional)]
ModelName = Annotated[str, AfterValidator(MODEL.check)]
RecipeName = Annotated[str, AfterValidator(RECIPE.check)]
TableName = Annotated[str, AfterValidator(TABLE.check)]
KeyName = Annotated[str, AfterValidator(KEY.check)]
RequestId = Annotated[str, AfterValidator(REQUEST.check)]
