"""A recipe run on samples of its rows, in a folder of its own that goes away, and what is told of it."""

from collections.abc import Iterator, Sequence

from ray_mlops import console, pipeline, recipes
from ray_mlops.clusters import checkup, submitting
from ray_mlops.contract import Run
from ray_mlops.errors import ConfigError, RayMlopsError
from ray_mlops.pipeline import AnyConfig
from ray_mlops.planning.estimate import Estimate, Sampled, estimates
from ray_mlops.platform import files, runtime, store
from ray_mlops.reproduction.verification import scratch
from ray_mlops.stage_names import STAGES, StageName

LAST: StageName = "evaluate"  # what comes after takes seconds, whatever the rows


def plan(
    recipe: str, root: str, assignments: Sequence[str], *, share: float, price: float = 0.0, verbose: bool = False
) -> None:
    """Run the recipe on `share` of its rows and on twice as many, and print what all would take, and cost at `price` a core and
    hour.

    Raises `ConfigError` at once when what it asks for will never be there, `RayMlopsError` when the sample is too small.
    """
    if not 0 < share <= 0.5:
        raise ConfigError(f"--share {share:g}: a share between 0 and 0.5, as twice as many rows are run as well")
    config, name = recipes.load(recipe, assignments)
    runtime.connect(verbose=verbose)
    _check_room(config)
    with scratch(files.absolute(root), f"plan-{name.rpartition('/')[2]}") as (place, tracking):
        run = Run(place, "plan", name, config.seed, tracking_uri=tracking, override="an estimate")
        # The first also loads libraries and starts workers, so it is not counted.
        # The nodes are counted while they are there: those that an autoscaler starts come with the first, and go when idle.
        runs = [
            (_sampled(config, run, part, verbose=verbose), checkup.cores()) for part in (share / 2, share, 2 * share)
        ]
    samples, cores = [sampled for sampled, _ in runs[1:]], round(max(count for _, count in runs))
    print(*told(list(estimates(*samples)), *samples, cores=cores, price=price), sep="\n")


def _check_room(config: AnyConfig) -> None:
    """Raise `ConfigError` when the cluster will never have what the recipe asks for."""
    for finding in checkup.resources(submitting.demands(config)):
        if not finding["ok"]:
            raise ConfigError(f"{finding['found']}: {finding['todo']}")


def _sampled(config: AnyConfig, run: Run, share: float, *, verbose: bool) -> Sampled:
    print(f"\n{share:.2%} of the rows", flush=True)
    ingest = config.ingest.model_copy(update={"sample": share})
    lines = console.StageLines(verbose=verbose)
    try:
        records = pipeline.execute(
            config.model_copy(update={"ingest": ingest}),
            run,
            last=LAST,
            started=lines.started,
            finished=lines.finished,
            verbose=verbose,
        )
    except RayMlopsError as error:
        raise RayMlopsError(
            f"with {share:.2%} of the rows: {error}. Where those are too few, take more: --share"
        ) from error
    finally:
        lines.close()
    return Sampled(
        share, _rows(records), {record.stage: record.seconds for record in records if record.stage in STAGES}
    )  # type: ignore[misc]


def _rows(records: Sequence[store.Record]) -> int:
    return next(getattr(record.artifact, "rows", 0) for record in records if record.stage == "ingest")


def told(found: Sequence[Estimate], small: Sampled, large: Sampled, *, cores: int, price: float) -> Iterator[str]:
    """The lines of the table; with no `cores` the nodes that worked are gone, and what they cost is not known."""
    rows = round(large.rows / large.share)
    yield ""
    yield f"{'stage':<9} {small.rows:>12,} rows {large.rows:>12,} rows {'about ' + format(rows, ','):>19} rows {'at most':>10}"
    for one in found:
        yield f"{one.stage:<9} {_time(one.small):>17} {_time(one.large):>17} {_time(one.about):>24} {_time(one.most):>10}"
    about, most = sum(one.about for one in found), sum(one.most for one in found)
    sums = sum(one.small for one in found), sum(one.large for one in found)
    yield f"{'all':<9} {_time(sums[0]):>17} {_time(sums[1]):>17} {_time(about):>24} {_time(most):>10}"
    if price and not cores:
        yield "cost: unknown, as no node with processors was seen; the times above are those of whatever nodes worked"
    elif price:
        costs = [seconds / 3600 * cores * price for seconds in (about, most)]
        yield f"cost: about {costs[0]:,.2f}, at most {costs[1]:,.2f}, at {price:g} a core and hour on {cores} cores"
    where = f"on this cluster's {cores} cores" if cores else "on this cluster"
    yield (
        f"{where}; register and deploy take seconds more. `at most` has all work grow with the rows, "
        "which a search with a budget does not."
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
