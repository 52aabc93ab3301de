"""One replica of an endpoint for many models: it loads the pinned bundle of a model when that is asked for."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray_mlops.serving import redaction
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.image_replica import ImageReplica, ImageSettings
from ray_mlops.serving.multiplex import Loaded, Multiplex, build_models_app
from ray_mlops.serving.pace import Pace, Paced
from ray_mlops.serving.replica import Answering, Replica, Settings, health

if TYPE_CHECKING:
    from fastapi import FastAPI


class ModelsSettings(Answering):
    """All that a replica needs to know; each model is named as the route below which it answers.

    `digest` is that of all digests; `capture` names the endpoint, each model has a log of its own.
    """

    tables: Mapping[str, Settings] = {}
    images: Mapping[str, ImageSettings] = {}
    multiplex: Multiplex = Multiplex()

    @property
    def models(self) -> dict[str, Settings | ImageSettings]:
        """All of them."""
        return {**self.tables, **self.images}


class ModelsReplica:
    """What Serve runs, once per replica."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from ray import serve

        redaction.install()
        self._settings = ModelsSettings.model_validate(settings)
        self._pace = Pace()
        self._held: set[str] = set()

        async def load(model_id: str) -> Loaded:  # the argument's name is Serve's
            return await asyncio.to_thread(self._load, model_id)

        self._multiplexed: Any = serve.multiplexed(load, max_num_models_per_replica=self._settings.multiplex.max_models)

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """The application that Serve puts behind its proxy."""
        settings = self._settings
        told = {
            name: {"model": name, "version": one.version, "digest": one.digest} for name, one in settings.models.items()
        }
        app = build_models_app(
            settings.name,
            told,
            self._multiplexed,
            loaded=lambda: sorted(self._held),
            health=health(settings),
            ring=KeyRing(settings.access),
        )
        app.add_middleware(Paced, pace=self._pace)
        return app

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to `autoscaling.Policy`."""
        return self._pace.stats()

    def _load(self, name: str) -> Loaded:
        settings = self._settings.models[name]
        replica = ImageReplica if isinstance(settings, ImageSettings) else Replica
        made = replica(settings.model_dump(mode="json"))
        self._held.add(name)
        return Loaded(made.application(), _Held(self._held, name, made))


class _Held:
    """A model that is held, until it is closed."""

    def __init__(self, held: set[str], name: str, replica: Replica | ImageReplica) -> None:
        self._held, self._name, self._replica = held, name, replica

    def close(self) -> None:
        self._held.discard(self._name)
        self._replica.close()
