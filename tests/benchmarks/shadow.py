"""What a rollout costs those who ask: `PYTHONPATH=. python tests/benchmarks/shadow.py [--rate 100] [--rounds 6] [--seconds 15]`.

An endpoint with one replica, online features, reasons off and capture on is asked at a steady rate from another process, in
turn with its champion alone, with a challenger in its shadow, and with a canary of 10 %. Then a challenger is taken back
twenty times under the same load. Prints a table and, last, one JSON line: latencies in milliseconds, rollbacks in seconds.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ray_mlops.algorithms.boosting import XGBoost
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.platform import runtime
from ray_mlops.platform.admission import RegisterConfig
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.rollouts import replicas as replicas_of
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.replicas import Replicas
from ray_mlops.stages import deploy, register
from ray_mlops.stages.deploy import DeployConfig
from tests.small_model import example, study, transactions

THREADS = 8
WARM_S = 3.0
MODES = ("alone", "shadow", "canary")


def client(url: str, rate: float, seconds: float, first: int) -> None:
    """Ask at a steady rate; what was due and not asked in time waits in the latency. Prints the latencies in milliseconds."""
    place, sent, began = urlsplit(url), example(transactions()), time.perf_counter() + 0.1
    latencies: list[float] = []
    errors: list[str] = []

    def ask(thread: int) -> None:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        random = np.random.default_rng(thread)
        for number in range(thread, int(rate * seconds), THREADS):
            body = {**sent, "transaction_id": first + number, "amount": float(random.gamma(2.0, 25.0))}
            content, due = json.dumps(body), began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("POST", f"{place.path}/score?reasons=0", content, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            latencies.append(1000 * (time.perf_counter() - due))
            if answer.status != 200 or b'"degraded"' in text:
                errors.append(text.decode())

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"latencies": latencies, "errors": errors}))


class Bench:
    """The endpoint, and the two versions."""

    def __init__(self, root: Path, rate: float) -> None:
        self._rate, self._first = rate, 1_000_000
        self.versions = [self._registered(root, rounds) for rounds in (100, 110)]
        config = DeployConfig(port=runtime.free_port(22000, 22999), scale=Scale(max_replicas=1), parity_rows=0)
        self.url = deploy.run(config, self._run(root), version=self.versions[0]).url
        self.replicas = Replicas(replicas_of.known(str(root), "shop"), str(root))
        self._step = 0

    def _run(self, root: Path) -> Run:
        return Run(root=str(root), id="r1", recipe="small", uri=str(root / "artifact"), fingerprint="print")

    def _registered(self, root: Path, rounds: int) -> ModelVersion:
        made = study(root / str(rounds), XGBoost(rounds=rounds, max_depth=6))
        return register.run(RegisterConfig(name="shop"), self._run(root), **made)

    def turn(self, mode: str) -> float:
        """Have the endpoint answer in a mode; the seconds it took."""
        self._step += 1
        named = {"bundle": (new := self.versions[1]).uri, "digest": new.digest, "version": new.version}
        share = 0.1 if mode == "canary" else 0.0
        fields = {} if mode == "alone" else {**named, "mode": mode, "share": share}
        began = time.perf_counter()
        self.replicas.turn(Setting.model_validate({"rollout": f"r{mode}", "step": self._step, **fields}))
        return time.perf_counter() - began

    def ask(self, seconds: float) -> dict[str, Any]:
        """The latencies and errors of some seconds."""
        process = self.asking(seconds)
        found = json.loads(process.communicate()[0])
        return found

    def asking(self, seconds: float) -> subprocess.Popen[str]:
        """A client in a process of its own."""
        self._first += 1_000_000
        arguments = [
            "--client",
            self.url,
            "--rate",
            str(self._rate),
            "--seconds",
            str(seconds),
            "--first",
            str(self._first),
        ]
        return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, Any]:
    """Latencies by mode; the modes come in turn, so that what else happens on the machine strikes all alike."""
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    errors, compared, dropped = 0, 0, 0
    bench.ask(WARM_S)
    for number in range(rounds):
        for mode in MODES[number % 3 :] + MODES[: number % 3]:
            bench.turn(mode)
            bench.ask(WARM_S)
            answers = bench.ask(seconds)
            found[mode] += answers["latencies"]
            errors += len(answers["errors"])
            if mode == "shadow" and (tally := bench.replicas.status()[0].tally):
                compared, dropped = compared + tally.pairs.count, dropped + tally.dropped
    quantiles = {
        mode: {f"p{q:g}_ms": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)}
        for mode, values in found.items()
    }
    return {
        **quantiles,
        "requests_per_mode": len(found["alone"]),
        "errors": errors,
        "compared": compared,
        "dropped": dropped,
    }


def taken_back(bench: Bench, times: int = 20) -> dict[str, Any]:
    """How long it takes until all replicas have taken a challenger back, under load."""
    process, took = bench.asking(3.0 * times), []
    for _ in range(times):
        bench.turn("canary")
        took.append(bench.turn("alone"))
    errors = json.loads(process.communicate()[0])["errors"]
    return {"median_s": round(float(np.median(took)), 3), "worst_s": round(max(took), 3), "errors": len(errors)}


def main(arguments: Sequence[str]) -> None:
    """Measure, or be the client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--client", default="")
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.client:
        client(given.client, given.rate, given.seconds, given.first)
        return
    with tempfile.TemporaryDirectory(prefix="shadow-") as folder:
        os.environ["RAY_MLOPS_HOME"] = f"{folder}/home"
        os.environ.pop("RAY_ADDRESS", None)
        runtime.connect()
        try:
            bench = Bench(Path(folder), given.rate)
            found = {**measure(bench, given.rounds, given.seconds), "rollback": taken_back(bench)}
            deploy.undeploy("shop")
        finally:
            runtime.disconnect()
            runtime.stop()
    for mode in MODES:
        print(f"{mode:<8} " + "  ".join(f"{name} {value:8.2f}" for name, value in found[mode].items()))
    cost = found["shadow"]["p99_ms"] / found["alone"]["p99_ms"] - 1
    print(f"a shadow costs {100 * cost:+.1f} % of the champion's p99; rollbacks {found['rollback']}")
    print(json.dumps({**found, "rate": given.rate, "shadow_p99_cost": round(cost, 4)}))


if __name__ == "__main__":
    main(sys.argv[1:])
