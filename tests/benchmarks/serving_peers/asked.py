"""The question and the model that a run of the benchmark is about."""

import os

if os.environ.get("BENCHMARK_KIND") == "picture":
    from picture import Model, Question
else:
    from transaction import Model
    from transaction import Transaction as Question

__all__ = ["Model", "Question"]
