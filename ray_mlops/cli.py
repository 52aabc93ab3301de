"""The command line, a thin door: parse, then import.

Nothing heavy is imported until a command runs, so `ray-mlops --help` answers at once.
"""

import signal
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer._click.exceptions import ClickException  # typer carries click inside since 0.26 and does not export this

from ray_mlops import (
    ci_commands,
    cluster_commands,
    fleet_commands,
    key_commands,
    load_commands,
    ui_commands,
    upkeep_commands,
    watch_commands,
)
from ray_mlops.errors import RayMlopsError
from ray_mlops.stage_names import STAGES, StageName

app = typer.Typer(
    name="ray-mlops",
    help="The machine-learning lifecycle on Ray: raw data to a monitored endpoint with one command.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich alone costs more than half of the time that `--help` has
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(ci_commands.app, name="ci")
app.add_typer(cluster_commands.app, name="cluster")
app.add_typer(key_commands.app, name="keys")
for _commands in (load_commands, fleet_commands, ui_commands, upkeep_commands, watch_commands):
    app.add_typer(_commands.app)

Recipe = Annotated[str, typer.Argument(help="fraud, vision, path/to/recipe.py[:function], or the config.yaml of a run")]
Model = Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME/version", metavar="MODEL")]
Root = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]
Set = Annotated[list[str], typer.Option("--set", "-s", help="change a field: -s tune.trials=4 (repeatable)")]
Override = Annotated[str, typer.Option(help="train although the decision is not use_ml; the reason is recorded")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="show Ray's logs")]
ROOT = "mlops"
_STOPPED = 130


@app.command()
def run(
    recipe: Recipe,
    first: Annotated[str, typer.Option("--from", help="run again from this stage on")] = "ingest",
    last: Annotated[str, typer.Option("--to", help="stop after this stage")] = "monitor",
    root: Root = ROOT,
    assignments: Set = [],  # noqa: B006  typer reads the default, nobody changes it
    override: Override = "",
    verbose: Verbose = False,
) -> None:
    """Run the lifecycle of a recipe; unchanged stages are skipped."""
    from ray_mlops import commands

    span = commands.stage_named(first), commands.stage_named(last)
    commands.lifecycle(recipe, root, assignments, span=span, override=override, verbose=verbose)


def _stage_command(stage: StageName) -> Callable[..., None]:
    def command(
        recipe: Recipe,
        root: Root = ROOT,
        assignments: Set = [],  # noqa: B006
        override: Override = "",
        verbose: Verbose = False,
    ) -> None:
        run(recipe, "ingest", stage, root, assignments, override, verbose)

    command.__doc__ = f"Run the lifecycle up to `{stage}`."
    return command


for _name in STAGES:
    if _name != "deploy":  # `deploy` takes a registered model, below
        app.command(_name, rich_help_panel="Stages")(_stage_command(_name))


@app.command()
def config(recipe: Recipe, assignments: Set = []) -> None:  # noqa: B006
    """Print the resolved config of a recipe as YAML."""
    from ray_mlops import recipes, runs

    resolved, name = recipes.load(recipe, assignments)
    typer.echo(runs.dump(resolved, name))


@app.command()
def runs(root: Root = ROOT) -> None:
    """List the runs in the run root, newest first."""
    from ray_mlops import console, runs

    console.print_runs(runs.known(root))


@app.command()
def models(root: Root = ROOT) -> None:
    """List the registered models with aliases and approval."""
    from ray_mlops import commands

    commands.models(root)


@app.command()
def card(
    model: Model,
    out: Annotated[str, typer.Option(help="write it to this file, .html or .md, instead of printing it")] = "",
    root: Root = ROOT,
) -> None:
    """Print the model card of a registered version (by default the champion)."""
    from ray_mlops import commands

    commands.card(root, model, out)


@app.command()
def promote(
    model: Model, reason: Annotated[str, typer.Option(help="recorded with the change")] = "", root: Root = ROOT
) -> None:
    """Make a version the champion."""
    from ray_mlops import commands

    commands.promote(root, model, reason)


@app.command()
def reject(
    model: Model, reason: Annotated[str, typer.Option(help="recorded with the change")] = "", root: Root = ROOT
) -> None:
    """Reject a version; the previous approved one takes over."""
    from ray_mlops import commands

    commands.reject(root, model, reason)


