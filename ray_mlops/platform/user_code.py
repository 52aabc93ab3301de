"""Code of the user on its way to Ray's workers, which cannot import the file it lives in."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def by_value(value: Any) -> Iterator[None]:
    """While this lasts, the class of `value` travels with its code; our own classes are found on every worker."""
    module = sys.modules[type(value).__module__]
    if module.__name__.split(".")[0] == __name__.split(".")[0] or module.__name__ == "__main__":
        yield  # what is defined in the main script is pickled by value anyway
        return
    from ray import cloudpickle

    registered = module.__name__ in cloudpickle.list_registry_pickle_by_value()
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        if not registered:
            cloudpickle.unregister_pickle_by_value(module)
