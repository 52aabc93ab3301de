"""Deploy: prove that the online path gives the features of the batch path, fill the entity store with recent history,
start the replicas on a pinned bundle, and ask them one question."""

import uuid
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field, field_validator

from ray_mlops.contract import Endpoint, Frozen, ModelVersion, Run, Table
from ray_mlops.contract.names import ENDPOINT, EndpointName
from ray_mlops.errors import SkewError, StorageError
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online import CaptureLog, catch_up, fill, open_store
from ray_mlops.online.backfill import recent
from ray_mlops.online.opening import kind_of
from ray_mlops.platform import files
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving import gate, probe, watching
from ray_mlops.serving.access import opening
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.capture import Capturing
from ray_mlops.serving.endpoint import Scale, undeploy
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.probe import is_live
from ray_mlops.serving.replica import Settings
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.watching import Watching

__all__ = ["DeployConfig", "is_live", "live_endpoint", "run", "undeploy"]


class DeployConfig(Frozen):
    """Where and how large.

    `name` is the endpoint's (default: the model's); `store` the URL of the entity store (default: SQLite beside the
    endpoint's log, where a new version with the same windows goes on from the same state); `ready_s` is how long
    replicas may take to start. Before they do, `parity_rows` rows of the history go through the online path and must
    give what the batch path gave; 0 deploys without this proof, and the endpoint's record says so.
    """

    name: EndpointName = ""
    port: int = Field(default=8000, ge=1, le=65535)
    store: str = ""
    network: Network = Network()
    ready_s: float = Field(default=120.0, gt=0)
    parity_rows: int = Field(default=2000, ge=0)
    limits: Limits = Limits()
    scale: Scale = Scale()
    capturing: Capturing = Capturing()
    watching: Watching = Watching()
    asynchronous: Asynchronous = Asynchronous()

    @field_validator("store")
    @classmethod
    def _shared(cls, url: str) -> str:
        if url and kind_of(url) == "memory":
            raise ValueError("the memory of one replica is no store for an endpoint; use sqlite:///… or redis://…")
        return url


def run(config: DeployConfig, run: Run, *, version: ModelVersion) -> Endpoint:
    """Put a version behind `http://<host>:<port>/<name>`; an endpoint of that name rolls over without a gap.

    Raises `StorageError` when the bundle is damaged or there is nothing to prove it with, `SkewError` when a feature is not the same online and in batch and
    `EndpointError` when the endpoint cannot start or answer; what was deployed before lives on.
    """
    access, key = opening.access(run.root, config.network)
    bundle = Bundle.load(version.uri, digest=version.digest)
    definition = FeatureDefinition.model_validate(bundle.json("definition.json"))
    settings = _settings(config, run, version).model_copy(update={"access": access})
    log = CaptureLog(settings.capture)
    history = _history(version.uri, definition)
    compared = _prove(config, definition, history, settings, run)
    with endpoints.opening(config.port, config.network):
        _fill(settings.store, definition, history, log, run)
    code = uuid.uuid4().hex
    url = endpoints.start(
        settings, config.scale, port=config.port, network=config.network, seconds=config.ready_s, code=code
    )
    _fill(settings.store, definition, None, log, run)  # what the replicas of before have answered meanwhile
    with watching.counted(settings.monitoring, version.digest, config.watching):
        probe.ask(url, bundle.json("example.json"), seconds=config.limits.deadline_s, key=key)
    endpoint = Endpoint(
        uri=run.uri,
        fingerprint=run.fingerprint,
        name=settings.name,
        url=url,
        version=version.version,
        digest=version.digest,
        capture=settings.capture,
        monitoring=settings.monitoring,
        parity_rows=compared,
    )
    endpoints.remember(endpoint, run.root)
    replicas.remember(version, config, settings, code, run.root)
    return endpoint


def prepared(
    config: DeployConfig, run: Run, *, version: ModelVersion, folder: str
) -> tuple[Settings, Mapping[str, Any]]:
    """A version ready to answer as one of many, and its example: proven, with state and log in the local `folder`.

    Raises what `run` raises before it starts replicas.
    """
    own = {
        "name": version.name,
        "capture": f"{folder}/capture",
        "store": f"sqlite:///{folder}/entities.db",
        "queue": "",
        "monitoring": f"{folder}/monitoring",
    }
    settings = _settings(config, run, version).model_copy(update=own)
    return settings, _proven(config, run, version, settings).json("example.json")


