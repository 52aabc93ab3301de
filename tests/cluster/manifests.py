"""What a manifest for Kubernetes must be: Kubernetes' own kinds by its published schemas; those of KubeRay, Karpenter,
eksctl and Prometheus' operator, for which no schemas can be had here, by the fields their references name."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = kubernetes_validate.latest_version()

POD = {"type": "object", "required": ["spec"]}
GROUP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"],
    "properties": {
        "groupName": {"type": "string"},
        "replicas": {"type": "integer"},
        "minReplicas": {"type": "integer"},
        "maxReplicas": {"type": "integer"},
        "idleTimeoutSeconds": {"type": "integer"},
        "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": POD,
    },
}
CLUSTER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
    "properties": {
        "rayVersion": {"type": "string"},
        "authOptions": {"type": "object", "properties": {"mode": {"enum": ["token"]}}, "required": ["mode"]},
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": {"type": "integer"},
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                "resources": {"type": "object"},
                "securityContext": {"type": "object"},
            },
        },
        "gcsFaultToleranceOptions": {
            "type": "object",
            "additionalProperties": False,
            "required": ["redisAddress"],
            "properties": {
                "redisAddress": {"type": "string"},
                "redisPassword": {"type": "object"},
                "externalStorageNamespace": {"type": "string"},
            },
        },
        "headGroupSpec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["rayStartParams", "template"],
            "properties": {
                "serviceType": {"enum": ["ClusterIP"]},
                "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
                "template": POD,
            },
        },
        "workerGroupSpecs": {"type": "array", "items": GROUP},
    },
}
JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["entrypoint", "rayClusterSpec"],
    "properties": {
        "entrypoint": {"type": "string"},
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode"]},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": {"type": "integer"},
        "activeDeadlineSeconds": {"type": "integer"},
        "backoffLimit": {"type": "integer"},
        "submitterPodTemplate": POD,
        "rayClusterSpec": CLUSTER,
    },
}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["serveConfigV2", "rayClusterConfig"],
    "properties": {
        "serveConfigV2": {"type": "string"},
        "upgradeStrategy": {"type": "object", "properties": {"type": {"enum": ["NewCluster"]}}},
        "rayClusterConfig": CLUSTER,
    },
}
CUSTOM = {"RayCluster": CLUSTER, "RayJob": JOB, "RayService": SERVICE}
FOREIGN = {"NodePool", "ClusterConfig", "ServiceMonitor", "PodMonitor"}


def documents(text: str, **words: str) -> list[dict[str, Any]]:
    """The manifests in a file, filled in as `envsubst` does."""
    filled = re.sub(r"\$\{(\w+)\}", lambda found: words[found[1]], text)
    return [one for one in yaml.safe_load_all(filled) if one]


def check(manifest: Mapping[str, Any]) -> None:
    """Raises what is wrong with a manifest."""
    kind = manifest["kind"]
    assert manifest["metadata"].get("name") or manifest["metadata"].get("generateName")
    if kind in FOREIGN:
        return
    if kind not in CUSTOM:
        kubernetes_validate.validate(dict(manifest), KUBERNETES, strict=True)
        return
    assert manifest["apiVersion"] == "ray.io/v1"
    jsonschema.validate(manifest["spec"], CUSTOM[kind])
    for template in templates(manifest["spec"]):
        metadata = {"name": "checked", **template.get("metadata", {})}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def templates(value: Any) -> Iterator[dict[str, Any]]:
    """The pod templates anywhere in a value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("template", "submitterPodTemplate"):
                yield inner
            else:
                yield from templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from templates(inner)


def confined(pod: Mapping[str, Any]) -> bool:
    """Whether Kubernetes' "restricted" standard lets a pod in: not root, no capabilities, the default seccomp profile."""
    whole = pod["securityContext"]
    sound = whole["runAsNonRoot"] and whole["seccompProfile"]["type"] == "RuntimeDefault" and whole["runAsUser"] > 0
    return sound and all(
        container["securityContext"]["allowPrivilegeEscalation"] is False
        and container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        for container in pod["containers"]
    )
