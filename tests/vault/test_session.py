"""Logging in and staying so (K12), against a real OpenBao."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hvac
import joserfc.jwk
import joserfc.jwt
import pytest
import trustme

from extauthz.errors import VaultError
from extauthz.vault import AppRoleLogin, JwtLogin, Login, TokenLogin, Vault
from extauthz.vault.session import Session
from tests.vault.openbao import OpenBao

NOBODY = "no-such-token"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def session_of(bao: OpenBao, login: Login, clock: Any = time.monotonic, **others: Any) -> Session:
    return Vault(bao.settings(login=login, **others), clock=clock, now=time.time).session


def who(client: hvac.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.auth.token.lookup_self()["data"]
    return found


@pytest.fixture
def role(bao: OpenBao) -> str:
    """The mount of AppRole logins; its one role is ``auth``."""
    mount = f"approle-{secrets.token_hex(4)}"
    bao.api("POST", f"sys/auth/{mount}", {"type": "approle"})
    bao.api("POST", f"auth/{mount}/role/auth", {"token_ttl": "60s", "token_max_ttl": "600s"})
    return mount


def app_role(bao: OpenBao, mount: str, folder: Path, *, wrapped: bool = False) -> AppRoleLogin:
    """A login with a fresh secret id, in files as an operator's tool leaves them."""
    role_id = bao.api("GET", f"auth/{mount}/role/auth/role-id")["data"]["role_id"]
    (folder / "role-id").write_text(f"{role_id}\n")
    made = bao.api("POST", f"auth/{mount}/role/auth/secret-id", wrap="60s" if wrapped else "")
    (folder / "secret-id").write_text(made["wrap_info"]["token"] if wrapped else made["data"]["secret_id"])
    return AppRoleLogin(None, str(folder / "role-id"), str(folder / "secret-id"), wrapped, mount)