def ready(config: DeployConfig, run: Run, *, version: ModelVersion) -> Settings:
    """What replicas are told that somebody else starts: proven, with the entity store filled; raises as `run` does."""
    access, _ = opening.access(run.root, config.network)
    settings = _settings(config, run, version).model_copy(update={"access": access})
    _proven(config, run, version, settings)
    return settings


def _proven(config: DeployConfig, run: Run, version: ModelVersion, settings: Settings) -> Bundle:
    """The bundle of a version, once the online path is proven and the entity store filled."""
    bundle = Bundle.load(version.uri, digest=version.digest)
    definition = FeatureDefinition.model_validate(bundle.json("definition.json"))
    history = _history(version.uri, definition)
    _prove(config, definition, history, settings, run)
    _fill(settings.store, definition, history, CaptureLog(settings.capture), run)
    return bundle


def prove(config: DeployConfig, run: Run, version: ModelVersion) -> int:
    """The proof that precedes a deployment, by itself; the number of rows compared."""
    bundle = Bundle.load(version.uri, digest=version.digest)
    definition = FeatureDefinition.model_validate(bundle.json("definition.json"))
    history = _history(version.uri, definition)
    return _prove(config, definition, history, _settings(config, run, version), run)


def live_endpoint(root: str, name: str) -> Endpoint | None:
    """The endpoint of a name that was deployed last from a run root, if it answers."""
    path = files.join(root, "endpoints", ENDPOINT.check(name), "endpoint.json")
    endpoint = Endpoint.model_validate(files.read_json(path)) if files.exists(path) else None
    return endpoint if endpoint and is_live(endpoint) else None


def _settings(config: DeployConfig, run: Run, version: ModelVersion) -> Settings:
    name = endpoints.named(config.name, version)
    folder = endpoints.local_folder(run.root, name)
    return Settings(
        name=name,
        bundle=version.uri,
        digest=version.digest,
        version=version.version,
        store=config.store or f"sqlite:///{folder}/entities.db",
        capture=f"{folder}/capture",
        queue=endpoints.queue_folder(run.root, name),
        monitoring=endpoints.monitoring_folder(run.root, name),
        asynchronous=config.asynchronous,
        limits=config.limits,
        capturing=config.capturing,
        watching=config.watching,
    )


def _history(bundle: str, definition: FeatureDefinition) -> pa.Table | None:
    """The rows that the model was made from and that windows still reach; None where only the bundle was brought here,
    which is deployed only if the config asks for no proof."""
    path = origin(bundle)
    return recent(definition, Table.model_validate(files.read_json(path)["history"])) if files.exists(path) else None


def _prove(
    config: DeployConfig, definition: FeatureDefinition, history: pa.Table | None, settings: Settings, run: Run
) -> int:
    """Compare the online path with the batch path on a sample of the history; the number of rows compared."""
    if not config.parity_rows or (history is None and not definition.windows):
        return 0
    if history is None:
        raise StorageError(
            f"version {settings.version} is not deployed as {settings.name!r}: {origin(settings.bundle)} is missing, which "
            "names the table that the model was made from, so nobody can tell whether its features are the same online. "
            "Bring it here with the bundle and the table, or register the model in this root; deploy.parity_rows=0 "
            "deploys without the proof, with an entity store that knows no history."
        )
    try:
        return gate.check(definition, history, config.parity_rows, store=settings.store, progress=run.progress)
    except SkewError as error:
        raise SkewError(
            f"version {settings.version} is not deployed as {settings.name!r}: {error}. The model would be asked with "
            "other features than it was trained on: mend the online path. `ray-mlops parity RECIPE` compares more rows; "
            "deploy.parity_rows=0 deploys all the same."
        ) from error


def _fill(url: str, definition: FeatureDefinition, history: pa.Table | None, log: CaptureLog, run: Run) -> None:
    """Bring the state of the entities up to the end of the history that the model was made from, and of what the
    endpoint has answered since, where it is not yet."""
    if not definition.windows:
        return
    if history is not None:
        fill(url, definition, history, progress=run.progress)
    state = open_store(url, definition)
    try:
        catch_up(state, log, progress=run.progress)
    finally:
        state.close()
