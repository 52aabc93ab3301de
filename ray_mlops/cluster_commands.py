"""`ray-mlops cluster`: several Ray nodes on this machine, to try out what a real cluster does."""

from typing import Annotated

import typer

app = typer.Typer(help="A cluster of several nodes on this machine.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def up(
    workers: Annotated[int, typer.Option(min=0, help="how many nodes beside the head")] = 3,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs of each; default: its share of the cores, and one")
    ] = None,
) -> None:
    """Start the nodes; ports, folder and token are their own, other Ray clusters are not touched."""
    from ray_mlops.clusters import local

    made = local.up(workers, cpus=cpus)
    typer.echo(
        f"{workers} workers and a head are up. Jobs: ray-mlops submit RECIPE --address {made['dashboard']} --root /…"
    )
    typer.echo("Commands run there, in this shell, after:")
    for name, value in {"RAY_ADDRESS": made["address"], **local.credentials(made)}.items():
        typer.echo(f"  export {name}={value}")


@app.command()
def status() -> None:
    """List the nodes."""
    from ray_mlops import console
    from ray_mlops.clusters import local
    from ray_mlops.errors import RayMlopsError

    made = local.record()
    if made is None:
        typer.echo("no cluster: `ray-mlops cluster up` starts one")
        return
    try:
        found = local.nodes(made)
    except OSError as error:
        raise RayMlopsError(f"the cluster does not answer at {made['dashboard']}: `ray-mlops cluster down`") from error
    rows = [
        (
            node["node_id"][:8],
            "head" if node["is_head_node"] else "worker",
            f"{node['resources_total'].get('CPU', 0):g}",
            f"{node['resources_total'].get('GPU', 0):g}",
        )
        for node in found
    ]
    console.print_table(("node", "role", "CPUs", "GPUs"), sorted(rows, key=lambda row: row[1:]))


@app.command()
def down() -> None:
    """End the cluster, by the ids of its own processes."""
    from ray_mlops.clusters import local

    ended = local.down()
    typer.echo(f"the cluster is down ({ended} processes ended)" if ended else "there is no cluster")
