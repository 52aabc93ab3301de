"""Open access only on this machine, and TLS with a certificate that fits."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from ray.serve.config import HTTPOptions

from ray_mlops.cli import main
from ray_mlops.contract import ModelVersion, Run
from ray_mlops.errors import EndpointError
from ray_mlops.serving import endpoint, probe
from ray_mlops.serving.access import keys, opening
from ray_mlops.serving.access.network import Network
from ray_mlops.stages import deploy
from ray_mlops.stages.deploy import DeployConfig
from ray_mlops.stages.images import deploy as image_deploy
from ray_mlops.stages.images.deploy import ImageDeployConfig
from tests.serving.access.live import live

OUTSIDE = ["0.0.0.0", "::", "10.1.2.3", "192.168.0.1"]


def self_signed(folder: Path) -> Network:
    """A certificate for 127.0.0.1 and its private key."""
    folder.mkdir(parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(private, hashes.SHA256())
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, plain))
    return Network(certificate=str(certificate), private_key=str(key))


@pytest.mark.parametrize("host", OUTSIDE)
@pytest.mark.parametrize(
    ("stage", "config"), [(deploy, DeployConfig), (image_deploy, ImageDeployConfig)], ids=["transactions", "images"]
)
def test_no_stage_opens_to_others_without_keys(tmp_path: Path, stage: Any, config: Any, host: str) -> None:
    run = Run(root=str(tmp_path), id="r", recipe="small", uri=str(tmp_path / "a"), fingerprint="f")
    nothing = ModelVersion(uri="", fingerprint="", name="shop", version="1", digest="d")
    with pytest.raises(EndpointError, match=f"deploy.network.host={host} would let .*`ray-mlops keys create NAME`"):
        stage.run(config(network=Network(host=host)), run, version=nothing)


@pytest.mark.parametrize("host", OUTSIDE)
def test_keys_that_are_over_open_nothing(tmp_path: Path, host: str) -> None:
    keys.create(str(tmp_path), "shop", ["score"])
    assert opening.access(str(tmp_path), Network(host=host))[0].required
    keys.revoke(str(tmp_path), "shop")
    with pytest.raises(EndpointError, match="no key is valid"):
        opening.access(str(tmp_path), Network(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_needs_no_keys(tmp_path: Path, host: str) -> None:
    assert not opening.access(str(tmp_path), Network(host=host))[0].required


@pytest.mark.parametrize("host", ["", "example.com", "127.0.0.1.evil.com", "localhost\n", "0", "127.1"])
def test_a_host_is_an_address(host: str) -> None:
    with pytest.raises(ValidationError):
        Network(host=host)


def test_a_wrong_host_is_named_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "fraud", "-s", "deploy.network.host=example.com"]) == 1
    assert "deploy.network.host" in capsys.readouterr().err


def test_urls_are_those_by_which_this_machine_reaches_it() -> None:
    hosts = ("127.0.0.1", "0.0.0.0", "::", "10.1.2.3", "localhost")
    found = [Network(host=host).url(80).removeprefix("http://").removesuffix(":80") for host in hosts]
    assert found == ["127.0.0.1", "127.0.0.1", "[::1]", "10.1.2.3", "localhost"]
    assert Network(certificate="c", private_key="k").url(443) == "https://127.0.0.1:443"


def test_a_certificate_must_fit_its_private_key(tmp_path: Path) -> None:
    one, other = self_signed(tmp_path / "one"), self_signed(tmp_path / "other")
    one.check_certificate()
    for wrong in (other.private_key, str(tmp_path / "missing.pem"), one.certificate):
        mixed = one.model_copy(update={"private_key": wrong})
        with pytest.raises(EndpointError, match="should be readable PEM files that belong together"):
            opening.access(str(tmp_path), mixed)
    with pytest.raises(ValidationError, match="needs both"):
        Network(certificate=one.certificate)


def test_serve_takes_the_certificate_and_the_deployer_asks_over_tls(tmp_path: Path) -> None:
    network = self_signed(tmp_path)
    assert HTTPOptions(ssl_certfile=network.certificate, ssl_keyfile=network.private_key).ssl_certfile

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"version": "1"}'})

    with live(app, ssl_certfile=network.certificate, ssl_keyfile=network.private_key, lifespan="off") as url:
        probe.wait(url, {"version": "1"}, seconds=30)
        assert probe.ask(url, {}, seconds=30) == {"version": "1"}
        trusted = ssl.create_default_context(cafile=network.certificate)
        assert httpx.get(url, verify=trusted).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(url)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"port": 9000}, "set deploy.port to 8000"),
        ({"host": "0.0.0.0"}, "set deploy.network.host to 127.0.0.1"),
        ({"ssl_certfile": "c.pem", "ssl_keyfile": "k.pem"}, "set deploy.network.certificate to nothing"),
    ],
)
def test_one_proxy_for_all_endpoints_of_a_cluster(asked: dict[str, Any], told: str) -> None:
    same = {"host": "127.0.0.1", "port": 8000}
    running = HTTPOptions(**same)
    endpoint.check_same(running, HTTPOptions(**same))
    with pytest.raises(EndpointError, match=told):
        endpoint.check_same(running, HTTPOptions(**{**same, **asked}))
