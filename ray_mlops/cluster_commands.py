"""`ray-mlops cluster`: several Ray nodes on this machine, to try out what a real cluster does; and a node that has to go."""

from typing import Annotated, Literal

import typer

app = typer.Typer(help="A cluster of several nodes on this machine.", no_args_is_help=True, rich_markup_mode=None)
Address = Annotated[str, typer.Option(envvar="RAY_ADDRESS", help="the cluster: host:port of its head")]
Node = Annotated[str, typer.Option(help="id of the node; default: the worker on this machine")]


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


@app.command()
def notices(
    address: Address,
    cloud: Annotated[Literal["ec2", "gce"], typer.Option(help="whose metadata service tells of it")] = "ec2",
    node: Node = "",
) -> None:
    """Wait until the cloud takes this machine back (a spot notice), and drain its node: fits on it save themselves."""
    from ray_mlops.clusters import notices

    notices.watch(cloud, address, node=node, say=typer.echo)


@app.command()
def drain(
    address: Address,
    seconds: Annotated[int, typer.Option(min=1, help="how long it has left")] = 100,
    node: Node = "",
) -> None:
    """Drain the node of this machine, and wait until nothing runs there or its time is over (a pod's `preStop`)."""
    import time

    from ray_mlops.clusters import draining

    deadline = time.time() + seconds
    node = draining.drain(address, deadline, "it is being stopped", node=node)
    ended = draining.wait(address, node, deadline)
    typer.echo(f"node {node} {'has ended' if ended else f'is still at work after {seconds} s'}")
