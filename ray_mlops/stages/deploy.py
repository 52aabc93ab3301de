"""Deploy: fill the entity store with recent history, start the replicas on a pinned bundle, and ask them one question."""

from pydantic import Field

from ray_mlops.contract import Endpoint, Frozen, ModelVersion, Run, Table
from ray_mlops.fraud.features import FeatureDefinition
from ray_mlops.online import backfill, open_store
from ray_mlops.platform import files
from ray_mlops.platform.bundle import Bundle, origin
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving import probe
from ray_mlops.serving.endpoint import Scale, undeploy
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.probe import is_live
from ray_mlops.serving.replica import Settings

__all__ = ["DeployConfig", "is_live", "live_endpoint", "run", "undeploy"]


class DeployConfig(Frozen):
    """Where and how large.

    `name` is the endpoint's (default: the model's); `store` the URL of the entity store (default: SQLite beside the
    endpoint's log, where a new version with the same windows goes on from the same state); `ready_s` is how long
    replicas may take to start.
    """

    name: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,62})?$")
    port: int = Field(default=8000, ge=1, le=65535)
    store: str = ""
    ready_s: float = Field(default=120.0, gt=0)
    limits: Limits = Limits()
    scale: Scale = Scale()


def run(config: DeployConfig, run: Run, *, version: ModelVersion) -> Endpoint:
    """Put a version behind `http://127.0.0.1:<port>/<name>`; an endpoint of that name rolls over without a gap.

    Raises `StorageError` when the bundle is damaged and `EndpointError` when the endpoint cannot start or answer.
    """
    bundle = Bundle.load(version.uri, digest=version.digest)
    definition = FeatureDefinition.model_validate(bundle.json("definition.json"))
    name = config.name or version.name
    folder = endpoints.local_folder(run.root, name)
    settings = Settings(
        name=name,
        bundle=version.uri,
        digest=version.digest,
        version=version.version,
        store=config.store or f"sqlite:///{folder}/entities.db",
        capture=f"{folder}/capture",
        limits=config.limits,
    )
    _backfill(settings.store, definition, version.uri, run)
    url = endpoints.start(settings, config.scale, port=config.port, seconds=config.ready_s)
    probe.ask(url, bundle.json("example.json"), seconds=config.limits.deadline_s)
    endpoint = Endpoint(
        uri=run.uri,
        fingerprint=run.fingerprint,
        name=name,
        url=url,
        version=version.version,
        digest=version.digest,
        capture=settings.capture,
    )
    files.write_json(files.join(run.root, "endpoints", name, "endpoint.json"), endpoint.model_dump(mode="json"))
    return endpoint


def live_endpoint(root: str, name: str) -> Endpoint | None:
    """The endpoint of a name that was deployed last from a run root, if it answers."""
    path = files.join(root, "endpoints", name, "endpoint.json")
    endpoint = Endpoint.model_validate(files.read_json(path)) if files.exists(path) else None
    return endpoint if endpoint and is_live(endpoint) else None


def _backfill(url: str, definition: FeatureDefinition, bundle: str, run: Run) -> None:
    """Bring the state of the entities up to the end of the history the model was made from, where it is not yet."""
    path = origin(bundle)
    if not definition.windows or not files.exists(path):
        return
    state = open_store(url, definition)
    try:
        backfill(state, Table.model_validate(files.read_json(path)["history"]), progress=run.progress)
    finally:
        state.close()
