"""Any field of a config can be changed by its path; a wrong path names the nearest legal one."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from ray_mlops.contract import Frozen
from ray_mlops.errors import ConfigError
from ray_mlops.overrides import override, read_back


class Small(Frozen):
    kind: Literal["small"] = "small"
    size: int = Field(default=1, ge=0)


class Large(Frozen):
    kind: Literal["large"] = "large"
    height: float = 2.0


class Root(Frozen):
    trials: int = 8
    rate: float = 0.1
    names: tuple[str, ...] = ("a",)
    part: Annotated[Small | Large, Field(discriminator="kind")] = Small()
    parts: tuple[Small, ...] = (Small(), Small(size=2))
    limits: Mapping[str, float] = {"ap": 0.5}
    function: Callable[[int], int] | None = None


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("trials=4", ("trials",), 4),
        ("rate=1e-3", ("rate",), 0.001),
        ("names=[x, y]", ("names",), ("x", "y")),
        ("part.size=7", ("part", "size"), 7),
        ("part={kind: large, height: 3}", ("part", "height"), 3.0),
        ("parts.1.size=9", ("parts", 1, "size"), 9),
        ("limits.auc=0.7", ("limits",), {"ap": 0.5, "auc": 0.7}),
        ("limits={auc: 0.7}", ("limits",), {"auc": 0.7}),
    ],
)
def test_a_field_is_changed_by_its_path(assignment: str, path: tuple, value: object) -> None:
    found: Any = override(Root(), [assignment])
    for name in path:
        found = found[name] if isinstance(name, int) or isinstance(found, dict) else getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("trails=4", "Did you mean 'trials'"),
        ("part.sise=4", "part has no field 'sise'.*Did you mean 'size'"),
        ("part.size=-1", "part.size: Input should be greater than or equal to 0"),
        ("trials=many", "trials: Input should be a valid integer"),
        ("parts.5.size=1", "parts has 2 entries"),
        ("trials", "not an assignment"),
    ],
)
def test_a_wrong_assignment_says_what_is_wrong(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(Root(), [assignment])


def test_a_dumped_config_reads_back_and_keeps_what_cannot_be_written_down() -> None:
    config = Root(trials=3, part=Large(height=5), function=abs, limits={})
    dumped = config.model_dump(mode="python", exclude={"function"})
    again = read_back(Root(function=abs), {**dumped, "function": "abs@1234", "parts": list(dumped["parts"])})
    assert again == config


@pytest.mark.parametrize("text", ["%x", "[1, 2", "a\0b", "@x", "{a: b", "[" * 5000])
def test_what_is_no_yaml_is_said_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="is no YAML") as refused:
        override(Root(), [f"part.size={text}"])
    assert "\n" not in str(refused.value)
