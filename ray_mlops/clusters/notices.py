"""Clouds say in a machine's metadata that they take it back; nobody but the machine hears it, and Ray does not listen."""

import http.client
import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from ray_mlops.clusters import draining
from ray_mlops.errors import ConfigError, RayMlopsError

_METADATA = "http://169.254.169.254"  # on every cloud, and only from the machine itself
_ANSWER_S = 2
_GCE_NOTICE_S = 30
LOOK_S = 5.0  # as often as Amazon advises


class Notice(NamedTuple):
    """What a cloud says it does with this machine, and when (seconds since the epoch)."""

    action: str
    deadline: float


def ec2() -> Notice | None:
    """The notice in EC2's metadata (version 2: with a token); raises `OSError` when the service does not answer."""
    service = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _METADATA)
    token = _ask(service, "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    if not token:
        raise OSError(f"{service} hands out no token")
    found = _ask(service, "GET", "/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
    if found is None:
        return None
    told = json.loads(found)
    return Notice(told["action"], datetime.fromisoformat(told["time"]).timestamp())


def gce() -> Notice | None:
    """The notice in Google's metadata, which comes 30 s before; raises `OSError` when the service does not answer."""
    host = os.environ.get("GCE_METADATA_IP", urlsplit(_METADATA).netloc)
    told = _ask(f"http://{host}", "GET", "/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return Notice("preempted", time.time() + _GCE_NOTICE_S) if told == "TRUE" else None


CLOUDS: dict[str, Callable[[], Notice | None]] = {"ec2": ec2, "gce": gce}


def watch(cloud: str, address: str, *, node: str = "", say: Callable[[str], None] = print) -> None:
    """Look every five seconds until this machine gets notice, and drain its node in the cluster at `address`.

    A metadata service or cluster that fails in between is asked again. Raises `ConfigError` when the metadata service does not
    answer at the start, `RayMlopsError` when the cluster cannot be told before the deadline.
    """
    look = CLOUDS[cloud]
    try:
        notice = look()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the metadata service of {cloud} does not answer ({error}): notices are watched for on its machines"
        ) from error
    while notice is None:
        time.sleep(LOOK_S)
        try:
            notice = look()
        except (OSError, ValueError) as error:
            say(f"the metadata service did not answer: {error}")
    say(f"{cloud} gives notice: {notice.action} in {notice.deadline - time.time():.0f} s")
    node = _drain(notice, address, node, say)
    say(f"node {node} is draining")


def _drain(notice: Notice, address: str, node: str, say: Callable[[str], None]) -> str:
    """Tell the cluster, which may be busy with the loss of others."""
    while True:
        try:
            return draining.drain(address, notice.deadline, f"the cloud takes it: {notice.action}", node=node)
        except RayMlopsError as error:
            if time.time() > notice.deadline:
                raise
            say(str(error))
        time.sleep(LOOK_S)


def _ask(service: str, method: str, path: str, headers: dict[str, str]) -> str | None:
    """An answer of the metadata service, None where it has nothing there (404). No proxy may come between: its answers are
    about whoever asks."""
    connection = http.client.HTTPConnection(urlsplit(service).netloc, timeout=_ANSWER_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP at {service}: {error}") from error
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise OSError(f"HTTP {answer.status} for {method} {path}")
    return text.strip()
