"""Four models behind one endpoint with room for two, on Serve: each answers, none is mixed up, no answer goes unlogged."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ray_mlops import many_models
from ray_mlops.contract import Run
from ray_mlops.errors import ConfigError
from ray_mlops.many_models import ManyConfig
from ray_mlops.platform.runtime import free_port
from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.endpoint import Scale
from ray_mlops.serving.multiplex import Multiplex
from ray_mlops.stages import register
from ray_mlops.stages.register import RegisterConfig
from tests.small_model import example, study, transactions

pytestmark = pytest.mark.timeout(400)
MODELS = ("north", "south", "east", "west")
GOOD = example(transactions())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("root")
    made = Run(root=str(root), id="r", recipe="small", uri=str(root / "artifact"), fingerprint="f")
    known = study(root)
    for name in MODELS:
        register.run(RegisterConfig(name=name), made, **known)
    return made


@pytest.fixture(scope="module")
def url(ray_session: None, run: Run) -> Iterator[str]:
    config = ManyConfig(
        port=free_port(), parity_rows=100, scale=Scale(max_replicas=1), multiplex=Multiplex(max_models=2)
    )
    yield many_models.start(run, "many", MODELS, config)
    endpoints.undeploy("many")


def test_each_model_answers_and_no_more_than_two_are_held(url: str) -> None:
    for _ in range(2):
        for name in MODELS:
            answer = httpx.post(f"{url}/models/{name}/score?reasons=0", json=GOOD, timeout=60)
            assert answer.json()["model"] == name
    held = [one["model"] for one in httpx.get(f"{url}/models").json()["models"] if one["loaded"]]
    assert sorted(held) == ["east", "west"]
    assert httpx.post(f"{url}/models/up/score", json=GOOD).status_code == 404


def test_while_models_come_and_go_every_request_is_answered_by_its_own_and_logged(url: str, run: Run) -> None:
    def ask(number: int) -> tuple[str, str]:
        name = MODELS[number % 4]
        sent = {**GOOD, "transaction_id": 50_000 + number}
        answer = httpx.post(f"{url}/models/{name}/score?reasons=0", json=sent, timeout=60)
        assert answer.status_code == 200, answer.text
        return name, answer.json()["model"]

    with ThreadPoolExecutor(4) as threads:
        answered = list(threads.map(ask, range(40)))
    assert all(asked == by for asked, by in answered)
    logged = Counter()
    for name in MODELS:
        folder = Path(endpoints.local_folder(run.root, "many")) / "models" / name / "capture"
        lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
        logged[name] = sum(line["id"] >= 50_000 for line in lines)
    assert logged == dict.fromkeys(MODELS, 10)


def test_a_model_named_twice_and_a_name_that_is_none_are_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="'north' is named twice"):
        many_models.start(run, "many", ("north", "south", "north/1"), ManyConfig(parity_rows=0))
    with pytest.raises(ConfigError, match="cannot be an endpoint's name"):
        many_models.deploy_many(run.root, "a/b", ("north",), ())
