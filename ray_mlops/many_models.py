"""What `ray-mlops deploy-many` does: several registered models behind one endpoint, each replica holding some of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from ray_mlops import commands
from ray_mlops.contract import Frozen, Run
from ray_mlops.contract.names import ENDPOINT
from ray_mlops.errors import ConfigError
from ray_mlops.overrides import override as apply
from ray_mlops.platform import files, runtime
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving import probe, records
from ray_mlops.serving.access import opening
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.capture import Capturing
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.image_limits import ImageLimits
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.multiplex import Multiplex
from ray_mlops.serving.multiplex_replica import ModelsReplica, ModelsSettings
from ray_mlops.stages import deploy as deploy_stage
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.images import deploy as image_deploy
from ray_mlops.stages.images.deploy import ImageDeployConfig


class ManyConfig(Frozen):
    """Where and how large, as of one model; `multiplex.max_models` is how many of them each replica holds at once."""

    port: int = Field(default=8000, ge=1, le=65535)
    network: Network = Network()
    ready_s: float = Field(default=120.0, gt=0)
    parity_rows: int = Field(default=2000, ge=0)
    limits: Limits = Limits()
    image_limits: ImageLimits = ImageLimits()
    scale: Scale = Scale()
    capturing: Capturing = Capturing()
    multiplex: Multiplex = Multiplex()


def deploy_many(
    root: str, name: str, models: Sequence[str], assignments: Sequence[str], *, verbose: bool = False
) -> None:
    """Deploy registered models as one endpoint and ask each its example."""
    ENDPOINT.check(name)
    run = replace(commands.administration(root), uri=files.absolute(root))
    config = apply(ManyConfig(), assignments)
    runtime.connect(verbose=verbose)
    url = start(run, name, models, config)
    for model in sorted(commands.deployable(run, each, ())[0].name for each in models):
        print(f"{url}/models/{model}")


def start(run: Run, name: str, models: Sequence[str], config: ManyConfig) -> str:
    """The URL of the endpoint, once all its models have answered; raises what the deployment of one of them raises."""
    access, key = opening.access(run.root, config.network)
    folder = endpoints.local_folder(run.root, name)
    made: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for each in models:
        version, stage, _ = commands.deployable(run, each, ())
        ENDPOINT.check(version.name)  # it is one, below /models/
        if version.name in made:
            raise ConfigError(f"the model {version.name!r} is named twice: an endpoint has one version of each")
        place = f"{folder}/models/{version.name}"
        if stage is image_deploy:
            one = ImageDeployConfig(limits=config.image_limits, capturing=config.capturing)
            made[version.name] = image_deploy.prepared(one, version=version, folder=place)
        else:
            one = DeployConfig(parity_rows=config.parity_rows, limits=config.limits, capturing=config.capturing)
            made[version.name] = deploy_stage.prepared(one, run, version=version, folder=place)
    settings = _settings(name, {model: one.model_copy(update={"access": access}) for model, (one, _) in made.items()})
    settings = settings.model_copy(
        update={"access": access, "capture": f"{folder}/models", "multiplex": config.multiplex}
    )
    url = endpoints.start(
        settings, config.scale, port=config.port, network=config.network, seconds=config.ready_s, replica=ModelsReplica
    )
    held = {model: {"version": one.version, "digest": one.digest} for model, (one, _) in made.items()}
    records.write(run.root, name, records.MODELS, {"name": name, "url": url, "models": held})
    for model, (_, example) in made.items():
        route = f"models/{model}/{'predict' if model in settings.images else 'score'}"
        probe.ask(url, example, seconds=config.limits.deadline_s + config.ready_s, route=route, key=key)
    return url


def _settings(name: str, models: Mapping[str, Any]) -> ModelsSettings:
    digests = "".join(f"{model} {one.digest}\n" for model, one in sorted(models.items()))
    return ModelsSettings(
        name=name,
        bundle="",
        digest=hashlib.blake2b(digests.encode(), digest_size=16).hexdigest(),
        version=str(len(models)),
        capture="",
        tables={model: one for model, one in models.items() if not _of_images(one)},
        images={model: one for model, one in models.items() if _of_images(one)},
    )


def _of_images(settings: Any) -> bool:
    return isinstance(settings.limits, ImageLimits)
