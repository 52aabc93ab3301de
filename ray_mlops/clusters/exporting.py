"""`ray-mlops export`: the endpoint of one digest as a manifest, for Ray Serve, for KubeRay or for compose."""

import math
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from typing import Any, Literal, get_args

import yaml

from ray_mlops import commands
from ray_mlops.contract import Endpoint, ModelVersion
from ray_mlops.errors import ConfigError
from ray_mlops.overrides import nearest
from ray_mlops.platform import files
from ray_mlops.platform.bundle import Bundle
from ray_mlops.platform.ray_settings import SETTINGS
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.access import opening

Target = Literal["serve", "kuberay", "compose"]
TARGETS: tuple[Target, ...] = get_args(Target)
IMPORT_PATH = "ray_mlops.clusters.exported:app"
REDIS_PASSWORD = "REDIS_PASSWORD"
_POD_CPUS = 4
_EVERYWHERE = "0.0.0.0"
# Of nodes where every worker answers, or sees to it: Ray would put them behind all else.
_NICENESS = {"name": "RAY_worker_niceness", "value": "0"}


def export(root: str, target: str, model: str, assignments: Sequence[str], *, image: str = "") -> str:
    """The manifest, as YAML, that brings exactly the version that `model` names today; it names the digest.

    Raises `ConfigError` where the nodes could not reach what the endpoint needs, `EndpointError` where it would answer
    everybody, `StorageError` when the bundle is damaged.
    """
    if target not in TARGETS:
        raise ConfigError(f"nothing is exported to {target!r}{nearest(target, TARGETS)}")
    run = commands.administration(root)
    version, _, config = commands.deployable(run, model, assignments)
    bundle = Bundle.load(version.uri, digest=version.digest)
    fields = config.model_dump(mode="json", exclude_defaults=True)
    if target == "kuberay":
        fields = _for_pods(fields, run.root, bundle)
    config = type(config).model_validate(fields)
    opening.access(run.root, config.network)
    served = _serve_config(run.root, version, fields, config)
    if target == "serve":
        return _yaml(served)
    image = image or f"ray-mlops:{installed('ray-mlops')}"
    if target == "kuberay":
        return _yaml(_service(version, served, config, image))
    served["http_options"]["host"] = _EVERYWHERE  # of the container, which publishes its port on this machine only
    return _yaml(_compose(run.root, served, image))


def remember(root: str, model: str, assignments: Sequence[str], url: str) -> None:
    """Record below the run root that this version answers at `url` once its manifest is applied, so that `watch` finds what its
    replicas count there. Its capture log stays with them."""
    run = commands.administration(root)
    version, _, config = commands.deployable(run, model, assignments)
    name = endpoints.named(config.name, version)
    endpoint = Endpoint(
        uri="",
        fingerprint=version.fingerprint,
        name=name,
        url=url.rstrip("/"),
        version=version.version,
        digest=version.digest,
        capture="",
        monitoring=endpoints.monitoring_folder(run.root, name),
        route="predict" if commands.of_images(version) else "score",
    )
    endpoints.remember(endpoint, run.root)


def _for_pods(fields: Mapping[str, Any], root: str, bundle: Bundle) -> dict[str, Any]:
    """The fields of the deployment as pods need them: a root and an entity store that all of them reach, all addresses."""
    if not files.is_remote(root):
        raise ConfigError(f"pods cannot read the run root {root}: use --root s3://bucket/prefix")
    network = {**fields.get("network", {}), "host": _EVERYWHERE}
    windows = bundle.has("definition.json") and bundle.json("definition.json")["windows"]
    if not windows:
        return {**fields, "network": network}
    store = fields.get("store") or f"redis://:${REDIS_PASSWORD}@redis:6379/1"
    if not store.startswith(("redis://", "rediss://")):
        raise ConfigError(f"pods do not share the entity store {store}: set store=redis://… or leave it out")
    return {**fields, "store": store, "network": network}


def _serve_config(root: str, version: ModelVersion, fields: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """What `serve deploy` takes; `fields` are those that differ from the defaults of the deployment."""
    name = config.name or version.name
    pinned = version.model_copy(update={"aliases": ()})  # which of them it had that day means nothing on the cluster
    arguments = {"root": root, "version": pinned.model_dump(mode="json"), "config": dict(fields)}
    return {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": config.network.host,
            "port": config.port,
            "request_timeout_s": 60,
            "keep_alive_timeout_s": 60,
        },
        "logging_config": {"log_level": "ERROR", "enable_access_log": False},
        "applications": [
            {
                "name": name,
                "route_prefix": f"/{name}",
                "import_path": IMPORT_PATH,
                "runtime_env": {"env_vars": dict(SETTINGS)},
                "args": arguments,
            }
        ],
    }


