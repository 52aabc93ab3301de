"""What the options of `deploy` mean, and which of them make no sense."""

import pytest

from ray_mlops.cli import main
from ray_mlops.errors import ConfigError
from ray_mlops.serving.rollouts.plan import Judging, parse, seconds


def test_each_option_is_a_plan() -> None:
    judging = Judging()
    canary = parse(10, "", False, "60s", "", judging)
    assert canary and (canary.mode, canary.shares, canary.bake_s) == ("canary", (0.1,), 60)
    linear = parse(None, "10,25,50", False, "5m", "", judging)
    assert linear and (linear.mode, linear.shares, linear.bake_s) == ("linear", (0.1, 0.25, 0.5), 300)
    shadow = parse(None, "", True, "1h", "mine:measure", judging)
    assert shadow and (shadow.mode, shadow.shares, shadow.bake_s, shadow.metric) == (
        "shadow",
        (0,),
        3600,
        "mine:measure",
    )
    assert parse(None, "", False, "60s", "", judging) is None


def test_times_are_read() -> None:
    assert [seconds(text) for text in ("30", "1.5s", "2m", "1h")] == [30, 1.5, 120, 3600]


@pytest.mark.parametrize("text", ["", "0s", "soon", "-5s", "5d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="60s, 5m or 1h"):
        seconds(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--canary", "10", "--shadow"], "--canary and --shadow are different rollouts"),
        (["--canary", "0"], "above 0 to at most 90"),
        (["--canary", "100"], "above 0 to at most 90"),
        (["--linear", "50,10"], "percents rise"),
        (["--linear", "ten"], "write percents"),
        (["--shadow", "--bake", "x"], "write a time"),
        (["--shadow", "--metric", "nothing"], "name a callable as module:function"),
        (["--shadow", "--all-at-once"], "exclude each other"),
        (["--metric", "a:b"], "need a rollout"),
        (["--canary", "10", "--judge", "max_ps=1"], "Did you mean 'max_psi'"),
        (["--canary", "10", "--judge", "min_agreement=2"], "min_agreement"),
        (["--canary", "10"], "no model is called 'fraud'"),
    ],
)
def test_a_senseless_command_says_why(
    arguments: list[str], message: str, tmp_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "fraud", *arguments, "--root", str(tmp_path)]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_there_is_nothing_to_list_or_to_take_back(tmp_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", "fraud", "--root", str(tmp_path)]) == 0
    assert "no rollouts of fraud yet" in capsys.readouterr().out
    assert main(["rollback", "fraud", "--root", str(tmp_path)]) == 1
    assert "no endpoint 'fraud' was deployed" in capsys.readouterr().err
