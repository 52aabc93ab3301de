"""LitServe with one worker: `python peer_litserve.py PORT`."""

import sys
from typing import Any

import litserve
from asked import Model, Question


class Fraud(litserve.LitAPI):
    """Its three steps."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        self.model = Model()

    def decode_request(self, request: Question) -> Any:  # pyright: ignore[reportInvalidTypeForm]
        """The checked body."""
        return request

    def predict(self, question: Any) -> dict[str, Any]:
        """One score."""
        return self.model.answer(question)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Fraud(api_path="/score"), accelerator="cpu", workers_per_device=1, timeout=30)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
