"""Code of the user on its way to Ray's workers, which cannot import the file it lives in."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def by_value(*values: Any) -> Iterator[None]:
    """While this lasts, functions and the classes of objects travel with their code; ours are found on every worker."""
    with ExitStack() as stack:
        for name in {value.__module__ if inspect.isfunction(value) else type(value).__module__ for value in values}:
            if name.split(".")[0] != __name__.split(".")[0] and name != "__main__":
                stack.enter_context(_registered(sys.modules[name]))  # what is in the main script travels anyway
        yield


@contextmanager
def _registered(module: ModuleType) -> Iterator[None]:
    from ray import cloudpickle

    if module.__name__ in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
