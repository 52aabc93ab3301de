"""`ray-mlops ci`: the steps of a pipeline, the same for every CI/CD system."""

from typing import Annotated

import typer

ROOT = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]
SET = Annotated[list[str], typer.Option("--set", "-s", help="change a field (repeatable)")]
CANDIDATE = Annotated[str, typer.Argument(help="the file that `ci train` has written")]

app = typer.Typer(help="The steps of a CI/CD pipeline.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="fraud, vision, path/to/recipe.py[:function]")],
    out: Annotated[str, typer.Option(help="the candidate's file")] = "candidate.json",
    address: Annotated[str, typer.Option(help="the dashboard of a cluster; default: train here")] = "",
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006  typer reads the default, nobody changes it
) -> int:
    """Train and register a candidate; fails where it misses a gate."""
    from ray_mlops import ci

    return ci.train(recipe, root, assignments, address=address, out=out)


@app.command()
def compare(
    candidate: CANDIDATE,
    out: Annotated[str, typer.Option(help="the Markdown file to write")] = "report.md",
    root: ROOT = "mlops",
) -> None:
    """Write the candidate beside the champion, as Markdown for a comment."""
    from ray_mlops import ci

    ci.compare(root, candidate, out=out)


@app.command()
def deploy(
    candidate: CANDIDATE,
    canary: Annotated[float, typer.Option(help="percent of requests for the candidate")] = 10.0,
    bake: Annotated[str, typer.Option(help="how long it is judged: 60s, 5m, 1h")] = "10m",
    judging: Annotated[list[str], typer.Option("--judge", help="change a limit (repeatable)")] = [],  # noqa: B006
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006
) -> None:
    """Bring exactly the candidate's digest beside the champion, judged; fails when it is rolled back."""
    from ray_mlops import ci, rollout_commands

    plan = rollout_commands.plan(canary, "", False, False, bake, "", judging)
    assert plan is not None, "a canary is a plan"
    ci.deploy(root, candidate, assignments, plan=plan)


@app.command()
def sbom(out: Annotated[str, typer.Option(help="the file to write")] = "sbom.json") -> None:
    """Write the bill of materials of this installation (CycloneDX)."""
    from ray_mlops import ci

    ci.sbom(out)
