"""Hostile names over real HTTP, byte by byte, at a whole replica: a 4xx, nothing written, and the replica goes on answering."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import boto3
import httpx
import pytest

from ray_mlops.serving import endpoint as endpoints
from ray_mlops.serving.asynchronous.limits import Asynchronous
from ray_mlops.serving.asynchronous.queue import Queue
from ray_mlops.serving.limits import Limits
from ray_mlops.serving.replica import Replica, Settings
from tests.hostile_names import HOSTILE, tree
from tests.serving.access.live import live
from tests.serving.protocols import served
from tests.small_model import bundle

BODY = json.dumps(served.ROWS[0]).encode()
SAGEMAKER = "x-amzn-sagemaker-"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside") / "root"


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    made = bundle(root, definition=served.DEFINITION)
    settings = Settings(
        name="small", bundle=made.uri, digest=made.digest, version="1", store="", limits=Limits(),
        capture=f"{endpoints.local_folder(str(root), 'small')}/capture", queue=endpoints.queue_folder(str(root), "small"),
        asynchronous=Asynchronous(poll_s=60),
    )  # fmt: skip
    replica = Replica(settings.model_dump(mode="json"))
    with live(replica.__serve_build_asgi_app__()) as address:
        assert httpx.post(f"{address}/score", content=BODY).status_code == 200
        yield address
    replica.close()


def status(url: str, method: str, path: bytes, headers: dict[str, bytes]) -> int:
    """The status of the answer to a request whose bytes no client has put right."""
    place = urlsplit(url)
    lines = [
        method.encode() + b" " + path + b" HTTP/1.1",
        b"host: x",
        b"content-type: application/json",
        b"connection: close",
    ]
    lines += [
        f"content-length: {len(BODY)}".encode(),
        *(name.encode() + b": " + value for name, value in headers.items()),
    ]
    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        client.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + BODY)
        with client.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def spelled(name: str) -> set[bytes]:
    """A name as it can stand in a path: escaped, and as it is where that is still a request."""
    escaped = {quote(name, safe="").encode(), quote(name).encode()}
    return escaped | ({name.encode()} if name.isascii() and name.isprintable() and " " not in name else set())


PATHS = [
    ("POST", "/endpoints/{}/invocations"),
    ("POST", "/endpoints/{}/async-invocations"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("POST", "/v2/models/{}/infer"),
    ("POST", "/v2/models/small/versions/{}/infer"),
    ("GET", "/async/{}"),
    ("GET", "/async/{}/result"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_in_a_path(url: str, root: Path, method: str, path: str, name: str) -> None:
    before = tree(root.parent)
    for text in spelled(name):
        place = path.encode().replace(b"{}", text)
        found = status(url, method, place, {})
        assert 400 <= found < 500 or (found == 307 and not name), place  # no name: a redirect to the path without it
    assert tree(root.parent) == before


HEADERS = [
    ("/async", "idempotency-key"),
    ("/endpoints/small/async-invocations", f"{SAGEMAKER}inference-id"),
    ("/endpoints/small/async-invocations", f"{SAGEMAKER}inputlocation"),
    ("/endpoints/small/invocations", f"{SAGEMAKER}target-model"),
    ("/endpoints/small/invocations", f"{SAGEMAKER}target-variant"),
    ("/score", "x-target-variant"),
]


@pytest.mark.parametrize(("path", "header"), HEADERS)
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_in_a_header(url: str, root: Path, path: str, header: str, name: str) -> None:
    source = root / "async" / "small" / "inputs" / "asked.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(BODY)
    before = tree(root.parent)
    asked = {header: name.encode()}
    if header.endswith("inference-id"):
        asked |= {f"{SAGEMAKER}inputlocation": str(source).encode()}
    assert 400 <= status(url, "POST", path.encode(), asked) < 500
    assert tree(root.parent) == before


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_as_a_variant_in_the_query(url: str, root: Path, name: str) -> None:
    before = tree(root.parent)
    place = f"/score?variant={quote(name, safe='')}".encode()
    expected = {200} if name == "" else range(400, 500)  # an empty parameter is none
    assert status(url, "POST", place, {}) in expected and tree(root.parent) == before


@pytest.mark.parametrize("header", [f"{SAGEMAKER}inference-id", "x-request-id"])
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_an_id_that_is_only_told_back_is_no_way_to_a_file(url: str, root: Path, header: str, name: str) -> None:
    """SageMaker takes any visible characters as an inference id: it stands in the answer and in the log, as text."""
    before = tree(root.parent)
    assert status(url, "POST", b"/endpoints/small/invocations", {header: name.encode()}) < 500
    assert tree(root.parent) == before


def test_the_replica_answers_as_before(url: str) -> None:
    assert httpx.post(f"{url}/score", content=BODY).status_code == 200
    taken = httpx.post(f"{url}/async", content=BODY, headers={"idempotency-key": "night-7"})
    assert taken.status_code == 202 and taken.headers["location"] == "/async/night-7"


@pytest.mark.parametrize("remote", [False, True])
def test_what_may_be_read_lies_below_the_inputs(tmp_path: Path, remote: bool) -> None:
    queue = Queue("s3://bucket/async/small" if remote else str(tmp_path), Asynchronous())
    inputs = f"{queue.folder}/inputs"
    assert queue.allows(f"{inputs}/day 1/a.csv") and queue.allows(f"{inputs}/ü.csv")
    for uri in (
        "", "/", inputs, queue.folder, f"{queue.folder}/requests/x", f"{inputs}/../requests/x", f"{inputs}x/a", f"{inputs}/a\0b",
        f"{inputs}/..", f"{inputs}/%2e%2e/x", f"{inputs}/a?endpoint_override=evil:1", f"{inputs}/a#b", f"{inputs}/..\\x",
        f"{inputs}/a\nb", f"{inputs}/a\u202eb", "s3://other/inputs/x", "/etc/passwd", "file:///etc/passwd", "http://evil/x",
    ):  # fmt: skip
        assert not queue.allows(uri), uri


def test_a_link_below_the_inputs_leads_nowhere(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path / "queue"), Asynchronous())
    inputs = tmp_path / "queue" / "inputs"
    inputs.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (inputs / "file").symlink_to(tmp_path / "secret")
    (inputs / "folder").symlink_to(tmp_path)
    assert not queue.allows(str(inputs / "file")) and not queue.allows(str(inputs / "folder" / "secret"))


def test_keys_of_a_bucket_lead_no_copy_out_of_its_folder(
    tmp_path: Path, s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_mlops.errors import StorageError
    from ray_mlops.platform import files

    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    bucket = f"hostile-{os.getpid()}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="model/weights", Body=b"1")
    files.download(f"s3://{bucket}/model", str(tmp_path / "one" / "copy"))
    client.put_object(Bucket=bucket, Key="model/../../evil", Body=b"1")
    with pytest.raises(StorageError, match="would lead out of the folder"):
        files.download(f"s3://{bucket}/model", str(tmp_path / "other" / "copy"))
    assert tree(tmp_path) == {"one", "one/copy", "one/copy/weights"}
