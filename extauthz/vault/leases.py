"""What is lent for a time: more time for it, or its end."""

from typing import Any

import hvac

__all__ = ["renew", "revoke"]


def renew(client: hvac.Client, lease_id: str) -> float:
    """Ask for more time, as much as there was; gives the seconds that Vault grants. Raises VaultError."""
    answer: Any = client.adapter.put("/v1/sys/leases/renew", json={"lease_id": lease_id})
    return float(answer["lease_duration"])


def revoke(client: hvac.Client, lease_id: str) -> None:
    """End it now. Vault waits for the other side, so that a failure is one here as well. Raises VaultError."""
    client.adapter.put("/v1/sys/leases/revoke", json={"lease_id": lease_id, "sync": True})
