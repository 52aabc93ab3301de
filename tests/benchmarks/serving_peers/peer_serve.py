"""Ray Serve as its guide shows it, with its defaults: FastAPI in one replica; `python peer_serve.py PORT`."""

import signal
import sys
from typing import Any

import ray
from asked import Model, Question
from fastapi import FastAPI
from ray import serve

app = FastAPI()


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.2})
@serve.ingress(app)
class Fraud:
    """The deployment."""

    def __init__(self) -> None:
        self.model = Model()

    @app.post("/score")
    async def score(self, question: Question) -> dict[str, Any]:  # pyright: ignore[reportInvalidTypeForm]
        """One score."""
        return self.model.answer(question)


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Fraud.bind(), logging_config={"log_level": "ERROR", "enable_access_log": False})
    signal.sigwait({signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()
