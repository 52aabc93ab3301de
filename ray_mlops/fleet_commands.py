"""Commands around clusters: `ray-mlops export`, `lineage`, `submit`, `plan` and `doctor`."""

from typing import Annotated

import typer

MODEL = Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME/version", metavar="MODEL")]
RECIPE = Annotated[str, typer.Argument(help="fraud, vision, path/to/recipe.py[:function], or the config.yaml of a run")]
ROOT = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]
SET = Annotated[list[str], typer.Option("--set", "-s", help="change a field (repeatable)")]
ADDRESS = Annotated[str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="the dashboard: http(s)://host:8265")]
INCLUDE = Annotated[list[str], typer.Option(help="a file or folder to take along (repeatable)")]

app = typer.Typer(rich_markup_mode=None)


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="serve (Ray Serve's config), kuberay (a RayService) or compose")],
    model: MODEL,
    image: Annotated[str, typer.Option(help="the image of the nodes, best with its digest")] = "",
    out: Annotated[str, typer.Option(help="the file to write; default: the terminal")] = "",
    url: Annotated[
        str, typer.Option(help="where it will answer: https://host/NAME; recorded in the root, for `watch`")
    ] = "",
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006  typer reads the default, nobody changes it
) -> None:
    """Write the manifest that brings exactly this version's digest to another cluster."""
    from ray_mlops.clusters import exporting
    from ray_mlops.platform import files

    manifest = exporting.export(root, target, model, assignments, image=image)
    if url:
        exporting.remember(root, model, assignments, url)
    if not out:
        typer.echo(manifest, nl=False)
        return
    files.write_text(files.absolute(out), manifest)
    typer.echo(f"{out} written")


@app.command()
def lineage(model: MODEL, root: ROOT = "mlops") -> None:
    """Print what a version was made from, and what was done to it since."""
    from ray_mlops import commands

    commands.lineage(root, model)


@app.command()
def submit(
    recipe: RECIPE,
    address: ADDRESS = "http://127.0.0.1:8265",
    first: Annotated[str, typer.Option("--from", help="run again from this stage on")] = "ingest",
    last: Annotated[str, typer.Option("--to", help="stop after this stage")] = "monitor",
    include: INCLUDE = [],  # noqa: B006
    install: Annotated[bool, typer.Option("--install", help="install the pinned libraries for the job")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="watch the recipe's endpoint instead, as `watch` does")
    ] = False,
    override: Annotated[str, typer.Option(help="train although the decision is not use_ml")] = "",
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006
) -> int:
    """Run a recipe as a job on a cluster and follow it; its exit code is the job's, Ctrl-C stops it."""
    from ray_mlops.clusters import submitting

    words = ["watch"] if watch else ["run", "--from", first, "--to", last]
    words += ["--override", override] if override else []
    return submitting.submit(recipe, address, words, assignments, include=include, root=root, install=install)


@app.command()
def plan(
    recipe: RECIPE = "fraud",
    share: Annotated[float, typer.Option(help="of the rows; twice as many are run as well")] = 0.01,
    price: Annotated[float, typer.Option(help="of a core and hour, in any currency")] = 0.0,
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show Ray's logs")] = False,
) -> None:
    """Estimate time and cost of a recipe on this cluster from runs on small shares of its rows."""
    from ray_mlops.planning import trial

    trial.plan(recipe, root, assignments, share=share, price=price, verbose=verbose)


@app.command()
def doctor(
    recipe: RECIPE = "fraud",
    address: Annotated[str, typer.Option(help="the dashboard of the cluster; default: the one that commands use")] = "",
    include: INCLUDE = [],  # noqa: B006
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006
) -> int:
    """Look for what would go wrong with a recipe on a cluster, and say what to do."""
    from ray_mlops.clusters import doctor as doctors

    return doctors.report(doctors.examine(recipe, assignments, address=address, root=root, include=include))
