"""Commands for what is there already: `ray-mlops verify`, `delete` and `gc`."""

from typing import Annotated

import typer

from ray_mlops.stage_names import StageName

ROOT = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]
_CODES = {"bitwise equal": 0, "statistically equal": 3, "different": 4, "not made": 4}

app = typer.Typer(rich_markup_mode=None)


@app.command()
def verify(
    run: Annotated[str, typer.Argument(help="the id of a run, as `ray-mlops runs` lists it", metavar="RUN")],
    stage: Annotated[list[str], typer.Option(help="only this stage (repeatable)")] = [],  # noqa: B006  typer reads it
    keep: Annotated[bool, typer.Option("--keep", help="keep what was made again")] = False,
    root: ROOT = "mlops",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show Ray's logs")] = False,
) -> int:
    """Run the stages of a run again beside it, and say whether the same comes out: 0 bitwise, 3 statistically, 4 not."""
    from ray_mlops import commands
    from ray_mlops.reproduction import telling, verification

    stages: tuple[StageName, ...] = tuple(commands.stage_named(name) for name in stage)
    findings = verification.verify(root, run, stages, keep=keep, verbose=verbose, finished=telling.tell)
    telling.conclude(findings)
    return _CODES[verification.verdict(findings)]


@app.command()
def delete(
    what: Annotated[str, typer.Argument(help="a registered version, NAME/version, or the id of a run")],
    root: ROOT = "mlops",
) -> None:
    """Delete a version or a run; a version that has an alias or that something answers with stays."""
    from ray_mlops import commands

    commands.delete(root, what)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be freed")] = False,
    older_than: Annotated[str, typer.Option(help="leave alone what was written since: 0s, 90m, 12h")] = "24h",
    root: ROOT = "mlops",
) -> None:
    """Free what no run, version, endpoint, rollout or snapshot in use refers to, and what killed commands have left."""
    from ray_mlops.garbage import telling

    telling.collect(root, older_than, dry_run=dry_run)
