"""Findings about the token service that the configuration has beside its policies."""

from collections.abc import Collection, Iterator

from extauthz.errors import Position
from extauthz.workbench.lint.findings import Finding

__all__ = ["service_findings"]


def service_findings(issuer: str, believed: Collection[str], config: str) -> Iterator[Finding]:
    """Whether Checks of the same process refuse what a token service issues.

    ``issuer`` is what its tokens say, ``believed`` are the issuers of all providers; ``config`` is the file of both.
    """
    if issuer not in believed:
        yield Finding(
            "own-tokens-refused",
            Position(config),
            f"the token service issues tokens that Checks of this configuration refuse: no provider has its issuer, {issuer}",
            "add a provider with that issuer in jwt; for tokens that only others verify, --ignore own-tokens-refused",
        )
