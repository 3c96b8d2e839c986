"""``extauthz keys`` where the signing keys are in Vault: a real OpenBao."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from extauthz.cli import main
from tests.vault.openbao import OpenBao

Run = Callable[..., str]


@pytest.fixture
def run(
    bao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Run]:
    """Write ``tokens.keys``, and give what runs commands with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(bao.token)
    (tmp_path / "token").chmod(0o600)

    def configured(keys: str) -> Run:
        (tmp_path / "extauthz.yaml").write_text(
            f"vault: {{address: '{bao.url}', auth: {{tokenFile: token}}}}\n"
            "store: {url: 'sqlite:state.db'}\n"
            f"tokens: {{issuer: 'https://auth.example.com', audiences: [orders], keys: {{{keys}}}}}\n"
        )

        def command(*words: str, code: int = 0) -> str:
            done = main(["keys", *words])
            told = capsys.readouterr()
            assert done == code, told.err
            return told.out

        return command

    return configured


@pytest.mark.parametrize("place", ["transit", "kv"])
def test_keys_in_vault(place: str, bao: OpenBao, run: Callable[[str], Run]) -> None:
    """The same commands do the same: made, listed, rotated, destroyed in an emergency."""
    mount = bao.mount(place, **({"version": "2"} if place == "kv" else {}))
    keys = run(f"transit: {{mount: {mount}, name: auth}}" if place == "transit" else f"kv: {{path: {mount}/keys}}")
    keys("rotate", "--if-due")
    keys("rotate", "--if-due")
    keys("rotate")
    listed = json.loads(keys("list", "--output", "json"))
    assert listed["backend"] == place
    assert [key["slot"] for key in listed["keys"]] == ["current", "next"]
    newest = listed["keys"][-1]["kid"]
    revoked = json.loads(keys("revoke", newest, "--output", "json"))
    assert revoked["revoked"] == [key["kid"] for key in listed["keys"]]
    [left] = json.loads(keys("list", "--output", "json"))["keys"]
    assert (left["kid"], left["slot"]) == (revoked["current"], "current")
