"""The replicas of a running endpoint, turned and asked: a setting goes to all of them as Serve's user config, in place, and
what they have counted comes back."""

import time
from collections.abc import Iterable
from typing import Any, Protocol

from ray_mlops.contract import Endpoint, Frozen, ModelVersion
from ray_mlops.contract.names import ENDPOINT
from ray_mlops.errors import EndpointError
from ray_mlops.platform import files
from ray_mlops.platform.registry import Version
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.image_replica import ImageReplica, ImageSettings
from ray_mlops.serving.replica import Answering, Replica
from ray_mlops.serving.rollouts.beside import Setting
from ray_mlops.serving.rollouts.tally import Tally

_ASK_S = 10.0


class Deployed(Protocol):
    """The config of a deploy stage."""

    @property
    def scale(self) -> Scale: ...
    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """As plain JSON values."""
        ...


class Running(Frozen):
    """What an endpoint was started with, as recorded below its run root: with the same `code` Serve turns its replicas in place,
    with another it would start new ones. `config` is that of the deploy stage."""

    version: ModelVersion
    config: dict[str, Any]
    settings: dict[str, Any]
    scale: Scale
    images: bool
    code: str

    @property
    def name(self) -> str:
        """The endpoint's."""
        return self.settings["name"]


class Status(Frozen):
    """What one replica has taken over, and counted since it has; `problem` is why its challenger or its comparison does not
    work, `ready` that both versions can be compared."""

    replica: str
    rollout: str
    step: int
    digest: str
    champion: str
    ready: bool
    problem: str
    tally: Tally | None


def remember(version: ModelVersion, config: Deployed, settings: Answering, code: str, root: str) -> None:
    """Record below a run root what an endpoint was started with."""
    running = Running(
        version=version,
        config=config.model_dump(mode="json"),
        settings=settings.model_dump(mode="json"),
        scale=config.scale,
        images=isinstance(settings, ImageSettings),
        code=code,
    )
    files.write_json(_path(root, running.name), running.model_dump(mode="json"))


def known(root: str, name: str) -> Running:
    """What an endpoint was started with; raises `EndpointError` when nothing of that name was deployed from this run root."""
    path = _path(root, name)
    if not files.exists(path):
        raise EndpointError(
            f"no endpoint {name!r} was deployed from {root}: `ray-mlops deploy {name}` starts it with its champion"
        )
    return Running.model_validate(files.read_json(path))


def answering(root: str, endpoint: Endpoint, versions: Iterable[Version]) -> ModelVersion:
    """The version that an endpoint was started with; of one that was exported that of `versions` with its digest.

    Raises `EndpointError` where that is not to be found.
    """
    if endpoint.capture:
        return known(root, endpoint.name).version
    found = next((one for one in versions if one.digest == endpoint.digest), None)
    if found is None:
        raise EndpointError(f"{endpoint.url} answers with {endpoint.digest}, which is no registered version's digest")
    return found.artifact()


class Replicas:
    """The replicas of one endpoint."""

    def __init__(self, running: Running, root: str) -> None:
        self.running, self._root = running, root

    def turn(self, setting: Setting) -> list[Status]:
        """Hand a setting to all replicas, and wait until they have taken it over and are ready; raises `EndpointError` when they
        are not within `ready_s` of the endpoint's config."""
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        running = self.running
        if not self.there():
            raise EndpointError(
                f"endpoint {running.name!r} is not running: `ray-mlops deploy {running.version.name}` starts it"
            )
        if known(self._root, running.name).code != running.code:
            raise EndpointError(f"endpoint {running.name!r} was deployed anew meanwhile: its replicas are others now")
        replica = ImageReplica if running.images else Replica
        user = setting.model_dump(mode="json")
        target = endpoints.target(running.settings, running.scale, replica, code=running.code, user=user)
        try:
            serve.run_many([target], wait_for_applications_running=False)
        except (RayError, RayServeException, RuntimeError) as error:
            raise EndpointError(f"Serve does not take a setting of endpoint {running.name!r}: {error}") from error
        seconds = running.config["ready_s"]
        deadline = time.monotonic() + seconds
        while True:
            found = self.status()
            taken = [one for one in found if (one.rollout, one.step) == (setting.rollout, setting.step)]
            if found and len(taken) == len(found) and all(one.ready or one.problem for one in found):
                return found
            if time.monotonic() > deadline:
                raise EndpointError(
                    f"the replicas of {self.running.name!r} did not take a setting over in {seconds:g} s"
                )
            time.sleep(0.05)

    def there(self) -> bool:
        """Whether the endpoint runs."""
        from ray import serve

        return self.running.name in serve.status().applications

    def status(self) -> list[Status]:
        """What the replicas say; none while one of them is being replaced."""
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            handle = serve.get_app_handle(self.running.name)
            answers = handle.broadcast("rollout").results(timeout_s=_ASK_S)
        except (RayError, RayServeException, TimeoutError):
            return []
        return [Status.model_validate(answer) for answer in answers]


def _path(root: str, name: str) -> str:
    return files.join(root, "endpoints", ENDPOINT.check(name), "running.json")
