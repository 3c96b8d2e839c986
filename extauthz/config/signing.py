"""``tokens.keys``: what the token service signs with, where those keys are, and how they follow each other.

One place has the keys. Where extauthz writes them (a folder, Vault) it makes, publishes, replaces and destroys them by the
clock; where somebody else does (a mounted Secret, a shared secret) it follows. The words for times are those of their
meaning for verifiers: ``publishDelay`` is for how long everybody may have an older copy of the key set.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from extauthz.config.durations import Duration, duration_text
from extauthz.config.faults import Fault
from extauthz.config.fields import FilePath, Section, Text

__all__ = ["KvPlace", "MountedKeys", "SigningKeys", "TransitPlace", "signing_faults"]

Path = tuple[str | int, ...]

_DAY = 86_400.0
_PLACES = ("folder", "mounted", "secretFile", "transit", "kv")
_LOOKS_APART = 1.2
"""How much later than ``refresh`` a look may be: replicas don't look in step."""
_MOST_PUBLISHED = 50
"""Keys in the key set at a time; there are verifiers that take a hundred at most."""


class MountedKeys(Section):
    """PEM files that somebody else writes, such as those of a mounted Kubernetes Secret. Read again when they change."""

    current: FilePath
    """The key that signs."""
    next: FilePath | None = None
    """The key that will sign: published, so that everybody knows it by then. The file may be missing."""
    previous: FilePath | None = None
    """The key that has signed: published until its last token has ended. The file may be missing."""


class TransitPlace(Section):
    """Keys in Vault's Transit engine, which they never leave."""

    mount: Text = "transit"
    """Where the engine is mounted."""
    name: Text | None = None
    """What the names of the keys in it begin with. Absent: extauthz."""


class KvPlace(Section):
    """Keys in Vault's key-value engine, version 2: they are read into memory, and Vault is not asked for signatures."""

    path: Text | None = None
    """The secret that has them. Absent: signing-keys below `vault.secretsPath`."""


class SigningKeys(Section):
    """What tokens are signed with. At most one of `folder`, `mounted`, `secretFile`, `transit` and `kv` is given."""

    folder: Annotated[FilePath, Field(validate_default=True)] = "signing-keys/"
    """A folder that extauthz keeps its keys in, for its own user alone (0700); made with the first key. Relative to this
    file. For one machine: replicas elsewhere would have keys of their own."""
    mounted: MountedKeys | None = None
    """Files of somebody else."""
    secret_file: FilePath | None = None
    """A shared secret (HS256), such as the output of `openssl rand -base64 32`: only extauthz itself can verify its tokens,
    and a new secret refuses all tokens of the old one."""
    encoding: Literal["text", "base64"] | None = None
    """How `secretFile` holds the secret. text (the default): its bytes without the last newline. base64: decoded."""
    transit: TransitPlace | None = None
    """Vault's Transit engine."""
    kv: KvPlace | None = None
    """Vault's key-value engine."""
    algorithm: Literal["ES256", "EdDSA", "RS256", "PS256"] = "ES256"
    """What new keys are for. Another algorithm comes with the next key, which is made at once."""
    rotate_every: Annotated[float, Duration(1, 400 * _DAY)] = 30 * _DAY
    """From the making of one key to that of the next."""
    publish_delay: Annotated[float, Duration(0, 30 * _DAY)] = 600.0
    """For how long a new key is published before it signs: longer than any verifier keeps the key set. For Istio's
    RequestAuthentication, which fetches every 20 minutes, write 30m."""
    refresh: Annotated[float, Duration(0.05, 60)] = 5.0
    """How often each replica looks at the keys: a key that is revoked elsewhere is refused within this time."""
    clock_skew: Annotated[float, Duration(0, 600)] = 60.0
    """How much the clocks of replicas and verifiers may differ."""

    @property
    def places(self) -> tuple[str, ...]:
        """The keys of this section that say where the keys are, as far as they are written."""
        others = (self.mounted, self.secret_file, self.transit, self.kv)
        written = (name for name, value in zip(_PLACES[1:], others, strict=True) if value is not None)
        return (*(("folder",) if "folder" in self.model_fields_set else ()), *written)

    @property
    def place(self) -> str:
        """The one of them that counts."""
        return self.places[0] if self.places else "folder"


def signing_faults(path: Path, keys: SigningKeys, *, longest_token: float) -> Iterator[Fault]:
    """What does not fit together; ``longest_token`` is the longest lifetime of a token, in seconds."""
    places = keys.places
    if len(places) > 1:
        yield Fault((*path, places[1]), f"keys are in one place, not in {' and in '.join(places)}", "remove one")
    if keys.encoding is not None and keys.secret_file is None:
        yield Fault((*path, "encoding"), "says how secretFile is read, and there is none", "remove it")
    if len(places) <= 1:
        yield from _foreign_faults(path, keys)
    if keys.place not in ("mounted", "secretFile"):
        yield from _time_faults(path, keys, longest_token)


def _foreign_faults(path: Path, keys: SigningKeys) -> Iterator[Fault]:
    """What can't be asked for where somebody else writes the keys."""
    if keys.place not in ("mounted", "secretFile"):
        return
    written = keys.model_fields_set
    if "rotate_every" in written:
        yield Fault(
            (*path, "rotateEvery"), f"keys of {keys.place} are replaced by whoever writes them", "remove rotateEvery"
        )
    if keys.place == "mounted" and "algorithm" in written and keys.algorithm not in ("RS256", "PS256"):
        yield Fault(
            (*path, "algorithm"),
            "the type of a mounted key says its algorithm",
            "remove it; only for RSA keys there is a choice, RS256 or PS256",
        )
    if keys.place == "secretFile":
        for name, word in (("algorithm", "algorithm"), ("publish_delay", "publishDelay")):
            if name in written:
                yield Fault((*path, word), "a shared secret signs with HS256 and is never published", f"remove {word}")


def _time_faults(path: Path, keys: SigningKeys, longest_token: float) -> Iterator[Fault]:
    needed = keys.refresh * _LOOKS_APART + keys.clock_skew
    if keys.publish_delay >= keys.rotate_every:
        yield Fault(
            (*path, "publishDelay"),
            "a key would be replaced before it signs",
            f"make it shorter than rotateEvery, which is {duration_text(keys.rotate_every)}",
        )
    elif keys.publish_delay < needed:
        yield Fault(
            (*path, "publishDelay"),
            "is shorter than refresh and clockSkew together: a replica could sign with a key that another one does not know",
            f"make it {duration_text(needed)} or longer; what is above that is for the copies of other verifiers",
        )
    published = (keys.publish_delay + longest_token + keys.clock_skew) / keys.rotate_every + 1
    if published > _MOST_PUBLISHED:
        yield Fault(
            (*path, "rotateEvery"),
            f"is so short that {published:.0f} keys would be published at a time",
            f"make it longer, or tokens shorter: there are verifiers that take no more than {_MOST_PUBLISHED * 2}",
        )
