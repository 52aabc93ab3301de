"""The files of Ray's cluster launcher, read by Ray itself; on EC2 also started, against a simulated AWS."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from cfnlint.decode import cfn_yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from ray_mlops import cli

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
REGION = "eu-central-1"
FILES = ("ec2", "gcp", "azure")


def filled(name: str, **words: str) -> dict[str, Any]:
    """A launcher file as the command at its head leaves it; `$RAY_HEAD_IP` is for the nodes, which know it."""
    text = (CLUSTER / f"{name}.yaml").read_text()
    (told,) = re.findall(rf"# +envsubst '(.+)' < cluster/{name}.yaml > my.yaml\n", text)
    for word in told.replace("$", "").split():
        text = text.replace(f"${{{word}}}", words.get(word, word.lower()))
    return yaml.safe_load(text)


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    config = filled(name)
    validate_config(prepare_config(config))
    assert "$" not in yaml.safe_dump(config).replace("$RAY_HEAD_IP", ""), "a placeholder is not in the command"
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config({**config, "max_wrokers": 3}))


@pytest.mark.parametrize("name", FILES)
def test_nothing_of_a_cluster_is_open_to_the_world(name: str) -> None:
    config = filled(name)
    assert config["provider"]["use_internal_ips"] is True
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start and "0.0.0.0" not in start
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("name", ["ec2", "gcp"])
def test_every_worker_listens_for_the_notices_of_its_cloud(name: str) -> None:
    config = filled(name)
    (line,) = [one for one in config["worker_start_ray_commands"] if "ray-mlops" in one]
    words = line.split(" ray-mlops ")[1].split(" < ")[0].split()
    assert cli.main([*words, "--help"]) == 0
    assert ("--cloud=gce" in words) == (name == "gcp") and words[-1] == "--address=$RAY_HEAD_IP:6379"
    assert not any("ray-mlops" in one for one in config["head_start_ray_commands"])


def wanted(config: dict[str, Any], resources: dict[str, float], *, failed: str = "") -> str:
    """The type of node that Ray's autoscaler starts for a task that does not fit, when a launch of `failed` has failed."""
    known = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=known.get_node_type_configs(),
        max_num_nodes=known.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(resources)]),
        recoverable_resource_availabilities={failed: 0.0} if failed else {},
    )
    started = ResourceDemandScheduler(event_logger=None).schedule(request).to_launch
    (launch,) = [one for one in started if one.instance_type != "head"]
    return launch.instance_type


