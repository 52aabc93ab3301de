"""Who will be let in by an endpoint that is about to be deployed."""

from datetime import UTC, datetime, timedelta

from ray_mlops.errors import EndpointError
from ray_mlops.serving.access import keys
from ray_mlops.serving.access.keyring import Access
from ray_mlops.serving.access.network import Network

DEPLOYER = "deployer"
DEPLOYER_S = 3600.0  # longer than any deployment takes


def access(root: str, network: Network) -> tuple[Access, str]:
    """How replicas check keys, and the key with which the deployer itself may ask until it is done; empty without keys.

    Raises `EndpointError` when other machines could ask and no key is there to tell whom to answer.
    """
    network.check_certificate()
    uri, now = keys.key_file(root), datetime.now(UTC)
    known = keys.read(uri)
    if not network.loopback and not any(key.state(now) == "valid" for key in known):
        raise EndpointError(
            f"deploy.network.host={network.host} would let every machine that reaches this one ask the endpoint, for no "
            f"key is valid in {uri}: make one with `ray-mlops keys create NAME`, or leave the host at 127.0.0.1"
        )
    if not known:
        return Access(keys=uri), ""
    # The key file holds no key that could be sent, so the deployer brings one of its own, known to these replicas only.
    own, text = keys.new(DEPLOYER, ["score"], expires=now + timedelta(seconds=DEPLOYER_S))
    return Access(keys=uri, required=True, deployer=own), text
