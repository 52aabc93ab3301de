"""Asked now, answered later, over real HTTP and by boto3: the numbers of the native route, or the reason why there are none."""

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
import schemathesis
from botocore.config import Config
from botocore.exceptions import ClientError
from fastapi import FastAPI
from schemathesis import GenerationMode

from ray_mlops.errors import StorageError
from ray_mlops.fraud.predictor import Predictor
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.keyring import KeyRing
from ray_mlops.serving.access.network import Network
from ray_mlops.serving.app import build_app
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.attached import Attached
from ray_mlops.serving.capture import Capture
from ray_mlops.serving.image_app import build_image_app
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.scoring import Scorer
from tests.serving import made_up
from tests.serving.access.live import live, wait_for
from tests.serving.protocols import served
from tests.serving.protocols.questions import COLUMNS
from tests.small_model import bundle

LATER = Asynchronous(poll_s=0.05, max_attempts=2, rows_at_once=2, max_rows=500, max_body_bytes=200_000)
ROWS = {"transactions": served.ROWS}


class Site:
    """The small endpoint with a queue; its model fails while `broken`, and waits while `held`."""

    def __init__(self, root: Path, limits: Asynchronous = LATER, ring: KeyRing | None = None, folder: str = "") -> None:
        self.queue = Queue(folder or str(root / "async" / "small"), limits)
        self.broken, self.held = False, threading.Event()
        self.held.set()
        self.calls: list[int] = []
        site = self

        class Watched(Scorer):
            def score(self, events: Any, **options: Any) -> Any:
                site.calls.append(len(events))
                site.held.wait(60)
                if site.broken:
                    raise StorageError("the entity store is away")
                return super().score(events, **options)

        predictor = Predictor.load(bundle(root, definition=served.DEFINITION))
        scorer = Watched(predictor, None, Capture(str(root / "capture"), "v1"), version="1", digest="d")
        model = {"name": "small", "version": "1", "digest": "d", "example": served.ROWS[0]}
        self.app = build_app(
            scorer, model, Limits(), health={"status": "ok"}, ring=ring, attached=Attached(queue=self.queue)
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[httpx.Client]:
    with live(site.app) as url, httpx.Client(base_url=url, timeout=30) as session:
        yield session


def ended(client: httpx.Client, taken: httpx.Response, **options: Any) -> httpx.Response:
    """The answer of the result's route once there is one."""
    assert taken.status_code == 202, taken.text
    for _ in range(3000):
        answer = client.get(taken.json()["result"], **options)
        if answer.status_code != 202:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not ended: {answer.text}")


def as_csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([row.get(name, "") for name in COLUMNS] for row in rows)
    return stream.getvalue()


def runtime(url: str) -> Any:
    settings = Config(retries={"max_attempts": 0})
    same = {"region_name": "eu-central-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
    return boto3.client("sagemaker-runtime", endpoint_url=url, config=settings, **same)


def test_a_request_is_taken_in_and_gets_the_numbers_of_the_native_route(client: httpx.Client) -> None:
    native = client.post("/score", json=ROWS).json()["results"]
    taken = client.post("/async", json=ROWS)
    assert taken.json()["state"] == "pending" and taken.headers["location"] == f"/async/{taken.json()['id']}"
    answer = ended(client, taken).json()
    assert answer["results"] == native and answer["version"] == "1" and answer["request_id"] == taken.json()["id"]
    state = client.get(taken.headers["location"]).json()
    assert (state["state"], state["attempts"], state["reason"]) == ("done", 1, "")


def test_it_is_answered_a_few_rows_at_a_time_in_the_form_that_was_asked_for(client: httpx.Client, site: Site) -> None:
    rows = [{**served.ROWS[0], "transaction_id": number, "amount": float(number)} for number in range(9)]
    site.calls.clear()
    headers = {"content-type": "text/csv", "accept": "text/csv"}
    answer = ended(client, client.post("/async", content=as_csv(rows), headers=headers))
    assert site.calls == [2, 2, 2, 2, 1]
    assert answer.headers["content-type"].startswith("text/csv")
    native = client.post("/score", json={"transactions": rows}).json()["results"]
    lines = list(csv.reader(io.StringIO(answer.text)))
    assert [(int(line[0]), float(line[1])) for line in lines] == [(one["id"], one["score"]) for one in native]
    numbers = ended(client, client.post("/async", json=ROWS, headers={"accept": "application/x-npy"})).content
    assert np.load(io.BytesIO(numbers)).shape == (3, 2)


def test_sent_again_it_is_the_same_request_and_no_other_may_have_its_id(client: httpx.Client, site: Site) -> None:
    headers = {"idempotency-key": "order-7"}
    site.held.clear()
    first, again = (client.post("/async", json=ROWS, headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"] == "order-7" and again.status_code == 202
    other = client.post("/async", json={"transactions": served.ROWS[:1]}, headers=headers)
    assert other.status_code == 409 and "different request" in other.text
    assert client.get("/async/order-7/result").status_code == 202
    site.calls.clear()
    site.held.set()
    ended(client, first)
    assert client.post("/async", json=ROWS, headers=headers).json()["state"] == "done"
    assert len(site.calls) <= 2


def test_its_other_callers_are_answered_meanwhile(client: httpx.Client) -> None:
    rows = [{**served.ROWS[0], "transaction_id": number} for number in range(400)]
    taken = client.post("/async", json={"transactions": rows})
    assert client.post("/score", json=served.ROWS[0]).status_code == 200
    assert client.get(taken.headers["location"]).json()["state"] in ("pending", "running")
    assert len(ended(client, taken).json()["results"]) == 400


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"transactions": [{**served.ROWS[0], "amount": -1}]}, 422, "transactions.0.amount"),
        ({"instances": 3}, 422, "list of rows"),
        ({"transactions": served.ROWS * 200}, 413, "at most 500"),
    ],
)
def test_what_cannot_be_answered_fails_at_once_and_says_why(
    client: httpx.Client, body: Any, status: int, words: str
) -> None:
    taken = client.post("/async", json=body)
    answer = ended(client, taken)
    assert answer.status_code == 424 and words in answer.json()["error"]["message"]
    assert f"({status})" in answer.text and client.get(taken.headers["location"]).json()["attempts"] == 1