def _service(version: ModelVersion, served: Mapping[str, Any], config: Any, image: str) -> dict[str, Any]:
    """A RayService: a change of the digest rolls over inside the cluster, a change of the image by a second cluster."""
    (application,) = served["applications"]
    name = re.sub(r"[^a-z0-9-]+", "-", application["name"].lower()).strip("-")
    size, each = config.scale.replicas, max(1, int((_POD_CPUS - 0.5) / max(config.scale.replicas.cpus, 0.01)))
    fewest, most = max(1, math.ceil(size.min_replicas / each)), math.ceil(size.max_replicas / each)
    labels = {"app.kubernetes.io/part-of": "ray-mlops", "app.kubernetes.io/component": "endpoint"}
    annotations = {"ray-mlops/model": f"{version.name}/{version.version}", "ray-mlops/digest": version.digest}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name, "namespace": "ray-mlops", "labels": labels, "annotations": annotations},
        "spec": {
            "upgradeStrategy": {"type": "NewCluster"},
            "serveConfigV2": _yaml(served),
            "rayClusterConfig": {
                "rayVersion": installed("ray"),
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 300, "securityContext": _confined()},
                "gcsFaultToleranceOptions": {"redisAddress": "redis:6379", "redisPassword": _password()},
                "headGroupSpec": {
                    "serviceType": "ClusterIP",
                    "rayStartParams": {"dashboard-host": _EVERYWHERE, "num-cpus": "0", "metrics-export-port": "8080"},
                    "template": _pod("head", image, labels, config.port, cpus=2, memory="8Gi"),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "replicas",
                        "replicas": fewest,
                        "minReplicas": fewest,
                        "maxReplicas": max(fewest, most),
                        "rayStartParams": {"metrics-export-port": "8080"},
                        "template": _pod("worker", image, labels, config.port, cpus=_POD_CPUS, memory="16Gi"),
                    }
                ],
            },
        },
    }


def _pod(name: str, image: str, labels: Mapping[str, str], port: int, *, cpus: int, memory: str) -> dict[str, Any]:
    ports = {"metrics": 8080, "serve": port, **({"gcs-server": 6379, "dashboard": 8265} if name == "head" else {})}
    resources = {"cpu": str(cpus), "memory": memory}
    container = {
        "name": name,
        "image": image,
        "env": [{"name": REDIS_PASSWORD, **_password()}, dict(_NICENESS)],
        "ports": [{"name": key, "containerPort": value} for key, value in ports.items()],
        "securityContext": _confined(),
        "resources": {"requests": resources, "limits": dict(resources)},
        # Serve has ended its requests before the pod goes.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "20"]}}},
    }
    whole = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
    spec = {
        "serviceAccountName": "ray",
        "securityContext": {**whole, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 60,
        "containers": [container],
    }
    if name == "worker":  # a machine that fails takes one pod with it, where there are several
        spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        spec["topologySpreadConstraints"] = [{**spread, "labelSelector": {"matchLabels": dict(labels)}}]
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def _confined() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _password() -> dict[str, Any]:
    return {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}


def _compose(root: str, served: Mapping[str, Any], image: str) -> dict[str, Any]:
    """One node, and a service that hands it Serve's config and ends; answers on this machine only."""
    (application,) = served["applications"]
    port = served["http_options"]["port"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "${RAY_AUTH_TOKEN:?make one with openssl rand -hex 32}"}
    aws = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")
    remote = files.is_remote(root)
    reach = {name: f"${{{name}:-}}" for name in aws} if remote else {}
    common = {"image": image, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    health = ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:52365/api/local_raylet_healthz"]
    node = {
        **common,
        "command": "ray start --head --block --dashboard-host=0.0.0.0",
        "environment": {**token, **reach, _NICENESS["name"]: _NICENESS["value"]},
        "ports": [f"127.0.0.1:{port}:{port}"],
        "shm_size": "2gb",
        "restart": "unless-stopped",
        "healthcheck": {"test": health, "interval": "5s", "timeout": "5s", "retries": 24},
        **({} if remote else {"volumes": [f"{root}:{root}"]}),
    }
    deploy = {
        **common,
        "command": "serve deploy /serve.yaml --address http://node:8265",
        "environment": token,
        "configs": [{"source": "serve", "target": "/serve.yaml"}],
        "depends_on": {"node": {"condition": "service_healthy"}},
        "restart": "on-failure",
    }
    content = _yaml(served).replace("$", "$$")  # compose reads variables into it otherwise
    project = re.sub(r"[^a-z0-9_-]+", "-", application["name"].lower())
    return {"name": project, "services": {"node": node, "deploy": deploy}, "configs": {"serve": {"content": content}}}


class _Dumper(yaml.SafeDumper):
    """YAML in which a text of several lines is one, and nothing is written once and referred to."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, width=120)
