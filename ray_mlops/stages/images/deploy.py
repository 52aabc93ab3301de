"""Deploy a classifier of images: start the replicas on a pinned bundle, and ask them about one picture."""

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ray_mlops.contract import Endpoint, Frozen, ModelVersion, Run
from ray_mlops.contract.names import EndpointName
from ray_mlops.platform.bundle import Bundle
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving import probe, watching
from ray_mlops.serving.access import opening
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.capture import Capturing
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.image_replica import ImageReplica, ImageSettings, example
from ray_mlops.serving.rollouts import replicas
from ray_mlops.serving.watching import Watching


class ImageDeployConfig(Frozen):
    """Where and how large: `name` is the endpoint's (default: the model's), `ready_s` how long replicas may take."""

    name: EndpointName = ""
    port: int = Field(default=8000, ge=1, le=65535)
    network: Network = Network()
    ready_s: float = Field(default=120.0, gt=0)
    limits: ImageLimits = ImageLimits()
    scale: Scale = Scale()
    capturing: Capturing = Capturing()
    watching: Watching = Watching()
    asynchronous: Asynchronous = Asynchronous()


def run(config: ImageDeployConfig, run: Run, *, version: ModelVersion) -> Endpoint:
    """Put a version behind `http://<host>:<port>/<name>`; an endpoint of that name rolls over without a gap.

    Raises `StorageError` when the bundle is damaged and `EndpointError` when the endpoint cannot start or answer.
    """
    settings, key, asked = _settled(config, run, version)
    name = settings.name
    code = uuid.uuid4().hex
    url = endpoints.start(
        settings,
        config.scale,
        port=config.port,
        network=config.network,
        seconds=config.ready_s,
        replica=ImageReplica,
        code=code,
    )
    with watching.counted(settings.monitoring, version.digest, config.watching):
        probe.ask(url, asked, seconds=config.limits.deadline_s, route="predict", key=key)
    endpoint = Endpoint(
        uri=run.uri,
        fingerprint=run.fingerprint,
        name=name,
        url=url,
        version=version.version,
        digest=version.digest,
        capture=settings.capture,
        monitoring=settings.monitoring,
        route="predict",
    )
    endpoints.remember(endpoint, run.root)
    replicas.remember(version, config, settings, code, run.root)
    return endpoint


def ready(config: ImageDeployConfig, run: Run, *, version: ModelVersion) -> ImageSettings:
    """What replicas are told that somebody else starts; raises as `run` does."""
    return _settled(config, run, version)[0]


def _settled(
    config: ImageDeployConfig, run: Run, version: ModelVersion
) -> tuple[ImageSettings, str, Mapping[str, Any]]:
    """What replicas are told, the key with which the deployer may ask them, and an example."""
    access, key = opening.access(run.root, config.network)
    name = endpoints.named(config.name, version)
    settings, asked = prepared(config, version=version, folder=endpoints.local_folder(run.root, name))
    own = {
        "name": name,
        "access": access,
        "queue": endpoints.queue_folder(run.root, name),
        "asynchronous": config.asynchronous,
        "monitoring": endpoints.monitoring_folder(run.root, name),
    }
    return settings.model_copy(update=own), key, asked


def prepared(
    config: ImageDeployConfig, *, version: ModelVersion, folder: str
) -> tuple[ImageSettings, Mapping[str, Any]]:
    """A version ready to answer under its own name, perhaps as one of many, and its example; its log is in `folder`."""
    bundle = Bundle.load(version.uri, digest=version.digest)
    settings = ImageSettings(
        name=version.name,
        bundle=version.uri,
        digest=version.digest,
        version=version.version,
        capture=f"{folder}/capture",
        monitoring=f"{folder}/monitoring",
        limits=config.limits,
        capturing=config.capturing,
        watching=config.watching,
    )
    return settings, example(bundle)
