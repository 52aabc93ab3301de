"""`ray-mlops doctor`: what would go wrong on a cluster, found before money is spent."""

from collections.abc import Sequence
from typing import Any

from ray_mlops import recipes
from ray_mlops.clusters import checkup, packing, pins, submitting
from ray_mlops.errors import ConfigError, RayMlopsError, TokenError
from ray_mlops.platform import files


def examine(
    recipe: str, assignments: Sequence[str], *, address: str, root: str, include: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The findings about a cluster and a recipe that is to run there; without an address about the one that commands
    use here. Each is `{"check", "ok", "found", "todo"}`."""
    config, _ = recipes.load(recipe, assignments)
    wanted = {"demands": submitting.demands(config), "root": files.absolute(root), "pins": pins.pinned()}
    if not address:
        return list(checkup.check(wanted))
    try:
        package = packing.pack(recipe, include)
    except ConfigError as error:
        return [checkup.finding("upload", False, str(error), "leave it out of what is taken along")]
    size = f"{package.files} files, {package.bytes / 1e6:.1f} MB"
    found = [checkup.finding("upload", True, size, "")]
    try:
        with submitting.client(address) as jobs:
            found.append(checkup.finding("token", True, f"{address} accepts it", ""))
            wanted["root"] = root
            return [*found, *submitting.run_checkup(jobs, package, wanted)]
    except TokenError as error:
        return [*found, checkup.finding("token", False, f"{address} does not accept it", str(error).partition(": ")[2])]
    except RayMlopsError as error:
        return [*found, checkup.finding("cluster", False, str(error), "mend this first, then ask again")]
    finally:
        package.discard()


def report(findings: Sequence[dict[str, Any]]) -> int:
    """Print the findings; 1 when something is to be mended."""
    for one in findings:
        print(f"{'ok' if one['ok'] else 'MEND':<5} {one['check']:<10} {one['found']}")
        if one["todo"]:
            print(f"{'':<16} → {one['todo']}")
    return 0 if all(one["ok"] for one in findings) else 1
