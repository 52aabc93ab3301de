"""`ray-mlops loadtest`: the rate that one replica of a model holds, and the size that another rate needs."""

import re
from typing import Annotated

import typer

from ray_mlops.errors import ConfigError

ROOT = Annotated[str, typer.Option(envvar="RAY_MLOPS_ROOT", help="run root: a folder or s3://bucket/prefix")]
SET = Annotated[list[str], typer.Option("--set", "-s", help="change a field of the deployment: -s scale.cpus=1")]

app = typer.Typer(rich_markup_mode=None)


@app.command("loadtest")
def loadtest(
    model: Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME/version; with --live the endpoint's name")],
    p99: Annotated[str, typer.Option(help="what 99 of 100 answers must keep to: 50ms, 0.2s")] = "50ms",
    rate: Annotated[float, typer.Option(min=0, help="requests a second to find a size for")] = 0.0,
    errors: Annotated[float, typer.Option(min=0, max=1, help="share of requests that may fail")] = 0.001,
    seconds: Annotated[float, typer.Option(min=0.1, help="how long each rate is kept up")] = 5.0,
    max_rate: Annotated[float, typer.Option(min=1, help="the highest rate that is tried")] = 20_000.0,
    requests: Annotated[str, typer.Option(help="send the rows of this file: Parquet, CSV or JSON lines")] = "",
    live: Annotated[bool, typer.Option("--live", help="ask the running endpoint of this name, as it is")] = False,
    key: Annotated[str, typer.Option(envvar="RAY_MLOPS_KEY", help="the API key to ask with")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print the record as the last line")] = False,
    root: ROOT = "mlops",
    assignments: SET = [],  # noqa: B006  typer reads the default, nobody changes it
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show Ray's logs")] = False,
) -> None:
    """Raise the load on one replica of a model until its answers are late, and find the size for a rate."""
    from ray_mlops import load_testing
    from ray_mlops.serving.load.ramp import Bounds

    bounds = Bounds(p99_ms=milliseconds(p99), error_share=errors, start=min(20.0, max_rate), most=max_rate)
    asking = load_testing.Asking(rate=rate, seconds=seconds, file=requests, key=key, as_json=as_json)
    opened = load_testing.live(root, model) if live else load_testing.twin(root, model, assignments, verbose=verbose)
    load_testing.run(root, opened, bounds, asking)


def milliseconds(text: str) -> float:
    """`50ms`, `0.2s` or a number of milliseconds, as milliseconds; raises `ConfigError` for any other text."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s)?\s*", text)
    if not found or not float(found[1]):
        raise ConfigError(f"--p99 is {text!r}: write 50ms or 0.2s")
    return float(found[1]) * (1000 if found[2] == "s" else 1)
