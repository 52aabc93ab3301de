"""`ray-mlops watch`: the loop that looks at an endpoint, explains its alarms and, where allowed, acts."""

import json
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command("watch")
def watch(
    recipe: Annotated[
        str, typer.Argument(help="fraud, vision, path/to/recipe.py[:function], or the config.yaml of a run")
    ],
    every: Annotated[str, typer.Option(help="time between two looks: 60s, 5m, 1h (default: watch.every_s)")] = "",
    once: Annotated[bool, typer.Option("--once", help="look once and leave, as a schedule wants it")] = False,
    act: Annotated[
        list[str], typer.Option(help="what may be done without asking: retrain, rollback (repeatable)")
    ] = [],  # noqa: B006  typer reads the default, nobody changes it
    crontab: Annotated[
        bool, typer.Option("--crontab", help="print the line that has cron look, for `crontab -e`, and leave")
    ] = False,
    root: Annotated[
        str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")
    ] = "mlops",
    assignments: Annotated[
        list[str], typer.Option("--set", "-s", help="change a field: -s watch.cooldown_s=3600 (repeatable)")
    ] = [],  # noqa: B006
    override: Annotated[str, typer.Option(help="retrain although the decision is not use_ml; is recorded")] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show Ray's logs")] = False,
) -> int:
    """Watch the endpoint of a recipe: explain alarms, and retrain or roll back where that is allowed."""
    from ray_mlops import crontab as cron
    from ray_mlops import watch as loop
    from ray_mlops.serving.rollouts import plan

    chosen = [*assignments]
    if every:
        chosen.append(f"watch.every_s={plan.seconds(every, '--every')}")
    if act:
        chosen.append(f"watch.act={json.dumps(act)}")
    if crontab:
        print(cron.line(recipe, root, chosen, override=override))
        return 0
    return loop.run(recipe, root, chosen, once=once, override=override, verbose=verbose)