def failing(client: httpx.Client, taken: httpx.Response) -> dict[str, Any]:
    """The state of a request once an attempt at it has failed."""
    while not (state := client.get(taken.headers["location"]).json())["reason"]:
        time.sleep(0.01)
    return state


def test_what_fails_for_a_while_is_tried_again_and_what_fails_for_good_is_given_up(
    client: httpx.Client, site: Site
) -> None:
    site.broken = True
    answer = ended(client, client.post("/async", json=ROWS))
    taken = client.post("/async", json=ROWS)
    state = failing(client, taken)
    site.broken = False
    assert "given up after 2 attempts: the entity store is away (503)" in answer.text
    assert (state["state"], state["reason"]) == ("pending", "the entity store is away")
    assert ended(client, taken).status_code == 200
    assert client.get(taken.headers["location"]).json()["attempts"] == 2


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a~1", "x" * 129, "none-such"])
def test_an_id_that_is_none_reaches_no_file(client: httpx.Client, name: str) -> None:
    assert client.get(f"/async/{name}").status_code == 404
    if name != "none-such":
        assert client.post("/async", json=ROWS, headers={"idempotency-key": name}).status_code == 422


def test_too_much_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, LATER.model_copy(update={"max_pending": 1, "max_body_bytes": 2000}))
    with live(site.app) as url:
        assert httpx.post(f"{url}/async", content=b" " * 2001).status_code == 413
        site.held.clear()
        assert httpx.post(f"{url}/async", json=ROWS).status_code == 202
        refused = httpx.post(f"{url}/async", json=ROWS)
        site.held.set()
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1" and "are waiting" in refused.text


def test_boto3_submits_and_finds_the_output_where_it_was_told(client: httpx.Client, site: Site) -> None:
    source = Path(site.queue.folder) / "inputs" / "rows.csv"
    source.parent.mkdir(parents=True)
    source.write_text(as_csv(served.ROWS))
    native = client.post("/score", json=ROWS).json()["results"]
    boto = runtime(str(client.base_url).rstrip("/"))
    told = {"EndpointName": "small", "InputLocation": str(source), "ContentType": "text/csv", "InferenceId": "batch-1"}
    taken = boto.invoke_endpoint_async(**told, Accept="application/jsonlines")
    assert taken["InferenceId"] == "batch-1" and taken["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (
        boto.invoke_endpoint_async(**told, Accept="application/jsonlines")["OutputLocation"] == taken["OutputLocation"]
    )
    output = Path(taken["OutputLocation"])
    while not output.exists():
        time.sleep(0.02)
    assert [json.loads(line) for line in output.read_text().splitlines()] == native
    assert not Path(taken["FailureLocation"]).exists()
    missing = boto.invoke_endpoint_async(EndpointName="small", InputLocation=f"{source}.gone", ContentType="text/csv")
    failure = Path(missing["FailureLocation"])
    while not failure.exists():
        time.sleep(0.02)
    assert "there is no" in json.loads(failure.read_text())["reason"]


