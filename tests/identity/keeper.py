"""What a process's own token service has for the verifier beside it: its keys, and what it knows of revocations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from extauthz.errors import SigningError
from extauthz.identity import OWN_ALGORITHMS, JwtProvider, OwnKeys, Standing, TokenMarks
from extauthz.model import Deny
from tests.identity.issuer import EC_KEY, ISSUER, NOW, PrivateKey, jwk, mint

CLAIMS = {"client_id": "shop", "jti": "t1", "sid": "f1", "iat": NOW - 10}


@dataclass(frozen=True)
class OwnKey:
    """As ``extauthz.tokens.ports.KeyVersion`` has it."""

    kid: str
    algorithm: str
    public: Mapping[str, Any] | None = None
    secret: bytes | None = field(default=None, repr=False)


def public(key: PrivateKey, kid: str, algorithm: str = "ES256") -> OwnKey:
    return OwnKey(kid, algorithm, jwk(key, kid, alg=algorithm, use="sig"))


@dataclass
class Keeper:
    """Keys that a test changes; with ``elsewhere``, what a look brings."""

    keys: list[OwnKey] = field(default_factory=list)
    elsewhere: list[OwnKey] | SigningError | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    looks: int = 0

    def verification_keys(self) -> list[OwnKey]:
        return self.keys

    def on_change(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def change(self, *keys: OwnKey) -> None:
        self.keys = list(keys)
        for callback in self.callbacks:
            callback()

    async def refresh(self) -> None:
        self.looks += 1
        if isinstance(self.elsewhere, SigningError):
            raise self.elsewhere
        if self.elsewhere is not None:
            self.change(*self.elsewhere)


@dataclass
class Register:
    """Refuses the marks that a test names."""

    refused: dict[str, Deny] = field(default_factory=dict)
    asked: int = 0

    def doubts(self, marks: TokenMarks, now: float) -> bool:
        self.asked += 1
        return not self.refused.keys().isdisjoint(marks)

    def refusal(self, marks: TokenMarks, issued: float, now: float) -> Deny | None:
        return next((self.refused[mark] for mark in marks if mark in self.refused), None)


def own(keeper: Keeper, register: Standing | None = None, **parts: Any) -> JwtProvider:
    """The provider whose keys are the process's own."""
    keys = OwnKeys(keeper, Register() if register is None else register)
    plain: dict[str, Any] = {"name": "own", "issuer": ISSUER, "audiences": frozenset({"orders"})}
    return JwtProvider(**{**plain, "keys": keys, "algorithms": OWN_ALGORITHMS, **parts})


def issue(key: PrivateKey = EC_KEY, kid: str = "o1", algorithm: str = "ES256", **claims: Any) -> str:
    """A token as the token service makes it."""
    return mint({**CLAIMS, **claims}, key=key, header={"alg": algorithm, "typ": "at+jwt", "kid": kid})
