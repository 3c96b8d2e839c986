"""The authorization server of the mesh: its configuration file filled in, and `extauthz serve` as a process.

Model: `mesh/templates/extauthz.yaml` is what a person would write; this module fills in addresses and files, for the
local mesh and for compose alike. The server runs as users run it, `python -m extauthz serve --config FILE`, and is
ready when its own /readyz says so.

Trade-off: string templates instead of a YAML writer, so that the file keeps its comments and reads like documentation.
Every value is quoted in the template, and a placeholder without a value is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from mesh.processes import Process, answers
from mesh.proxy import PROJECT

TEMPLATE = PROJECT / "mesh" / "templates" / "extauthz.yaml"
POLICIES = PROJECT / "mesh" / "policies"


@dataclass(frozen=True, slots=True)
class AuthzSettings:
    """What differs between two places where the mesh's extauthz runs."""

    check: str
    admin: str
    http: str
    tokens: str
    """The issuer of the token service: the URL by which its clients reach the http listener."""
    secrets: str
    """The folder of the clients' secrets, one file each."""
    keys: str
    """What tokens are signed with, as in `folder: "keys/"`."""
    audit: str
    issuer: str
    partner_keys: str
    """The one line that says where the partner's keys are, as in `jwksFile: "partner.json"`."""
    partner_fetch: str = ""
    """One more line of that provider, ended by a line end, where its keys have to be fetched."""
    policies: str = str(POLICIES)
    decisions: str = "stdout"
    store: str = "memory:"
    """Where rates, refresh tokens and revocations are: in the process, or in a store that replicas share."""
    vault: str = ""
    """The section `vault`, ended by a line end, where something is there."""
    plaintext: bool = False
    """True where the listeners are reachable beyond loopback without TLS, as inside a container network."""


def render_config(settings: AuthzSettings) -> str:
    """The configuration file for these settings."""
    return Template(TEMPLATE.read_text()).substitute(
        check=settings.check,
        admin=settings.admin,
        http=settings.http,
        tokens=settings.tokens,
        secrets=settings.secrets,
        keys=settings.keys,
        audit=settings.audit,
        vault=settings.vault,
        issuer=settings.issuer,
        partner_keys=settings.partner_keys,
        partner_fetch=settings.partner_fetch,
        policies=settings.policies,
        decisions=settings.decisions,
        store=settings.store,
        plaintext="true" if settings.plaintext else "false",
    )


class AuthzProcess(Process):
    """A running `extauthz serve` with the given settings."""

    def __init__(
        self, settings: AuthzSettings, directory: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self.config = directory / "extauthz.yaml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(render_config(settings))
        super().__init__(
            "extauthz",
            [sys.executable, "-m", "extauthz", "serve", "--config", str(self.config)],
            log=directory / "extauthz.log",
            ready=[answers(f"http://{settings.admin}/readyz")],
            environment=environment,
            directory=PROJECT,
        )

    @property
    def admin_url(self) -> str:
        return f"http://{self.settings.admin}"