def test_boto3_has_its_input_and_its_output_on_s3(tmp_path: Path, bucket: str) -> None:
    site, s3 = Site(tmp_path, folder=f"{bucket}/root/async/small"), boto3.client("s3")
    s3.put_object(Bucket="waiting", Key="root/async/small/inputs/rows.csv", Body=as_csv(served.ROWS).encode())
    with live(site.app) as url:
        told = {"EndpointName": "small", "ContentType": "text/csv", "Accept": "text/csv"}
        taken = runtime(url).invoke_endpoint_async(InputLocation=f"{bucket}/root/async/small/inputs/rows.csv", **told)
        where = taken["OutputLocation"].removeprefix("s3://waiting/")
        wait_for(lambda: s3.list_objects_v2(Bucket="waiting", Prefix=where)["KeyCount"])
        lines = s3.get_object(Bucket="waiting", Key=where)["Body"].read().decode().splitlines()
        state = httpx.get(f"{url}/async/{taken['InferenceId']}").json()
    assert [int(line.partition(",")[0]) for line in lines] == [row["transaction_id"] for row in served.ROWS]
    assert (state["state"], state["attempts"]) == ("done", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"EndpointName": "other"}, "Endpoint other is not here"),
        ({"InputLocation": "/etc/passwd"}, "should be the URI of a file below"),
        ({"InputLocation": "s3://other/rows.csv"}, "should be the URI of a file below"),
        ({"InferenceId": "../a"}, "should be at most 128 letters"),
        ({"InferenceId": "taken"}, "different request"),
    ],
)
def test_boto3_raises_what_was_not_taken_in(
    client: httpx.Client, site: Site, arguments: dict[str, Any], words: str
) -> None:
    client.post("/async", json=ROWS, headers={"idempotency-key": "taken"})
    told = {"EndpointName": "small", "InputLocation": f"{site.queue.folder}/inputs/a.csv", **arguments}
    with pytest.raises(ClientError, match=words) as refused:
        runtime(str(client.base_url).rstrip("/")).invoke_endpoint_async(**told)
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_a_key_sees_what_was_sent_with_it_and_nothing_else(tmp_path: Path) -> None:
    texts = {name: keys.create(str(tmp_path), name, [scope])[1] for name, scope in
             (("shop", "score"), ("rival", "score"), ("labels", "label"))}  # fmt: skip
    ring = KeyRing(opening.access(str(tmp_path), Network())[0], every_s=3600)
    with live(Site(tmp_path, ring=ring).app) as url, httpx.Client(base_url=url, timeout=30) as client:
        headers = {name: {"x-api-key": text, "idempotency-key": "one"} for name, text in texts.items()}
        assert client.post("/async", json=ROWS).status_code == 401
        assert client.post("/async", json=ROWS, headers=headers["labels"]).status_code == 403
        taken = client.post("/async", json=ROWS, headers=headers["shop"])
        assert ended(client, taken, headers=headers["shop"]).status_code == 200
        for path in (taken.headers["location"], taken.json()["result"]):
            assert client.get(path, headers=headers["rival"]).status_code == 404
        assert client.post("/async", json=ROWS, headers=headers["rival"]).status_code == 409
    ring.close()


def test_pictures_are_answered_later_too(tmp_path: Path) -> None:
    with live(_image_app(tmp_path)) as url, httpx.Client(base_url=url, timeout=30) as client:
        taken = client.post("/async", content=served.WHITE, headers={"content-type": "image/png"})
        assert ended(client, taken).json()["class"] == "white"


def _image_app(folder: Path) -> FastAPI:
    from ray_mlops.serving.image_answers import Answerer, Pinned
    from ray_mlops.serving.image_limits import ImageLimits
    from ray_mlops.vision.predictor import ImagePredictor
    from ray_mlops.vision.transform import Transform
    from tests.small_images import CentroidModel

    predictor = ImagePredictor(CentroidModel(served.MEANS, 1.0), Transform(size=(8, 8), mode="L"), served.CLASSES)
    answerer = Answerer(predictor, Capture(str(folder / "images"), "v1"), Pinned("1", "d"), batch=32)
    model = {"name": "shades", "version": "1", "digest": "d", "example": {"image": ""}}
    queue = Queue(str(folder / "async"), LATER)
    return build_image_app(answerer, model, ImageLimits(), health={"status": "ok"}, attached=Attached(queue=queue))


@pytest.mark.parametrize("mode", made_up.MODES)
def test_requests_made_up_from_the_document_get_the_documented_answers(tmp_path: Path, mode: GenerationMode) -> None:
    app = Site(tmp_path, LATER.model_copy(update={"max_pending": 100_000})).app
    made_up.ask(schemathesis.openapi.from_asgi("/openapi.json", app), mode, examples=10)
