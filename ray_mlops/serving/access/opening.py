"""Who will be let in by an endpoint that is about to be deployed."""

from datetime import UTC, datetime, timedelta

from ray_mlops.serving.access import keys
from ray_mlops.serving.access.keyring import Access

DEPLOYER = "deployer"
DEPLOYER_S = 3600.0  # longer than any deployment takes


def access(root: str) -> tuple[Access, str]:
    """How replicas check keys, and the key with which the deployer itself may ask until it is done; empty without keys."""
    uri = keys.key_file(root)
    if not keys.read(uri):
        return Access(keys=uri), ""
    # The key file holds no key that could be sent, so the deployer brings one of its own, known to these replicas only.
    own, text = keys.new(DEPLOYER, ["score"], expires=datetime.now(UTC) + timedelta(seconds=DEPLOYER_S))
    return Access(keys=uri, required=True, deployer=own), text
