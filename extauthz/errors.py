"""The errors of extauthz. Expected refusals of a request are values (``extauthz.model.Deny``), not errors.

::

    ExtAuthzError               base of all: catch this one at the border
    +-- ProblemsError           several things are wrong with something a person wrote; all are told at once
    |   +-- ConfigError         the configuration file, its environment overrides, or a file that they name
    |   +-- PolicyError         AuthPolicy documents
    +-- KeySetError             a key set that can't be used
    +-- UpstreamError           another server did not answer as it should (fetch, ldap)
    |   +-- EntryError          one entry of a directory can't be used; the directory itself is well
    |   +-- VaultError          Vault or OpenBao refused what was asked, or did not answer
    +-- ServingError            a listener or a certificate could not be set up
    +-- StoreError              what keeps the token service's records can't be reached or written to
    +-- SigningError            a signing key can't be had or used now
    |   +-- AlreadyRotatedError somebody else has made the next key
    |   +-- KeysWentBackError   the keys are older than those that were seen before
    +-- AuditError              the audit log can't be written, and nothing may be done without it
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "AlreadyRotatedError",
    "AuditError",
    "ConfigError",
    "EntryError",
    "ExtAuthzError",
    "KeySetError",
    "KeysWentBackError",
    "PolicyError",
    "Position",
    "Problem",
    "ProblemsError",
    "ServingError",
    "SigningError",
    "StoreError",
    "UpstreamError",
    "VaultError",
]


class ExtAuthzError(Exception):
    """Base of all errors that extauthz raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file that a person wrote."""

    file: str
    line: int = 0
    """From 1; 0 if the whole file is meant."""
    column: int = 0
    """From 1; 0 if the whole line is meant."""

    def __str__(self) -> str:
        """Write ``file:line:column``, as editors and terminals make clickable."""
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and how to mend it."""

    where: Position
    message: str
    """What is wrong: lower case, no final period."""
    hint: str = ""
    """How to mend it; empty if the message says it all."""

    def __str__(self) -> str:
        """One line for a terminal or a log."""
        return f"{self.where}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ProblemsError(ExtAuthzError):
    """Several things are wrong with something a person wrote. ``problems`` are sorted by place, without repeats."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems, sorted by file, line and column."""
        unique = dict.fromkeys(problems)
        self.problems = tuple(sorted(unique, key=lambda problem: (problem.where, problem.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigError(ProblemsError):
    """The configuration can't be used."""


class PolicyError(ProblemsError):
    """A set of policies can't be used; the set in force stays."""


class KeySetError(ExtAuthzError):
    """A key set can't be used: not JSON, no usable key, a key that must not be there."""


class UpstreamError(ExtAuthzError):
    """Another server could not be reached or did not answer as it should."""


class EntryError(UpstreamError):
    """One entry of a directory can't be used, or is not the only one. It concerns this person, and nobody else."""


class VaultError(UpstreamError):
    """Vault or OpenBao refused what was asked, or could not be asked. The text holds no secret."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep the HTTP status of the answer; 0: there was none."""
        super().__init__(message)
        self.status = status


class ServingError(ExtAuthzError):
    """A listener could not be opened, or its certificate not be read."""


class StoreError(ExtAuthzError):
    """What keeps the token service's records can't be reached or written to. What was asked may have happened or not."""


class SigningError(ExtAuthzError):
    """A signing key can't be had or used now. The text holds no secret."""


class AlreadyRotatedError(SigningError):
    """The newest key is another one than was thought: somebody else has made it."""


class KeysWentBackError(SigningError):
    """The signing keys are older than those that were seen before: a backup was restored, or they were made anew."""


class AuditError(ExtAuthzError):
    """The audit log can't be written, and the operator wants nothing done that it does not hold."""
