"""The key file: nothing in it opens an endpoint, and every change keeps what it does not change."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from ray_mlops.cli import main
from ray_mlops.errors import ConfigError, StorageError
from ray_mlops.platform import leases
from ray_mlops.serving.access import keys

NOW = datetime.now(UTC)


def content(root: Path) -> str:
    return Path(keys.key_file(str(root))).read_text()


def known(root: Path) -> tuple[keys.Key, ...]:
    return keys.read(keys.key_file(str(root)))


def test_the_file_recognises_a_key_and_does_not_hold_it(tmp_path: Path) -> None:
    key, text = keys.create(str(tmp_path), "shop", ["score", "label"], days=90, rate=5)
    id, secret = keys.split(text) or ("", "")
    assert known(tmp_path) == (key,) and id == key.id
    assert keys.fits(key, secret) and not keys.fits(key, secret[:-1] + ("A" if secret[-1] != "A" else "B"))
    assert secret not in content(tmp_path)
    assert key.expires and timedelta(days=89) < key.expires - NOW < timedelta(days=91)


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    keys.create(str(tmp_path), "shop", ["score"])
    file = Path(keys.key_file(str(tmp_path)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_keys_of_the_same_secret_have_other_digests(tmp_path: Path) -> None:
    one, text = keys.new("a", ["score"])
    other, _ = keys.new("a", ["score"])
    assert not keys.fits(other, (keys.split(text) or ("", ""))[1]) and one.salt != other.salt


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "field"),
    [
        ("../../etc/passwd", ["score"], None, "name"),
        ("", ["score"], None, "name"),
        ("a\nb", ["score"], None, "name"),
        ("a", ["root"], None, "scopes"),
        ("a", [], None, "scopes"),
        ("a", ["score"], 0, "rate"),
        ("a", ["score"], -1, "rate"),
    ],
)
def test_what_no_key_can_be_is_named(
    tmp_path: Path, name: str, scopes: list[str], rate: float | None, field: str
) -> None:
    with pytest.raises(ConfigError, match=f"a key cannot have {field} "):
        keys.create(str(tmp_path), name, scopes, rate=rate)
    assert not known(tmp_path)


def test_a_name_is_given_once_while_its_key_is_valid(tmp_path: Path) -> None:
    keys.create(str(tmp_path), "shop", ["score"])
    with pytest.raises(ConfigError, match="keys rotate shop"):
        keys.create(str(tmp_path), "shop", ["score"])
    keys.revoke(str(tmp_path), "shop")
    keys.create(str(tmp_path), "shop", ["score"])
    assert [key.state(NOW) for key in known(tmp_path)] == ["revoked", "valid"]


def test_rotation_gives_a_like_key_and_the_old_one_ends_later(tmp_path: Path) -> None:
    keys.create(str(tmp_path), "other", ["admin"])
    old, _ = keys.create(str(tmp_path), "shop", ["label"], days=1, rate=3)
    new, text = keys.rotate(str(tmp_path), "shop", overlap_hours=2)
    assert (new.name, new.scopes, new.rate) == ("shop", ("label",), 3) and new.id != old.id
    assert keys.fits(new, (keys.split(text) or ("", ""))[1])
    other, kept, made = known(tmp_path)
    assert (other.name, made) == ("other", new) and other.expires is None
    assert kept.expires and old.expires and kept.expires < old.expires
    assert kept.state(NOW + timedelta(hours=1)) == made.state(NOW + timedelta(hours=1)) == "valid"
    assert kept.state(NOW + timedelta(hours=3)) == "expired"


def test_rotation_never_lengthens_a_life(tmp_path: Path) -> None:
    old, _ = keys.create(str(tmp_path), "shop", ["score"], days=1)
    keys.rotate(str(tmp_path), "shop", overlap_hours=1000)
    assert known(tmp_path)[0].expires == old.expires


def test_revocation_is_by_name_or_by_id_and_for_ever(tmp_path: Path) -> None:
    old, _ = keys.create(str(tmp_path), "shop", ["score"])
    new, _ = keys.rotate(str(tmp_path), "shop")
    assert [key.id for key in keys.revoke(str(tmp_path), old.id)] == [old.id]
    assert [key.state(NOW) for key in known(tmp_path)] == ["revoked", "valid"]
    assert [key.id for key in keys.revoke(str(tmp_path), "shop")] == [new.id]
    with pytest.raises(ConfigError, match="no key called 'shop' is valid"):
        keys.rotate(str(tmp_path), "shop")
    with pytest.raises(ConfigError, match="no key is called 'shup'; there are: shop"):
        keys.revoke(str(tmp_path), "shup")


def test_changes_made_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: keys.create(str(tmp_path), f"k{number}", ["score"]), range(24)))
    assert {key.name for key in known(tmp_path)} == {f"k{number}" for number in range(24)}


def test_changes_made_at_once_on_s3_are_all_kept(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(leases, "LOOK_S", 0.05)
    boto3.client("s3").create_bucket(Bucket="keys")
    root = "s3://keys/mlops"
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda number: keys.create(root, f"k{number}", ["score"]), range(6)))
    assert {key.name for key in keys.read(keys.key_file(root))} == {f"k{number}" for number in range(6)}


def test_a_damaged_file_is_told_without_what_is_in_it(tmp_path: Path) -> None:
    keys.create(str(tmp_path), "shop", ["score"])
    digest = known(tmp_path)[0].digest
    Path(keys.key_file(str(tmp_path))).write_text(content(tmp_path).replace('"digest"', '"digits"'))
    with pytest.raises(StorageError, match=r"is damaged \(0\.\w+: .*bring back a copy") as error:
        known(tmp_path)
    assert digest not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "rmk_", "rmk_" + "0" * 12 + "_x", "x" * 10_000, "rmk_../../../.._" + "a" * 43, "é"]
)
def test_what_is_no_key_is_not_read_as_one(text: str) -> None:
    assert keys.split(text) is None


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> str:
        assert main(["keys", *arguments, "--root", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert "no keys" in call("list")
    text = call("create", "shop", "--scope", "score", "--scope", "label", "--days", "30", "--rate", "10").strip()
    assert keys.split(text)
    shown = call("list")
    assert "shop" in shown and "score label" in shown and "valid" in shown and text not in shown
    assert keys.split(call("rotate", "shop").strip())
    assert call("revoke", "shop").count("is revoked") == 2 and "valid" not in call("list")
    assert main(["keys", "revoke", "nobody", "--root", str(tmp_path)]) == 1
    assert "no key is called 'nobody'" in capsys.readouterr().err
