"""The manifests for Kubernetes: accepted by its schemas, confined, and read by Ray's autoscaler as they are meant."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from ray_mlops import cli
from tests.cluster import manifests

EKS = Path(__file__).resolve().parents[2] / "cluster" / "eks"
WORDS = {
    "REGION": "eu-central-1",
    "BUCKET": "bucket",
    "ADMIN_CIDR": "203.0.113.7/32",
    "IMAGE": "ray-mlops@sha256:0",
    "RECIPE": "fraud",
}
FILES = sorted(path.name for path in EKS.glob("*.yaml"))


def read(name: str) -> list[dict[str, Any]]:
    return manifests.documents((EKS / name).read_text(), **WORDS)


@pytest.mark.parametrize("name", FILES)
def test_every_manifest_is_one(name: str) -> None:
    for manifest in read(name):
        manifests.check(manifest)


def test_a_field_that_does_not_exist_is_found() -> None:
    (cluster,) = read("raycluster.yaml")
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["serviceAccount_name"] = "ray"
    with pytest.raises(Exception, match="serviceAccount_name"):
        manifests.check(cluster)


@pytest.mark.parametrize("name", FILES)
def test_every_pod_passes_the_restricted_standard(name: str) -> None:
    for manifest in read(name):
        for template in manifests.templates(manifest):
            if "containers" in template["spec"]:
                assert manifests.confined(template["spec"])


@pytest.mark.parametrize(("name", "field"), [("raycluster.yaml", None), ("rayjob.yaml", "rayClusterSpec")])
def test_rays_autoscaler_reads_the_groups(name: str, field: str | None) -> None:
    (manifest,) = read(name)
    spec = manifest["spec"][field] if field else manifest["spec"]
    assert spec["rayVersion"] == ray.__version__
    config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "ray-mlops", "namespace": "ray-mlops"}, "spec": spec}
    )
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["cpu"]["resources"]["CPU"] == 14 and "GPU" not in types["cpu"]["resources"]
    assert types["gpu"]["resources"]["GPU"] == 1
    assert (types["cpu"]["min_workers"], types["cpu"]["max_workers"]) == (0, 12)
    assert config["idle_timeout_minutes"] == 5


def test_the_job_runs_an_entry_point_that_exists() -> None:
    (job,) = read("rayjob.yaml")
    assert (EKS.parents[1] / job["spec"]["entrypoint"].split()[1]).is_file()


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_a_worker_that_must_go_is_drained_in_the_time_it_has(name: str) -> None:
    (manifest,) = read(name)
    pods = [each["spec"] for each in manifests.templates(manifest) if each["spec"]["containers"][0]["name"] == "worker"]
    assert len(pods) == 2
    for pod in pods:
        program, *words, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "ray-mlops" and words == ["cluster", "drain", "--seconds"]
        assert cli.main([*words, seconds, "--help"]) == 0
        assert int(seconds) < pod["terminationGracePeriodSeconds"] < 120  # what a spot node has


def test_the_watch_may_reach_the_cluster_and_nothing_else() -> None:
    (cron,) = read("watch.yaml")
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    secret = next(one["valueFrom"]["secretKeyRef"] for one in container["env"] if one["name"] == "RAY_AUTH_TOKEN")
    (cluster,) = read("raycluster.yaml")
    assert secret == {"name": cluster["metadata"]["name"], "key": "auth_token"}  # where KubeRay keeps it
    assert f"--address=http://{cluster['metadata']['name']}-head-svc:8265" in container["command"]
    policies = {one["metadata"]["name"]: one["spec"] for one in read("policies.yaml") if one["kind"] == "NetworkPolicy"}
    (label,) = policies["watches"]["podSelector"]["matchLabels"].items()
    assert label in pod["metadata"]["labels"].items()
    allowed = [
        rule for rule in policies["ray"]["ingress"] if {"podSelector": {"matchLabels": dict([label])}} in rule["from"]
    ]
    assert [rule["ports"] for rule in allowed] == [[{"protocol": "TCP", "port": 8265}]]


def test_policies_let_in_only_who_is_named_and_keep_the_nodes_role_away() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in read("policies.yaml") if one["kind"] == "NetworkPolicy"}
    closed = policies["nobody-by-default"]
    assert closed["podSelector"] == {} and "ingress" not in closed
    assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
    for name, policy in policies.items():
        assert all(rule.get("from") for rule in policy.get("ingress", [])), f"{name} lets in anybody"
    blocks = [to["ipBlock"] for rule in policies["ray"]["egress"] for to in rule.get("to", []) if "ipBlock" in to]
    assert blocks and all("169.254.169.254/32" in block["except"] for block in blocks)


def test_pods_reach_the_bucket_by_their_own_role() -> None:
    (cluster,) = read("cluster.yaml")
    (account,) = cluster["iam"]["serviceAccounts"]
    assert cluster["iam"]["withOIDC"] and account["metadata"]["namespace"] == "ray-mlops"
    for statement in account["attachPolicy"]["Statement"]:
        assert statement["Resource"].startswith("arn:aws:s3:::bucket") and "*" not in "".join(statement["Action"])
    for name in ("raycluster.yaml", "rayjob.yaml"):
        accounts = {
            template["spec"].get("serviceAccountName")
            for manifest in read(name)
            for template in manifests.templates(manifest)
            if "metadata" in template
        }
        assert accounts == {account["metadata"]["name"]}
