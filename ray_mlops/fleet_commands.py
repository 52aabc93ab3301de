"""Commands of clusters: `ray-mlops export`."""

from typing import Annotated

import typer

MODEL = Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME/version", metavar="MODEL")]
ROOT = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]
SET = Annotated[list[str], typer.Option("--set", "-s", help="change a field (repeatable)")]

app = typer.Typer(rich_markup_mode=None)


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="serve (Ray Serve's config), kuberay (a RayService) or compose")],
    model: MODEL,
    image: Annotated[str, typer.Option(help="the image of the nodes, best with its digest")] = "",
    out: Annotated[str, typer.Option(help="the file to write; default: the terminal")] = "",
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006  typer reads the default, nobody changes it
) -> None:
    """Write the manifest that brings exactly this version's digest to another cluster."""
    from ray_mlops.clusters import exporting
    from ray_mlops.platform import files

    manifest = exporting.export(root, target, model, assignments, image=image)
    if not out:
        typer.echo(manifest, nl=False)
        return
    files.write_text(files.absolute(out), manifest)
    typer.echo(f"{out} written")
