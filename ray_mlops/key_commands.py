"""`ray-mlops keys`: who may ask the endpoints of a run root."""

from datetime import UTC, datetime
from typing import Annotated

import typer

NAME = Annotated[str, typer.Argument(help="the key's name, or its id")]
ROOT = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]

app = typer.Typer(help="API keys of the endpoints of a run root.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="who or what will hold it")],
    scope: Annotated[list[str], typer.Option(help="score, label or admin (repeatable)")] = ["score"],  # noqa: B006
    days: Annotated[float | None, typer.Option(min=0, help="valid for so long; default: until revoked")] = None,
    rate: Annotated[float | None, typer.Option(help="requests a second that each replica takes; default: any")] = None,
    root: ROOT = "mlops",
) -> None:
    """Make a key and print it, this once. Endpoints of the root ask for keys from the first one on."""
    from ray_mlops.serving.access import keys

    _print(keys.create(root, name, scope, days=days, rate=rate)[1])


@app.command("list")
def list_(root: ROOT = "mlops") -> None:
    """List the keys; what opens an endpoint is not among it."""
    from ray_mlops import console
    from ray_mlops.serving.access import keys

    now = datetime.now(UTC)
    rows = [
        (
            key.name,
            key.id,
            " ".join(key.scopes),
            key.state(now),
            f"{key.expires:%Y-%m-%d %H:%M}" if key.expires else "",
            f"{key.rate:g}" if key.rate else "",
        )
        for key in keys.read(keys.key_file(root))
    ]
    if rows:
        console.print_table(("name", "id", "scopes", "state", "expires (UTC)", "requests/s"), rows)
    else:
        print("no keys: endpoints answer everybody on this machine. `ray-mlops keys create NAME` makes one")


@app.command()
def rotate(
    key: NAME,
    overlap_hours: Annotated[float, typer.Option(min=0, help="how long the old one stays valid")] = 24.0,
    root: ROOT = "mlops",
) -> None:
    """Make a key like an old one, which stays valid for a while, and print it, this once."""
    from ray_mlops.serving.access import keys

    _print(keys.rotate(root, key, overlap_hours=overlap_hours)[1])


@app.command()
def revoke(key: NAME, root: ROOT = "mlops") -> None:
    """End a key now: by name all of that name, by id one. Replicas notice within seconds."""
    from ray_mlops.serving.access import keys

    for ended in keys.revoke(root, key):
        print(f"key {ended.name} ({ended.id}) is revoked")


def _print(text: str) -> None:
    print(text)
    typer.echo("It is shown this once; send it as `Authorization: Bearer ...` or `X-API-Key: ...`.", err=True)
