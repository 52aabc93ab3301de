"""Our endpoint beside others, one after the other on this machine: `python tests/benchmarks/serving.py --environments DIR`.

The same XGBoost model, the same transaction with its 30 features, the same validation, and one process that scores: bare
FastAPI on uvicorn, LitServe, BentoML, MLServer, plain Ray Serve, `mlflow models serve`; then the same for a picture of 28
pixels and two layers in numpy. Each is asked by wrk (Debian
package `wrk`) over 1, 8 and 64 connections. First all must give the same scores. Ours does what it does by default besides:
keys, request log, capture log, deadline, limits. `--online` asks it at 200 requests a second with an entity store, `--hops`
measures what each layer of it costs. Prints a table and, last, one JSON line.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import serving_hops
import serving_model
import serving_pictures
import serving_servers
from serving_load import Load, Seen, memory_mb, processor_s, steady
from serving_servers import Server

from ray_mlops.fraud.predictor import Predictor
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.limits import Limits
from ray_mlops.vision.predictor import ImagePredictor

NAMES = ("ray_mlops", "fastapi", "litserve", "bentoml", "mlserver", "serve", "mlflow")
CHECKED = 20  # rows that all must score alike
WARM_S = 2.0
RATE = 200.0


class Rows:
    """Transactions with their features: what is asked, of which model, and what the right answer is."""

    kind = "transaction"
    limits = Limits(reasons=0)

    def __init__(self, folder: Path) -> None:
        self._table = serving_model.transactions()
        self.model = folder / "model"
        self.bundle = serving_model.make(self.model, serving_model.FEATURES_IN, self._table)
        serving_model.save_for_mlflow(self.model, self._table)

    def body(self, name: str, place: int = 0) -> bytes:
        """A transaction as a server wants it: MLflow takes the features only."""
        sent = serving_model.body(self._table, serving_model.FEATURES_IN, place)
        if name != "mlflow":
            return sent
        row = {key: value for key, value in json.loads(sent).items() if key in serving_model.NAMES}
        return json.dumps({"dataframe_records": [row]}).encode()

    def check(self, name: str, answers: Sequence[Any]) -> None:
        """Raises AssertionError where the answers to the first rows are not those of the model."""
        scores = [one["predictions"][0] if name == "mlflow" else one["score"] for one in answers]
        table, count = self._table, len(answers)
        rows = np.array([[table[column][n].as_py() for column in serving_model.NAMES] for n in range(count)])
        expected = Predictor.load(self.bundle).score(rows.astype(np.float32)).score
        np.testing.assert_allclose(scores, expected, rtol=1e-6, err_msg=name)


class Pictures:
    """The same of pictures of 28 pixels, PNG in base64."""

    kind = "picture"
    limits = ImageLimits(top=1)

    def __init__(self, folder: Path) -> None:
        self._pictures = serving_pictures.pictures(CHECKED, seed=1)[0]
        self.model = folder / "pictures"
        self.bundle = serving_pictures.make(self.model)
        serving_pictures.save_for_mlflow(self.model, serving_servers.PEERS)

    def body(self, name: str, place: int = 0) -> bytes:
        sent = serving_pictures.body(self._pictures[place])
        return json.dumps({"dataframe_records": [json.loads(sent)]}).encode() if name == "mlflow" else sent

    def check(self, name: str, answers: Sequence[Any]) -> None:
        told = [one["predictions"][0] if name == "mlflow" else one for one in answers]
        expected = ImagePredictor.load(self.bundle).probabilities(self._pictures)
        assert [one["class"] for one in told] == [str(place) for place in expected.argmax(axis=1)], name
        np.testing.assert_allclose([one["probability"] for one in told], expected.max(axis=1), rtol=1e-5, err_msg=name)


class Bench:
    """The servers, asked for one kind of thing."""

    def __init__(self, folder: Path, environments: Path, seconds: float, asked: Rows | Pictures) -> None:
        self._folder, self._environments, self._seconds, self._asked = folder, environments, seconds, asked

    def server(self, name: str) -> AbstractContextManager[Server]:
        asked, folder = self._asked, self._folder
        if name == "ray_mlops":
            root = folder / f"home-{asked.kind}"
            return serving_servers.ours(folder / asked.kind, asked.bundle, root=root, limits=asked.limits)
        return serving_servers.peer(name, self._environments, asked.model, asked.kind, asked.body(name))

    def measure(self, name: str, concurrency: Sequence[int]) -> Iterator[tuple[int, Seen, float, float]]:
        """What callers saw at each concurrency, and of the server its memory then in MB, and its processor time a request in
        microseconds, which other load on the machine changes least."""
        with self.server(name) as server:
            self._check(name, server)
            load = Load(self._folder, server.url, self._asked.body(name))
            load.run(8, WARM_S)
            for most in concurrency:
                since, used = time.perf_counter(), processor_s(server.pid)
                seen = load.run(most, self._seconds)
                used, took = processor_s(server.pid) - used, time.perf_counter() - since
                yield most, seen, memory_mb(server.pid), 1e6 * used / (seen.requests_per_s * took)

    def _check(self, name: str, server: Server) -> None:
        parts = urlsplit(server.url)
        bodies = [self._asked.body(name, place) for place in range(CHECKED)]
        self._asked.check(name, [serving_servers.ask(parts.netloc, parts.path, body)[1] for body in bodies])


def side_by_side(bench: Bench, names: Sequence[str], concurrency: Sequence[int]) -> dict[str, Any]:
    """Requests a second and p99 of each server, by concurrency; prints a line each."""
    print(
        f"{'server':10} {'callers':>7} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'errors':>6} {'MB':>6} {'CPU us':>7}"
    )
    found: dict[str, dict[str, dict[str, float]]] = {
        kind: {str(most): {} for most in concurrency}
        for kind in ("requests_per_s", "p99_ms", "errors", "memory_mb", "cpu_us")
    }
    for name in names:
        for most, seen, memory, used in bench.measure(name, concurrency):
            told = f"{seen.requests_per_s:10.0f} {seen.p50_ms:8.2f} {seen.p99_ms:8.2f} {seen.errors:6d} {memory:6.0f}"
            print(f"{name:10} {most:7d} {told} {used:7.0f}", flush=True)
            values = (seen.requests_per_s, seen.p99_ms, seen.errors, memory, used)
            for kind, value in zip(found, values, strict=True):
                found[kind][str(most)][name] = round(value, 2)
    return found


def online(folder: Path, seconds: float) -> dict[str, Any]:
    """Our endpoint with an entity store (SQLite) and the capture log on, at a steady rate."""
    table = serving_model.transactions(seed=1)
    bundle = serving_model.make(folder / "online", serving_model.ONLINE, table)
    count = round(RATE * seconds)
    bodies = [serving_model.body(table, serving_model.ONLINE, place) for place in range(count)]
    with serving_servers.ours(folder / "online", bundle, root=folder / "online-home") as server:
        steady(server.url, bodies[: round(RATE * WARM_S)], RATE)
        seen = steady(server.url, bodies[round(RATE * WARM_S) :], RATE)
    print(f"online features and capture at {RATE:g}/s: p50 {seen.p50_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms, "
          f"{seen.errors} errors")  # fmt: skip
    return seen.record()


def one_row(bundle: Bundle, count: int = 5000) -> dict[str, float]:
    """Milliseconds that the model takes for one row: compiled, and by the library on one thread and on its default."""
    predictor = Predictor.load(bundle)
    row = np.random.default_rng(0).normal(size=(1, len(serving_model.NAMES))).astype(np.float32)
    booster: Any = getattr(predictor.model, "booster")  # noqa: B009 - the model is XGBoost's
    found = {"compiled": _milliseconds(lambda: predictor.model.predict(row), count)}
    found["library"] = _milliseconds(lambda: booster.inplace_predict(row), count // 10)
    booster.set_param({"nthread": 1})
    found["library_one_thread"] = _milliseconds(lambda: booster.inplace_predict(row), count // 10)
    print("one row of the model, ms: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    return found


def _milliseconds(work: Callable[[], Any], count: int) -> float:
    work()
    since = time.perf_counter()
    for _ in range(count):
        work()
    return 1000 * (time.perf_counter() - since) / count


def _stopped(*_: Any) -> None:
    """Ends the servers, also where who stops this process says so twice, as `timeout` does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' environments, kept")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--kinds", nargs="+", choices=("rows", "pictures"), default=["rows", "pictures"])
    parser.add_argument("--online", action="store_true")
    parser.add_argument("--hops", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, _stopped)
    serving_servers.prepare(args.environments, args.only)
    with tempfile.TemporaryDirectory(prefix="serving-") as made:
        folder = Path(made)
        found: dict[str, Any] = {}
        if "rows" in args.kinds:
            rows = Rows(folder)
            found["one_row_ms"] = one_row(rows.bundle)
            if args.hops:
                found["hops_us"] = serving_hops.measure(rows.bundle, rows.body("ray_mlops"), folder)
            bench = Bench(folder, args.environments, args.seconds, rows)
            found |= side_by_side(bench, args.only, args.concurrency)
        if "pictures" in args.kinds:
            bench = Bench(folder, args.environments, args.seconds, Pictures(folder))
            found["pictures"] = side_by_side(bench, args.only, args.concurrency)
        if args.online:
            found["online"] = online(folder, args.seconds * 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
