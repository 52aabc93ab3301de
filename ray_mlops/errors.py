"""The exception tree. Each message says what was wrong, where, and what to do next.

    RayMlopsError
    ├── ConfigError (ValueError)        a recipe, field or name that does not exist or does not validate
    ├── DataError (ValueError)          the data cannot be read or breaks its declared schema
    ├── DecisionError (RuntimeError)    a model was asked for although `decide` did not say `use_ml`
    ├── GateError (RuntimeError)        a model misses a gate and is not registered
    ├── RegistryError (LookupError)     an unknown model, version or alias
    ├── StorageError (OSError)          the run root or object store refuses to read or write
    ├── SkewError (RuntimeError)        the online path does not give the features of the batch path
    ├── EndpointError (RuntimeError)    an endpoint cannot be started or reached
    ├── TokenError (RuntimeError)       a cluster does not accept the token
    └── TrainingError (RuntimeError)    a trial or training run failed

Every class takes one positional message and nothing else, so that it survives pickling on its way from a Ray worker.
"""


class RayMlopsError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(RayMlopsError, ValueError):
    """A recipe, a field or a name on the command line is unknown or invalid."""


class DataError(RayMlopsError, ValueError):
    """Data cannot be read, or breaks the schema declared for it."""


class DecisionError(RayMlopsError, RuntimeError):
    """Training was asked for although the decision is not `use_ml` and no override was given."""


class GateError(RayMlopsError, RuntimeError):
    """A candidate model misses a gate of the recipe."""


class RegistryError(RayMlopsError, LookupError):
    """A model, version or alias is not in the registry."""


class StorageError(RayMlopsError, OSError):
    """The run root cannot be read or written."""


class SkewError(RayMlopsError, RuntimeError):
    """Features computed online are not those of the batch path."""


class EndpointError(RayMlopsError, RuntimeError):
    """An endpoint cannot be started, reached or stopped."""


class TokenError(RayMlopsError, RuntimeError):
    """A cluster does not accept the token that it was shown, or was shown none."""


class TrainingError(RayMlopsError, RuntimeError):
    """A trial or a training run failed."""
