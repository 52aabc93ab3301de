"""Replicas follow the key file, and count what each key asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_mlops.errors import StorageError
from ray_mlops.serving.access import keyring, keys, opening
from ray_mlops.serving.access.keyring import Access, Bucket, KeyRing
from ray_mlops.serving.access.network import Network
from tests.serving.access.live import wait_for


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[KeyRing]:
    made = KeyRing(opening.access(str(tmp_path), Network())[0], every_s=0.01)
    yield made
    made.close()


def test_keys_made_and_revoked_later_are_noticed(tmp_path: Path, ring: KeyRing) -> None:
    assert not ring.closed
    key, text = keys.create(str(tmp_path), "shop", ["score"])
    wait_for(lambda: ring.find(text))
    assert ring.closed and ring.find(text) == key
    keys.revoke(str(tmp_path), "shop")
    wait_for(lambda: keyring.state(ring.find(text) or key) == "revoked")


def test_losing_the_file_lets_nobody_in(tmp_path: Path, ring: KeyRing) -> None:
    _, text = keys.create(str(tmp_path), "shop", ["score"])
    wait_for(lambda: ring.find(text))
    Path(keys.key_file(str(tmp_path))).unlink()
    wait_for(lambda: not ring.find(text))
    assert ring.closed


@pytest.mark.parametrize("content", ["[{", "", "{}", "null"])
def test_a_damaged_file_leaves_the_keys_known_last(tmp_path: Path, ring: KeyRing, content: str) -> None:
    _, text = keys.create(str(tmp_path), "shop", ["score"])
    wait_for(lambda: ring.find(text))
    Path(keys.key_file(str(tmp_path))).write_text(content)
    with pytest.raises(StorageError, match="is damaged"):
        ring.refresh()
    assert ring.find(text)
    with pytest.raises(StorageError, match="is damaged"):  # a replica does not start on it
        KeyRing(Access(keys=keys.key_file(str(tmp_path))))


def test_the_deployer_has_a_key_of_its_own_that_is_in_no_file(tmp_path: Path) -> None:
    assert opening.access(str(tmp_path), Network()) == (Access(keys=keys.key_file(str(tmp_path))), "")
    keys.create(str(tmp_path), "shop", ["score"])
    access, text = opening.access(str(tmp_path), Network())
    ring = KeyRing(access)
    found = ring.find(text)
    ring.close()
    assert found and found.name == opening.DEPLOYER and found.scopes == ("score",) and found.expires
    assert access.required and text not in access.model_dump_json()
    assert [key.name for key in keys.read(access.keys)] == ["shop"]


def test_a_bucket_fills_at_its_rate_up_to_a_second() -> None:
    now = [100.0]
    bucket = Bucket(2.0, lambda: now[0])
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]
    now[0] += 0.5
    assert bucket.take() == 0 and bucket.take() == 0.5
    now[0] += 3600
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]
    slow = Bucket(0.1, lambda: now[0])
    assert (slow.take(), slow.take()) == (0, 10)