def test_renewal_at_two_thirds(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """Of the token's life, a little earlier for some; then the rest begins anew."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    for _ in range(3):
        session.ask(who)
        assert clock.now + 34.0 <= session.due <= clock.now + 40.0
        assert session.ends == clock.now + 60.0
        clock.now = session.due
        session.renew()
    assert (session.counts.logins, session.counts.renewals, session.generation) == (1, 3, 1)


def test_renewals_are_scattered(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """Replicas that logged in together do not come back together."""
    login = app_role(bao, role, tmp_path)
    sessions = [session_of(bao, login, clock) for _ in range(8)]
    for session in sessions:
        session.renew()
    assert len({session.due for session in sessions}) == 8


def test_a_token_at_the_end_of_all_renewals_is_replaced(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """A renewal gives it less than half of its life, since its maximum is near: another login comes while it still lives."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    first = session.ask(who)["accessor"]
    bao.api("POST", f"auth/{role}/role/auth", {"token_ttl": "20s", "token_max_ttl": "20s"})
    clock.now = session.due
    session.renew()
    assert (session.counts.logins, session.counts.renewals, session.generation) == (2, 1, 2)
    assert session.ask(who)["accessor"] != first
    assert session.ends == clock.now + 20.0
    assert bao.api("POST", "auth/token/lookup-accessor", {"accessor": first})


def test_a_token_that_ended_is_replaced(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """As after a night in which the machine slept."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    session.ask(who)
    clock.now += 3600
    session.ask(who)
    assert (session.counts.logins, session.generation) == (2, 2)


def test_a_revoked_token_is_replaced_once(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """However many questions are refused at the same time, there is one login, and all are answered."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    before = session.ask(who)
    bao.api("POST", "auth/token/revoke-accessor", {"accessor": before["accessor"]})
    clock.now += 5
    with ThreadPoolExecutor(16) as threads:
        after = list(threads.map(lambda _: session.ask(who)["accessor"], range(16)))
    assert before["accessor"] not in after
    assert (len(set(after)), session.counts.logins) == (1, 2)


def test_a_revoked_token_is_replaced_when_it_would_be_renewed(
    bao: OpenBao, role: str, tmp_path: Path, clock: Clock
) -> None:
    """Nobody has asked anything since."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    accessor = session.ask(who)["accessor"]
    bao.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    clock.now = session.due
    session.renew()
    assert (session.counts.logins, session.generation, session.error) == (2, 2, "")


def test_a_refusal_is_no_reason_to_log_in(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """A policy that was taken away must not become a storm of logins."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    for _ in range(5):
        clock.now += 5
        with pytest.raises(VaultError, match="HTTP 403"):
            session.ask(lambda client: client.adapter.get("/v1/sys/policies/acl"))
    assert session.counts.logins == 1


def test_a_wrapped_secret_id_is_opened_once(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """Logins after the first use what was in it. Whoever comes second is told that it may be stolen."""
    login = app_role(bao, role, tmp_path, wrapped=True)
    session = session_of(bao, login, clock)
    session.ask(who)
    clock.now += 3600
    session.ask(who)
    assert session.counts.logins == 2
    thief = session_of(bao, login, clock)
    with pytest.raises(VaultError, match="was opened by somebody else, who may have stolen it"):
        thief.ask(who)


def test_a_wrapped_secret_id_of_somebody_else_is_refused(bao: OpenBao, role: str, tmp_path: Path) -> None:
    """Who can write the file could make us log in as another role; it is not even opened."""
    login = app_role(bao, role, tmp_path, wrapped=True)
    made = bao.api("POST", "sys/wrapping/wrap", {"secret_id": "x"}, wrap="60s")["wrap_info"]["token"]
    (tmp_path / "secret-id").write_text(made)
    with pytest.raises(VaultError, match=r"is no secret id of auth/approle-\w+: sys/wrapping/wrap"):
        session_of(bao, login).ask(who)
    assert bao.api("POST", "sys/wrapping/unwrap", {"token": made})["data"] == {"secret_id": "x"}


def test_a_secret_id_that_was_renewed_is_used(bao: OpenBao, role: str, tmp_path: Path, clock: Clock) -> None:
    """Its file is read for each login."""
    session = session_of(bao, app_role(bao, role, tmp_path), clock)
    session.ask(who)
    app_role(bao, role, tmp_path)
    clock.now += 3600
    session.ask(who)


def test_login_without_a_secret_id(bao: OpenBao, role: str) -> None:
    """Of a role that binds none."""
    bao.api("POST", f"auth/{role}/role/auth", {"bind_secret_id": False, "token_bound_cidrs": ["127.0.0.1/32"]})
    role_id = bao.api("GET", f"auth/{role}/role/auth/role-id")["data"]["role_id"]
    assert session_of(bao, AppRoleLogin(role_id, None, None, mount=role)).ask(who)["path"] == f"auth/{role}/login"


def test_login_by_jwt(bao: OpenBao, tmp_path: Path) -> None:
    """Of an issuer that Vault trusts; the file is read for each login."""
    mount = f"jwt-{secrets.token_hex(4)}"
    key = joserfc.jwk.ECKey.generate_key("P-256")
    bao.api("POST", f"sys/auth/{mount}", {"type": "jwt"})
    bao.api("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [key.as_pem(private=False).decode()]})
    bao.api(
        "POST",
        f"auth/{mount}/role/auth",
        {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_ttl": "60s"},
    )
    claims = {"sub": "extauthz", "aud": "vault", "exp": int(time.time()) + 60}
    file = tmp_path / "token"
    file.write_text(joserfc.jwt.encode({"alg": "ES256"}, claims, key))
    session = session_of(bao, JwtLogin("auth", str(file), mount))
    assert session.ask(who)["meta"] == {"role": "auth"}
    file.write_text("x.y.z")
    fresh = session_of(bao, JwtLogin("auth", str(file), mount))
    with pytest.raises(VaultError, match=r"auth/jwt-\w+/login: HTTP 4") as caught:
        fresh.ask(who)
    assert "x.y.z" not in str(caught.value)


@pytest.fixture
def kube() -> Iterator[str]:
    """The one call of a Kubernetes API server that Vault makes: whose token is this? A fake, since there is no cluster."""

    class Reviews(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            good = asked["spec"]["token"].endswith("good")
            user = {"username": "system:serviceaccount:shop:auth", "uid": "1", "groups": []}
            asked["status"] = {"authenticated": good, "user": user} if good else {"authenticated": False}
            body = json.dumps(asked).encode()
            self.send_response(201)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Reviews)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_login_by_service_account(bao: OpenBao, kube: str, tmp_path: Path) -> None:
    """The pod's token, which Vault has reviewed by Kubernetes; the kubelet renews the file."""
    mount = f"kubernetes-{secrets.token_hex(4)}"
    bao.api("POST", f"sys/auth/{mount}", {"type": "kubernetes"})
    ca = trustme.CA().cert_pem.bytes().decode()  # it must have one, although the fake is without TLS
    bao.api(
        "POST",
        f"auth/{mount}/config",
        {"kubernetes_host": kube, "kubernetes_ca_cert": ca, "disable_local_ca_jwt": True},
    )
    bao.api(
        "POST",
        f"auth/{mount}/role/auth",
        {"bound_service_account_names": "auth", "bound_service_account_namespaces": "shop", "token_ttl": "60s"},
    )
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:shop:auth",
        "kubernetes.io/serviceaccount/namespace": "shop",
        "kubernetes.io/serviceaccount/service-account.name": "auth",
        "kubernetes.io/serviceaccount/service-account.uid": "1",
        "iat": int(time.time()) - 5,
        "nbf": int(time.time()) - 5,
        "exp": int(time.time()) + 600,
    }
    key = joserfc.jwk.ECKey.generate_key("P-256")
    token = joserfc.jwt.encode({"alg": "ES256"}, claims, key)
    file = tmp_path / "token"
    file.write_text(token[: token.rindex(".") + 1] + "good")
    session = session_of(bao, JwtLogin("auth", str(file), mount))
    assert session.ask(who)["meta"]["service_account_name"] == "auth"


def test_a_token_that_somebody_else_keeps(bao: OpenBao, tmp_path: Path, clock: Clock) -> None:
    """As a Vault agent writes it: the file is read again when its token is gone, and such a token is not revoked by us."""
    file = tmp_path / "token"
    first, second = (bao.api("POST", "auth/token/create", {"ttl": "60s"})["auth"]["client_token"] for _ in range(2))
    file.write_text(first + "\n")
    session = session_of(bao, TokenLogin(str(file)), clock)
    session.ask(who)
    bao.api("POST", "auth/token/revoke", {"token": first})
    file.write_text(second + "\n")
    clock.now += 5
    assert session.ask(who)["id"] == second
    session.close()
    assert bao.api("GET", "auth/token/lookup-self", token=second)["data"]["id"] == second


@pytest.mark.parametrize("method", ["file", "variable"])
def test_a_token_that_is_not_valid_is_told_without_it(bao: OpenBao, tmp_path: Path, method: str) -> None:
    """With where it is from."""
    file = tmp_path / "token"
    file.write_text(NOBODY)
    login, source = (
        (TokenLogin(str(file)), f"tokenFile {file}") if method == "file" else (TokenLogin(token=NOBODY), "VAULT_TOKEN")
    )
    with pytest.raises(VaultError, match=f"the token of {source} is not valid") as caught:
        session_of(bao, login).ask(who)
    assert NOBODY not in str(caught.value)
    assert NOBODY not in repr(login)


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe", b"x" * 70_000])
def test_a_file_without_a_secret(bao: OpenBao, tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, or something else."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(VaultError, match=f"tokenFile {file}: (it does not hold one secret|No such file)"):
        session_of(bao, TokenLogin(str(file))).ask(who)


def test_our_token_ends_with_us(bao: OpenBao, role: str, tmp_path: Path) -> None:
    """It was made for us, and nobody needs it any more."""
    session = session_of(bao, app_role(bao, role, tmp_path))
    accessor = session.ask(who)["accessor"]
    assert bao.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})
    session.close()
    with pytest.raises(Exception, match="invalid accessor"):
        bao.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})


def test_namespaces(bao: OpenBao) -> None:
    """All that is asked is asked there, the login included."""
    name = f"team-{secrets.token_hex(4)}"
    bao.api("POST", f"sys/namespaces/{name}")
    bao.api("POST", f"{name}/sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
    bao.api("POST", f"{name}/kv/data/auth", {"data": {"a": "b"}})
    bao.api("PUT", f"{name}/sys/policies/acl/all", {"policy": 'path "kv/*" { capabilities = ["read"] }'})
    token = bao.api("POST", f"{name}/auth/token/create", {"policies": ["all"]})["auth"]["client_token"]
    session = session_of(bao, TokenLogin(token=token), namespace=name)
    assert session.ask(lambda client: client.adapter.get("/v1/kv/data/auth"))["data"]["data"] == {"a": "b"}