@app.command()
def deploy(
    model: Model,
    canary: Annotated[float | None, typer.Option(help="percent of requests for the new version, then promote")] = None,
    linear: Annotated[str, typer.Option(help="rising percents, such as 10,25,50, then promote")] = "",
    shadow: Annotated[bool, typer.Option("--shadow", help="score copies of requests only, then promote")] = False,
    all_at_once: Annotated[bool, typer.Option("--all-at-once", help="no rollout (the default)")] = False,
    bake: Annotated[str, typer.Option(help="how long each step is judged: 60s, 5m, 1h")] = "60s",
    metric: Annotated[str, typer.Option(help="a measure of your own, module:callable")] = "",
    judging: Annotated[
        list[str], typer.Option("--judge", help="change a limit: --judge max_psi=0.1 (repeatable)")
    ] = [],  # noqa: B006
    root: Root = ROOT,
    assignments: Set = [],  # noqa: B006
    verbose: Verbose = False,
) -> None:
    """Deploy a registered model: all at once (the champion by default), or beside the champion and judged (the challenger)."""
    from ray_mlops import commands, rollout_commands

    plan = rollout_commands.plan(canary, linear, shadow, all_at_once, bake, metric, judging)
    if plan is None:
        commands.deploy(root, model, assignments, verbose=verbose)
    else:
        rollout_commands.deploy(root, model, assignments, plan=plan, verbose=verbose)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="the endpoint's name")],
    reason: Annotated[str, typer.Option(help="recorded with the rollback")] = "",
    root: Root = ROOT,
) -> None:
    """End the rollout of an endpoint, or bring back the version that the last one replaced."""
    from ray_mlops import rollout_commands

    rollout_commands.rollback(root, name, reason)


@app.command()
def rollouts(
    name: Annotated[str, typer.Argument(help="the endpoint's name")],
    rollout: Annotated[str, typer.Argument(help="show the events and checks of this one")] = "",
    root: Root = ROOT,
) -> None:
    """List the rollouts of an endpoint, newest first."""
    from ray_mlops import rollout_commands

    rollout_commands.rollouts(root, name, rollout)


@app.command("deploy-many")
def deploy_many(
    name: Annotated[str, typer.Argument(help="the endpoint's name")],
    models: Annotated[list[str], typer.Argument(help="NAME, NAME@alias or NAME/version of each", metavar="MODEL...")],
    root: Root = ROOT,
    assignments: Set = [],  # noqa: B006
    verbose: Verbose = False,
) -> None:
    """Deploy several registered models as one endpoint, which holds some of them at a time."""
    from ray_mlops import many_models

    many_models.deploy_many(root, name, models, assignments, verbose=verbose)


@app.command()
def undeploy(name: Annotated[str, typer.Argument(help="the endpoint's name")], root: Root = ROOT) -> None:
    """Take an endpoint down, and the idle local cluster with it."""
    from ray_mlops import commands

    commands.undeploy(root, name)


@app.command()
def score(
    file: Annotated[str, typer.Argument(help="transactions or images: a file, for images also a folder")],
    model: Annotated[str, typer.Option(help="NAME, NAME@alias or NAME/version")] = "fraud",
    out: Annotated[str, typer.Option(help="the Parquet file to write")] = "scores.parquet",
    reasons: Annotated[int, typer.Option(min=0, help="add so many reasons in words to each transaction")] = 0,
    root: Root = ROOT,
    verbose: Verbose = False,
) -> None:
    """Score a file with a registered model, in parallel, to Parquet."""
    from ray_mlops import commands

    commands.score(root, model, file, out, reasons=reasons, verbose=verbose)


@app.command()
def parity(
    recipe: Recipe,
    rows: Annotated[int, typer.Option(min=0, help="how many of the last rows; 0: all")] = 10_000,
    store: Annotated[str, typer.Option(help="sqlite, memory or the URL of a Redis server")] = "sqlite",
    root: Root = ROOT,
    assignments: Set = [],  # noqa: B006
    verbose: Verbose = False,
) -> None:
    """Prove that features are the same online and in batch: replay rows of the clean table as requests."""
    from ray_mlops import commands

    commands.parity(recipe, root, assignments, rows=rows, store=store, verbose=verbose)


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0 done, 1 what the user can mend, 2 wrong usage, 130 stopped."""
    from ray_mlops import console

    try:
        with console.stoppable():
            command: Any = typer.main.get_command(app)
            code = command.main(args=arguments, prog_name="ray-mlops", standalone_mode=False)
        if code == _STOPPED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return code or 0  # that of a job, or none
    except ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, SystemExit, typer.Abort):  # SystemExit is what Ray Train makes of Ctrl-C
        return _stopped()
    except RayMlopsError as error:
        console.complain(str(error))
        return 1


def _stopped() -> int:
    from ray_mlops import console

    console.complain("stopped. What is finished is kept: the same command goes on from there.")
    return _STOPPED


def entry(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with its code: what the `ray-mlops` script and a job do."""
    from ray_mlops.platform import runtime

    try:
        code = main(arguments)
        # The command is over: Ctrl-C while the interpreter closes must not turn its code into that of a killed process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        code = _stopped()
    except Exception:  # noqa: BLE001 - a defect of ours; the cluster is left all the same
        traceback.print_exc()
        code = 1
    runtime.leave(code)


if __name__ == "__main__":
    entry()
