"""What Ray Serve imports on a cluster to which an endpoint was exported: it builds the endpoint of one pinned digest."""

import os
from typing import Any

from ray_mlops import commands
from ray_mlops.contract import Frozen, ModelVersion, Run
from ray_mlops.platform import files
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.image_replica import ImageReplica
from ray_mlops.serving.replica import Replica
from ray_mlops.stages import deploy
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.images import deploy as image_deploy
from ray_mlops.stages.images.deploy import ImageDeployConfig


class Exported(Frozen):
    """The `args` of the application in Serve's config: the version, with the digest of its bundle, and how it is deployed.

    Variables of the environment are put into the URL of the entity store: its password need not be in a manifest.
    """

    root: str
    version: ModelVersion
    config: dict[str, Any]


def app(arguments: Exported) -> Any:
    """The application, once the online path is proven and the entity store filled, as `ray-mlops deploy` does it.

    Raises `StorageError` when the bundle is not that of the digest, and what else a deployment raises.
    """
    root = files.absolute(arguments.root)
    run = Run(root=root, id="", recipe="", uri=root)
    version = arguments.version
    if commands.of_images(version):
        images = ImageDeployConfig.model_validate(arguments.config)
        return endpoints.application(image_deploy.ready(images, run, version=version), images.scale, ImageReplica)
    fields = {**arguments.config, "store": os.path.expandvars(arguments.config.get("store", ""))}
    config = DeployConfig.model_validate(fields)
    return endpoints.application(deploy.ready(config, run, version=version), config.scale, Replica)
