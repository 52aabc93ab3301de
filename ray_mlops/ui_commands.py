"""`ray-mlops ui`: the console of a run root."""

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command("ui")
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8050,
    host: Annotated[
        str, typer.Option(help="another address than this machine's needs a key of scope admin")
    ] = "127.0.0.1",
    certificate: Annotated[str, typer.Option(help="PEM file, to speak TLS")] = "",
    private_key: Annotated[str, typer.Option(help="PEM file of its private key")] = "",
    mlflow: Annotated[str, typer.Option(help="address of the MLflow server to link to")] = "",
    ray_dashboard: Annotated[str, typer.Option(help="address of the Ray dashboard to link to")] = "",
    root: Annotated[
        str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")
    ] = "mlops",
) -> None:
    """Open the console: runs, models, endpoints, drift; approve, promote, reject, roll back."""
    from ray_mlops.serving.access.network import Network
    from ray_mlops.ui import serving

    network = Network(host=host, certificate=certificate, private_key=private_key)
    serving.serve(root, network, port, mlflow=mlflow, ray_dashboard=ray_dashboard)