@pytest.mark.parametrize(
    ("resources", "spot", "fall_back"),
    [({"CPU": 1.0}, "cpu-spot", "cpu-on-demand"), ({"CPU": 1.0, "GPU": 1.0}, "gpu-spot", "gpu-on-demand")],
)
def test_spot_comes_first_and_on_demand_where_there_is_none(
    resources: dict[str, float], spot: str, fall_back: str
) -> None:
    config = prepare_config(filled("ec2"))
    assert wanted(config, resources) == spot
    assert wanted(config, resources, failed=spot) == fall_back
    types = config["available_node_types"]
    assert types[spot]["resources"] == types[fall_back]["resources"]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A simulated account with the stack of aws.yaml; the words for ec2.yaml."""
    for key in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    for key, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(f"AWS_{key}", value)
    monkeypatch.setenv("HOME", str(tmp_path))  # the launcher leaves its key pair in ~/.ssh
    with mock_aws():
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        stack = boto3.client("cloudformation")
        parameters = [{"ParameterKey": "Vpc", "ParameterValue": vpc}]
        template = (CLUSTER / "aws.yaml").read_text()
        stack.create_stack(StackName="ray-mlops", TemplateBody=template, Parameters=parameters)
        (made,) = stack.describe_stacks(StackName="ray-mlops")["Stacks"]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in made["Outputs"]}
        image = ec2.describe_images()["Images"][0]["ImageId"]
        yield {
            "REGION": REGION,
            "SUBNET": subnet,
            "SECURITY_GROUP": outputs["SecurityGroup"],
            "BUCKET": outputs["Bucket"],
            "AMI": image,
        }


def test_the_launcher_starts_private_nodes_with_our_roles(aws: dict[str, str]) -> None:
    config = bootstrap_aws(prepare_config(filled("ec2", **aws)))
    provider = AWSNodeProvider({**config["provider"]}, "ray-mlops")
    started = {}
    for kind in ("head", "cpu-spot", "cpu-on-demand", "gpu-spot"):
        tags = {TAG_RAY_NODE_KIND: "head" if kind == "head" else "worker", TAG_RAY_USER_NODE_TYPE: kind}
        provider.create_node(config["available_node_types"][kind]["node_config"], tags, 1)
    ec2 = boto3.client("ec2")
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            kind = next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == TAG_RAY_USER_NODE_TYPE)
            started[kind] = instance
    assert set(started) == {"head", "cpu-spot", "cpu-on-demand", "gpu-spot"}
    for kind, instance in started.items():
        role = instance["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        assert role == ("ray-mlops-head" if kind == "head" else "ray-mlops-worker")
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert [group["GroupId"] for group in instance["SecurityGroups"]] == [aws["SECURITY_GROUP"]]
        assert instance["SubnetId"] == aws["SUBNET"]
        assert (instance.get("InstanceLifecycle") == "spot") == kind.endswith("spot")


def test_nobody_reaches_the_nodes_but_nodes(aws: dict[str, str]) -> None:
    (group,) = boto3.client("ec2").describe_security_groups(GroupIds=[aws["SECURITY_GROUP"]])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert not rule["IpRanges"] and [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [aws["SECURITY_GROUP"]]


def test_roles_may_do_what_is_theirs_and_no_more() -> None:
    resources = cfn_yaml.load(str(CLUSTER / "aws.yaml"))["Resources"]
    held = {name: resources[name]["Properties"]["ManagedPolicyArns"] for name in ("HeadRole", "WorkerRole")}
    assert [arn for arn in held["HeadRole"] if arn not in held["WorkerRole"]] == [{"Ref": "StartWorkers"}]
    assert "FullAccess" not in str(held)
    for name in ("UseRoot", "StartWorkers"):
        for statement in resources[name]["Properties"]["PolicyDocument"]["Statement"]:
            changing = not str(statement["Action"]).startswith(("['ec2:Describe", "ecr:GetAuth"))
            assert not changing or statement["Resource"] != "*" or statement.get("Condition"), statement


def test_the_schedule_reaches_the_head_and_no_other_node(aws: dict[str, str]) -> None:
    config = bootstrap_aws(prepare_config(filled("ec2", **aws)))
    provider = AWSNodeProvider({**config["provider"]}, "ray-mlops")
    for kind, name in (("head", "head"), ("worker", "cpu-spot")):
        tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: name}
        provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)
    (head,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "head"})

    resources = cfn_yaml.load(str(CLUSTER / "watch.yaml"))["Resources"]
    words = {"AWS::Partition": "aws", "Recipe": "fraud", "Bucket": aws["BUCKET"], "Act": "retrain"}

    def resolved(value: Any) -> str:
        return re.sub(r"\$\{([\w:]+)\}", lambda found: words[found[1]], value["Fn::Sub"])

    look = resources["Look"]["Properties"]
    role = "arn:aws:iam::123456789012:role/watch"
    target = {"Arn": resolved(look["Target"]["Arn"]), "RoleArn": role, "Input": resolved(look["Target"]["Input"])}
    target["RetryPolicy"] = dict(look["Target"]["RetryPolicy"])
    schedules = boto3.client("scheduler")
    when = {"ScheduleExpression": "rate(5 minutes)", "FlexibleTimeWindow": dict(look["FlexibleTimeWindow"])}
    schedules.create_schedule(Name="watch", Target=target, **when)

    # What the scheduler does when it is time: the action that the target's name ends with, with the input as its parameters.
    kept = schedules.get_schedule(Name="watch")["Target"]
    service, action = kept["Arn"].rpartition("aws-sdk:")[2].split(":")
    assert (service, action) == ("ssm", "sendCommand")
    sent = boto3.client(service).send_command(**json.loads(kept["Input"]))["Command"]
    assert sent["InstanceIds"] == [head]
    assert f"--root s3://{aws['BUCKET']}/mlops" in sent["Parameters"]["commands"][0]


def test_the_schedule_may_send_to_heads_of_ours_only() -> None:
    role = cfn_yaml.load(str(CLUSTER / "watch.yaml"))["Resources"]["Sends"]["Properties"]
    (policy,) = role["Policies"]
    document, instances = policy["PolicyDocument"]["Statement"]
    assert str(document["Resource"]).count("document/AWS-RunShellScript") == 1
    tags = {"ssm:resourceTag/ray-cluster-name": "ray-mlops", "ssm:resourceTag/ray-node-type": "head"}
    assert instances["Condition"]["StringEquals"] == tags
