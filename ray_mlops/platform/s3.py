"""S3 and what speaks like it, asked again with growing pauses while it is overloaded or away for a minute.

Credentials come from the standard AWS chain, the address of another server from `AWS_ENDPOINT_URL_S3` or
`AWS_ENDPOINT_URL`. Arrow, pyiceberg and boto3 each have retries of their own; here they all get the same, as many as
`AWS_MAX_ATTEMPTS` says.
"""

import os
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

# Where it is and how it is asked, for whoever runs a command elsewhere; never who may.
SETTINGS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS")
_ATTEMPTS = 10  # at a request, half a minute to two minutes in all; Arrow gives up after six seconds by itself


class Retries(fs.AwsStandardS3RetryStrategy):
    """What to do about an answer such as 503: wait longer each time, up to 20 s. Also pyiceberg's, which makes one by name."""

    def __init__(self) -> None:
        super().__init__(max_attempts=attempts())


class Store(fs.S3FileSystem):
    """Arrow's file system with our retries, which it would lose on the way to another process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(retry_strategy=Retries(), **options)
        self._options = options

    def __reduce__(self) -> Any:
        return _store, (self._options,)


def _store(options: dict[str, Any]) -> Store:
    return Store(**options)


def opened(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of an `s3://` URI and the path inside it; raises `OSError` or `ValueError` where there is none."""
    if "?" in uri:  # options of Arrow's own, which only Arrow reads
        return fs.FileSystem.from_uri(uri)
    place = uri.partition("://")[2].rstrip("/")
    bucket = place.partition("/")[0]
    if not bucket:
        raise ValueError("there is no bucket in it")
    if not server():
        return Store(region=fs.resolve_s3_region(bucket)), place
    address = urlsplit(server())
    return Store(region=_region(), scheme=address.scheme, endpoint_override=address.netloc), place


def attempts() -> int:
    """How often a request is made before it has failed; raises `ValueError` where the setting is no such number."""
    given = os.environ.get("AWS_MAX_ATTEMPTS", "").strip() or str(_ATTEMPTS)
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"AWS_MAX_ATTEMPTS is {given!r}, and must be a whole number of 1 or more")
    return int(given)


def advice() -> str:
    """What to do where it has refused, or not answered, for good."""
    return (
        f"Check that {server() or 'Amazon S3'} answers and that the credentials are allowed this in the bucket; what may pass "
        f"was tried {attempts()} times (AWS_MAX_ATTEMPTS)."
    )


def server() -> str:
    """The address of a server other than Amazon's; empty when there is none."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def client() -> Any:
    """boto3's client, for what Arrow cannot do."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": attempts()}))


def of_iceberg() -> dict[str, str]:
    """The same for pyiceberg, which does not read the address by itself, nor the region that only Amazon's servers tell."""
    given = {"s3.retry-strategy-impl": f"{__name__}.{Retries.__name__}"}
    if not server():
        return given
    return {**given, "s3.endpoint": server(), "s3.region": _region()}


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
