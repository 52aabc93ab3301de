"""The image and the local cluster of containers, as far as they can be looked at without running one."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_mlops.platform.ray_settings import NODES, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
TOOLS = Path(sys.executable).parent


def tool(*command: str) -> str:
    done = subprocess.run([TOOLS / command[0], *command[1:]], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_dockerfile_passes_its_linter() -> None:
    tool("hadolint", str(DOCKERFILE))


def test_the_image_is_pinned_small_in_rights_and_made_of_what_is_there() -> None:
    text = DOCKERFILE.read_text()
    assert re.search(r"ARG BASE=\S+@sha256:[0-9a-f]{64}\n", text)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    assert re.findall(r"^USER (.+)", text, re.MULTILINE)[-1] not in ("0", "root")
    assert "--constraint constraints.txt" in text
    for source in re.findall(r"^COPY (?:--chown=\S+ )?((?:[\w./-]+ )+)\S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), f"the Dockerfile copies {name}, which is not there"


def test_a_node_of_the_image_has_serve_take_the_usual_priority_and_may() -> None:
    text = DOCKERFILE.read_text()
    for name in NODES.keys() - SETTINGS.keys():
        assert f"{name}={NODES[name]} " in text
    for name in ("ec2", "gcp", "azure"):
        launched = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
        assert "--ulimit nice=20" in launched["docker"]["run_options"]
    services = yaml.safe_load((ROOT / "cluster" / "compose.yaml").read_text())["services"]
    assert all(services[name]["ulimits"] == {"nice": 20} for name in ("head", "worker"))


def test_compose_is_valid_and_listens_on_this_machine_only() -> None:
    path = ROOT / "cluster" / "compose.yaml"
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))
    services: dict[str, Any] = yaml.safe_load(path.read_text())["services"]
    assert set(services) == {"head", "worker", "redis"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name} is open"
        assert service["cap_drop"] == ["ALL"]
    assert services["head"]["environment"]["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("name", ["aws.yaml", "watch.yaml"])
def test_the_stacks_pass_their_linter(name: str) -> None:
    tool("cfn-lint", str(ROOT / "cluster" / name))
