"""What `make demo` runs: the fraud lifecycle on the embedded data, then one transaction to the live endpoint."""

import json
import os
import sys

import httpx

from ray_mlops import runs
from ray_mlops.cli import main
from ray_mlops.platform import runtime


def demo(arguments: list[str]) -> int:
    """Run the lifecycle, send one transaction, show the reply; returns the exit code."""
    if code := main(["run", "fraud", *arguments]):
        return code
    newest = runs.known(os.environ.get("RAY_MLOPS_ROOT", runs.DEFAULT_ROOT))[0]
    endpoint = next(stage["artifact"] for stage in newest["stages"] if stage["stage"] == "deploy")
    example = httpx.get(f"{endpoint['url']}/model", timeout=10).json()["example"]
    reply = httpx.post(f"{endpoint['url']}/score", json=example, timeout=10)
    print(
        f"\n$ curl -X POST {endpoint['url']}/score -H 'content-type: application/json' \\\n    -d '{json.dumps(example)}'"
    )
    print(json.dumps(reply.json(), indent=2))
    print("\nThe endpoint stays up: `.venv/bin/ray-mlops undeploy fraud` takes it down.")
    return 0 if reply.status_code == 200 else 1


if __name__ == "__main__":
    runtime.leave(demo(sys.argv[1:]))
