"""Images as a person uses it: one command from the digits to a live endpoint, and all that can be done with it then."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import lifecycle, small_images

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[str]:
    """A root in which the shipped recipe has run once; its endpoint goes with the module."""
    root = str(tmp_path_factory.mktemp("root"))
    done = lifecycle.job("vision", "--root", root, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    yield root
    lifecycle.call("undeploy", "vision", "--root", root)


@pytest.fixture(scope="module")
def url(root: str) -> str:
    return lifecycle.artifact(lifecycle.newest_run(root), "deploy")["url"]


def pictures(count: int) -> list[tuple[bytes, str]]:
    """Digits as PNG, and what they are."""
    rows = small_images.digits().slice(0, count).to_pylist()
    return [(row["image"], row["label"]) for row in rows]


def test_one_command_leaves_a_classifier_that_answers(root: str) -> None:
    record = lifecycle.newest_run(root)
    assert [stage["status"] for stage in record["stages"]] == ["done"] * 11
    assert lifecycle.artifact(record, "decide")["verdict"] == "use_ml"
    assert lifecycle.artifact(record, "evaluate")["metrics"]["accuracy"] >= 0.98
    for stage in ("analyse", "decide", "evaluate", "monitor"):
        assert "<html" in Path(lifecycle.artifact(record, stage)["report"]).read_text()


def test_pictures_are_answered_however_they_are_sent_and_at_once(url: str) -> None:
    (picture, _), sent = pictures(1)[0], pictures(60)
    text = base64.b64encode(picture).decode()
    ways = [{"content": picture}, {"files": {"image": picture}}, {"json": {"image": text}}]
    told = [httpx.post(f"{url}/predict", **way).json() for way in ways]
    assert len({(one["class"], round(one["probability"], 6)) for one in told}) == 1
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda one: httpx.post(f"{url}/predict", content=one[0], timeout=30), sent))
    assert {answer.status_code for answer in answers} == {200}
    right = sum(answer.json()["class"] == label for answer, (_, label) in zip(answers, sent, strict=True))
    assert right >= 57


def test_what_is_no_picture_is_refused(url: str) -> None:
    large = httpx.post(f"{url}/predict", content=bytes(100_000_000), timeout=60)
    none = httpx.post(f"{url}/predict", content=b"not a picture")
    typed = httpx.post(f"{url}/predict", content=b"x", headers={"content-type": "text/plain"})
    assert (large.status_code, none.status_code, typed.status_code) == (413, 422, 415)
    assert "not an image" in none.json()["error"]["message"]
    assert httpx.post(f"{url}/predict", content=pictures(1)[0][0]).status_code == 200


def test_requests_that_look_otherwise_are_drift(root: str, url: str) -> None:
    from tests.vision.pictures import encoded, noise

    odd = [base64.b64encode(encoded(noise(8, 8, 1, seed=seed))).decode() for seed in range(60)]
    for _ in range(5):
        assert httpx.post(f"{url}/predict", json={"images": odd}, timeout=60).status_code == 200
    done = lifecycle.call("run", "vision", "--root", root)
    assert done.returncode == 0, done.stderr
    record = lifecycle.newest_run(root)
    assert {stage["status"] for stage in record["stages"][:-1]} == {"reused"}
    verdict = lifecycle.artifact(record, "monitor")
    assert verdict["status"] == "alarm" and any(
        "brightness" in alarm or "contrast" in alarm for alarm in verdict["alarms"]
    )


def test_a_gate_that_is_missed_keeps_the_model_out(root: str) -> None:
    missed = lifecycle.call("run", "vision", "--root", root, "-s", "register.gates={accuracy: 1.01}")
    assert missed.returncode == 1 and "accuracy is 0." in missed.stderr


def test_folders_and_tables_of_images_are_scored(root: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, (picture, _) in enumerate(pictures(20)):
        (folder / f"{number:02d}.png").write_bytes(picture)
    (folder / "zz.png").write_bytes(b"broken")
    rows = pa.table({"image": pa.array([picture for picture, _ in pictures(20)], pa.binary())})
    pq.write_table(rows, tmp_path / "in.parquet")
    found = {}
    for source in ("in", "in.parquet"):
        out = tmp_path / f"{source}.scores"
        call = ("score", str(tmp_path / source), "--model", "vision", "--out", str(out), "--root", root)
        done = lifecycle.call(*call)
        assert done.returncode == 0, done.stderr
        found[source] = pq.read_table(out)
    assert found["in"].num_rows == 21 and "not an image" in found["in"].to_pylist()[-1]["error"]
    assert (
        sum(row["class"] == label for row, (_, label) in zip(found["in"].to_pylist()[:20], pictures(20), strict=True))
        >= 19
    )
    assert sorted(found["in.parquet"]["class"].to_pylist()) == sorted(found["in"]["class"].to_pylist()[:20])


def test_a_version_is_deployed_again_by_its_name(root: str) -> None:
    assert lifecycle.call("undeploy", "vision", "--root", root).returncode == 0
    done = lifecycle.call("deploy", "vision", "--root", root)
    assert done.returncode == 0 and "/predict" in done.stdout, done.stderr
