"""The conformance suite of signing keys over a real OpenBao: Transit, and the key-value engine."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from extauthz.vault import KvKeys, TransitKeys
from tests.tokens.key_backend_suite import KeyBackendSuite, Place
from tests.vault.openbao import OpenBao

ALL = 'path "{}/*" {{ capabilities = ["create", "read", "update", "delete", "list"] }}'
NOTHING = 'path "{}/*" {{ capabilities = ["deny"] }}'


class Permission:
    """A token that may do all in one mount, or for a while nothing."""

    def __init__(self, bao: OpenBao, mount: str) -> None:
        self._bao = bao
        self._mount = mount
        self._policy = f"policy-{secrets.token_hex(4)}"
        self.give()
        made = bao.api("POST", "auth/token/create", {"policies": [self._policy]})
        self.token: str = made["auth"]["client_token"]

    def give(self) -> None:
        self._write(ALL)

    def take(self) -> None:
        self._write(NOTHING)

    def _write(self, text: str) -> None:
        self._bao.api("PUT", f"sys/policies/acl/{self._policy}", {"policy": text.format(self._mount)})


class TestTransit(KeyBackendSuite):
    """The keys are in Vault, and so is the clock; a comparison that nobody else can come between is the store's business."""

    @pytest.fixture
    def place(self, bao: OpenBao) -> Place:
        mount = bao.mount("transit")
        permission = Permission(bao, mount)
        vault = bao.vault(permission.token)
        return Place(
            open=lambda: TransitKeys(vault, "extauthz", mount=mount),
            break_it=permission.take,
            mend=permission.give,
            secrets=lambda: [permission.token.encode()],
            lacks=frozenset({"compare", "back up", "clock"}),
        )


class TestKv(KeyBackendSuite):
    """The keys are in one secret."""

    @pytest.fixture
    def place(self, bao: OpenBao) -> Place:
        mount = bao.mount("kv", version="2")
        permission = Permission(bao, mount)
        vault = bao.vault(permission.token)
        path = f"{mount}/data/auth/signing-keys"

        def content() -> dict[str, Any]:
            found: dict[str, Any] = bao.api("GET", path)["data"]["data"]
            return found

        def back_up() -> Callable[[], None]:
            saved = content()["keys"]

            def put_back() -> None:
                now = content()
                known = {key["kid"] for key in now["keys"]}
                keys = now["keys"] + [key for key in saved if key["kid"] not in known]
                bao.api("POST", path, {"data": {**now, "keys": keys}})

            return put_back

        return Place(
            open=lambda: KvKeys(vault, f"{mount}/auth/signing-keys"),
            break_it=permission.take,
            mend=permission.give,
            secrets=lambda: [key["privateKey"].splitlines()[1].encode() for key in content()["keys"]],
            back_up=back_up,
        )
