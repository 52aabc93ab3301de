"""Four models of both families behind one endpoint with room for two, on Serve: each answers, none is mixed up, no answer
goes unlogged."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
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
from tests import small_images
from tests.small_model import example, study, transactions
from tests.vision.pictures import encoded

pytestmark = pytest.mark.timeout(400)
TABLES = ("north", "south", "east")
MODELS = (*TABLES, "digits")
GOOD = example(transactions())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("root")
    made = Run(root=str(root), id="r", recipe="small", uri=str(root / "artifact"), fingerprint="f")
    known = study(root)
    for name in TABLES:
        register.run(RegisterConfig(name=name), made, **known)
    features = small_images.featured(root)
    trained = small_images.fitted(root, features)
    small_images.registered(root, features, trained, small_images.judged(root, features, trained))
    return made


def ask(url: str, name: str, number: int) -> httpx.Response:
    if name == "digits":
        picture = encoded(np.full((8, 8), number % 256, np.uint8))
        return httpx.post(f"{url}/models/{name}/predict", content=picture, timeout=60)
    sent = {**GOOD, "transaction_id": 50_000 + number}
    return httpx.post(f"{url}/models/{name}/score?reasons=0", json=sent, timeout=60)


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
            assert ask(url, name, -1).json()["model"] == name
    held = [one["model"] for one in httpx.get(f"{url}/models").json()["models"] if one["loaded"]]
    assert sorted(held) == ["digits", "east"]
    assert httpx.post(f"{url}/models/up/score", json=GOOD).status_code == 404


def test_while_models_come_and_go_every_request_is_answered_by_its_own_and_logged(url: str, run: Run) -> None:
    def asked(number: int) -> str:
        answer = ask(url, MODELS[number % 4], number)
        assert answer.status_code == 200 and answer.json()["model"] == MODELS[number % 4], answer.text
        return answer.json()["request_id"]

    with ThreadPoolExecutor(4) as threads:
        answered = list(threads.map(asked, range(40)))
    logged = Counter()
    for place, name in enumerate(MODELS):
        folder = Path(endpoints.local_folder(run.root, "many")) / "models" / name / "capture"
        lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
        logged[name] = sum(line["request_id"] in answered[place::4] for line in lines)
    assert logged == dict.fromkeys(MODELS, 10)


def test_a_model_named_twice_and_a_name_that_is_none_are_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="'north' is named twice"):
        many_models.start(run, "many", ("north", "south", "north/1"), ManyConfig(parity_rows=0))
    with pytest.raises(ConfigError, match="cannot name an endpoint"):
        many_models.deploy_many(run.root, "a/b", ("north",), ())
