"""How large an endpoint is, and when it grows and shrinks."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from ray_mlops.contract import Frozen
from ray_mlops.serving.autoscaling import Scheduled
from ray_mlops.serving.sizes import SIZES, Size


class Scale(Frozen):
    """How many replicas: between `min_replicas` and `max_replicas`, about `target_ongoing` requests in each.

    Beyond `max_queued` waiting requests the answer is 503 at once. `cpus` is what a replica reserves in Ray. A `size` is
    one of `sizes`, the approved ones, and takes the place of the two numbers of replicas and of `cpus`.

    More replicas come when 95 of 100 answers of the last seconds took longer than `target_latency_ms`, or when a window of
    the `schedule` asks for them; with `min_replicas` 0 the last one ends when nobody has asked for `to_zero_delay_s`, and
    requests that come then wait for the next to start. Requests are counted as their mean over `look_back_s`.
    """

    size: str = ""
    sizes: Mapping[str, Size] = SIZES
    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=4, ge=1)
    target_ongoing: float = Field(default=4.0, gt=0)
    max_ongoing: int = Field(default=64, ge=1)
    max_queued: int = Field(default=256, ge=1)
    cpus: float = Field(default=0.2, ge=0)
    target_latency_ms: float | None = Field(default=None, gt=0)
    schedule: tuple[Scheduled, ...] = ()
    upscale_delay_s: float = Field(default=2.0, ge=0)
    downscale_delay_s: float = Field(default=60.0, ge=0)
    to_zero_delay_s: float = Field(default=600.0, ge=0)
    look_back_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _approved(self) -> "Scale":
        if self.size and self.size not in self.sizes:
            raise ValueError(f"no size is called {self.size!r}; approved are: {', '.join(self.sizes)}")
        for window in self.schedule:
            if window.min_replicas > self.replicas.max_replicas:
                raise ValueError(
                    f"schedule asks for {window.min_replicas} replicas, max_replicas allows {self.replicas.max_replicas}"
                )
        return self

    @property
    def replicas(self) -> Size:
        """How many of which size."""
        if self.size:
            return self.sizes[self.size]
        most = max(self.min_replicas, self.max_replicas)
        return Size(cpus=self.cpus, min_replicas=self.min_replicas, max_replicas=most)

    @property
    def autoscaling(self) -> dict[str, Any]:
        """What Serve is told of it."""
        size = self.replicas
        wanted = {
            "target_ongoing": self.target_ongoing,
            "target_latency_ms": self.target_latency_ms,
            "schedule": [window.model_dump(mode="json") for window in self.schedule],
        }
        config: dict[str, Any] = {
            "min_replicas": size.min_replicas,
            "max_replicas": size.max_replicas,
            "target_ongoing_requests": self.target_ongoing,
            "upscale_delay_s": self.upscale_delay_s,
            "downscale_delay_s": self.downscale_delay_s,
            "downscale_to_zero_delay_s": self.to_zero_delay_s,
            "look_back_period_s": self.look_back_s,
            "policy": {"policy_function": "ray_mlops.serving.autoscaling:Policy", "policy_kwargs": wanted},
        }
        if not size.min_replicas:
            config["initial_replicas"] = 1  # whoever deploys wants to see it answer
        return config
