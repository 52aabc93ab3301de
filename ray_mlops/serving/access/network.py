"""Where an endpoint listens, and whether what it says can be read on the way."""

import ipaddress
import ssl
from typing import Self

from pydantic import Field, field_validator, model_validator

from ray_mlops.contract import Frozen
from ray_mlops.errors import EndpointError


class Network(Frozen):
    """The address that Serve's proxy listens on, by default one that only this machine reaches, and the files (PEM) of a
    certificate and its private key when it speaks TLS. With a `grpc_port` other than 0 clients of the Open Inference
    Protocol are answered over gRPC there. All endpoints of a cluster share it."""

    host: str = Field(default="127.0.0.1", min_length=1)
    grpc_port: int = Field(default=0, ge=0, le=65535)
    certificate: str = ""
    private_key: str = ""

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        if host != "localhost":
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise ValueError("should be an IP address: 127.0.0.1, 0.0.0.0 for all of this machine's") from None
        return host

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("TLS needs both, certificate and private_key")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def url(self, port: int) -> str:
        """Where this machine reaches it."""
        host = self.host
        if host != "localhost" and (address := ipaddress.ip_address(host)).is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
        return f"{'https' if self.certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def check_certificate(self) -> None:
        """Raises `EndpointError` when the files are no certificate and its private key."""
        if not self.certificate:
            return
        try:
            # An encrypted key would ask for its password on the terminal, where a server has none.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certificate, self.private_key, password=lambda: ""
            )
        except (OSError, ssl.SSLError) as error:
            raise EndpointError(
                f"TLS cannot start with certificate {self.certificate} and private_key {self.private_key}: "
                f"{error.strerror or error}; both should be readable PEM files that belong together"
            ) from None
