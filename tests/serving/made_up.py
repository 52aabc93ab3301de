"""Requests made up from an application's own OpenAPI document, and what its answers must have in common."""

import hypothesis
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def ask(document: BaseSchema, mode: GenerationMode, *, examples: int = 25, seed: int | None = None) -> dict[str, int]:
    """Send every operation legal requests or illegal ones, others with another seed; how many bodies each route that takes
    one has got.

    Fails on the first answer that is not as documented.
    """
    bodies = {}
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.body:
            bodies[operation.path] = 0
        elif mode is GenerationMode.NEGATIVE and not operation.query:
            continue  # nothing can be wrong there

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            derandomize=seed is None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            if case.operation.path in bodies and case.media_type:
                bodies[case.operation.path] += 1
            case.call_and_validate(checks=CHECKS)

        (answers if seed is None else hypothesis.seed(seed)(answers))()
    return bodies
