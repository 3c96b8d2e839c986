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
from typing import Self

from mesh.desk import TokenDesk
from mesh.processes import Process, answers
from mesh.proxy import PROJECT

TEMPLATE = PROJECT / "mesh" / "templates" / "extauthz.yaml"
POLICIES = PROJECT / "mesh" / "policies"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """The token service of the mesh, in a place where it runs."""

    http: str
    """Where it listens."""
    issuer: str
    """The URL by which its clients reach it."""
    secrets: str
    """The folder of the clients' secrets, one file each."""
    keys: str
    """What tokens are signed with, as in `folder: "keys/"`."""
    audit: str
    """The folder of the audit log."""
    vault: str = ""
    """The section `vault`, ended by a line end, where something is there."""

    @classmethod
    def local(cls, http: str, folder: Path) -> Self:
        """On this machine, with secrets that are made now, and everything that it keeps in one folder."""
        desk = TokenDesk.open(f"http://{http}", folder / "secrets")
        return cls(http, desk.url, str(desk.folder), f'folder: "{folder / "keys"}"', str(folder))

    @property
    def desk(self) -> TokenDesk:
        """The token service as its clients see it."""
        return TokenDesk(self.issuer, Path(self.secrets))


@dataclass(frozen=True, slots=True)
class AuthzSettings:
    """What differs between two places where the mesh's extauthz runs."""

    check: str
    admin: str
    tokens: TokenSettings
    issuer: str
    partner_keys: str
    """The one line that says where the partner's keys are, as in `jwksFile: "partner.json"`."""
    partner_fetch: str = ""
    """One more line of that provider, ended by a line end, where its keys have to be fetched."""
    policies: str = str(POLICIES)
    decisions: str = "stdout"
    store: str = "memory:"
    """Where rates, refresh tokens and revocations are: in the process, or in a store that replicas share."""
    plaintext: bool = False
    """True where the listeners are reachable beyond loopback without TLS, as inside a container network."""


def render_config(settings: AuthzSettings) -> str:
    """The configuration file for these settings."""
    return Template(TEMPLATE.read_text()).substitute(
        check=settings.check,
        admin=settings.admin,
        http=settings.tokens.http,
        tokens=settings.tokens.issuer,
        secrets=settings.tokens.secrets,
        keys=settings.tokens.keys,
        audit=settings.tokens.audit,
        vault=settings.tokens.vault,
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
