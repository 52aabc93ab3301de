"""What a machine reads of its cloud's metadata; that its node is drained then is shown in test_cluster.py."""

import time
from collections.abc import Iterator

import pytest

from ray_mlops.clusters import notices
from ray_mlops.errors import ConfigError
from tests.clusters import metadata


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[metadata.Service]:
    with metadata.service() as made:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", made.url)
        monkeypatch.setenv("GCE_METADATA_IP", made.url.removeprefix("http://"))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody's: whoever takes it does not get through
        yield made


def test_ec2_tells_its_deadline_to_who_has_a_token(service: metadata.Service) -> None:
    assert notices.ec2() is None
    until = service.take_away(seconds=120)
    assert notices.ec2() == notices.Notice("terminate", until.timestamp())


def test_google_tells_thirty_seconds_before(service: metadata.Service) -> None:
    assert notices.gce() is None
    service.take_away(seconds=30)
    before = time.time()
    notice = notices.gce()
    assert notice is not None and notice.action == "preempted"
    assert before + 30 <= notice.deadline <= time.time() + 30


@pytest.mark.parametrize("cloud", ["ec2", "gce"])
def test_where_there_is_no_metadata_service_nothing_is_watched(cloud: str, service: metadata.Service) -> None:
    service.broken = True
    with pytest.raises(ConfigError, match=f"metadata service of {cloud} does not answer .HTTP 503"):
        notices.watch(cloud, "127.0.0.1:1")
    service.shutdown()
    service.server_close()
    with pytest.raises(ConfigError, match="does not answer"):
        notices.watch(cloud, "127.0.0.1:1")
