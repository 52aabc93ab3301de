"""Callers that keep asking an endpoint over real HTTP, and what became of it."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np


class Callers:
    """Some threads, each with a connection of its own. `failed` has every answer that is not 200 and not the model's."""

    def __init__(self, url: str, example: Mapping[str, Any], first: int, threads: int) -> None:
        self._url, self._example, self._ids = url, example, itertools.count(first)
        self._stop = threading.Event()
        self.failed: list[str] = []
        self.variants: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.wait(0.02):
                sent = {**self._example, "transaction_id": next(self._ids), "amount": float(random.gamma(2.0, 25.0))}
                try:
                    answer = client.post("/score?reasons=0", json=sent)
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                    continue
                if answer.status_code != 200 or "degraded" in answer.json():
                    self.failed.append(answer.text)
                    continue
                self.variants[answer.json()["variant"]] += 1
                self.versions[answer.json()["version"]] += 1


@contextmanager
def under_load(url: str, example: Mapping[str, Any], first: int, threads: int = 4) -> Iterator[Callers]:
    """Callers, while the block runs."""
    callers = Callers(url, example, first, threads)
    callers.start()
    try:
        yield callers
    finally:
        callers.stop()
