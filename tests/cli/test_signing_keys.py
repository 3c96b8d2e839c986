"""``extauthz keys list | rotate | revoke``: on the keys that a server has, which follows."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from extauthz.app.signing import signing_keys
from extauthz.config.signing import SigningKeys as WrittenKeys
from extauthz.stores import MemoryTokenStore
from extauthz.tokens.signing import SigningKeys

Command = Callable[..., Any]
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
KID = r"[A-Za-z0-9_-]{43}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the keys, beside a configuration."""
    configure(tmp_path)
    return tmp_path / "signing-keys"


def configure(folder: Path, keys: str = "refresh: 1s") -> None:
    (folder / "extauthz.yaml").write_text(
        f"tokens: {{issuer: 'http://127.0.0.1:8080', audiences: [orders], keys: {{{keys}}}}}\n"
        "store: {url: 'sqlite:state.db'}\n"
    )


def server(folder: Path, now: Callable[[], float]) -> SigningKeys:
    """What a server has open on the same folder."""
    written = WrittenKeys.model_validate({"folder": str(folder), "refresh": "1s"})
    return signing_keys(written, MemoryTokenStore(), longest_token=300.0, now=now)


def listed(run: Command) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads(run("keys", "list", "--output", "json").out)["keys"]
    return keys


def test_there_is_no_key_yet(folder: Path, run: Command) -> None:
    """That is no fault, and nothing is made by looking."""
    done = run("keys", "list")
    assert (done.code, done.out) == (0, "")
    assert "no key yet" in done.err
    assert not folder.exists()


def test_a_rotation_from_the_first_key_on(folder: Path, run: Command) -> None:
    """The first key signs at once; the next is published, and the list says when it signs and until when the first does."""
    first = run("keys", "rotate")
    assert first.code == 0
    assert re.fullmatch(rf"({KID}) \(ES256\) is made; signs now\n", first.out)
    second = run("keys", "rotate")
    assert re.fullmatch(rf"({KID}) \(ES256\) is made; signs from {MOMENT}\n", second.out)
    lines = run("keys", "list").out.splitlines()
    assert lines[0].split() == ["KID", "SLOT", "ALGORITHM", "CREATED", "THEN"]
    assert re.fullmatch(rf"{first.out[:43]}  current  ES256      {MOMENT}  signs until {MOMENT}", lines[1])
    assert re.fullmatch(rf"{second.out[:43]}  next     ES256      {MOMENT}  signs from {MOMENT}", lines[2])
    assert re.search(rf"the next key is made at {MOMENT}", run("keys", "list").err)
    assert [key["slot"] for key in listed(run)] == ["current", "next"]


def test_a_cron_job_rotates_if_it_is_due(folder: Path, run: Command) -> None:
    """Exit code 0 whether something was due or not, and a program can tell."""
    assert json.loads(run("keys", "rotate", "--if-due", "--output", "json").out)["rotated"] is True
    again = run("keys", "rotate", "--if-due")
    assert again.code == 0
    assert again.out.startswith("nothing is due: ")
    assert json.loads(run("keys", "rotate", "--if-due", "--output", "json").out)["rotated"] is False
    assert len(listed(run)) == 1


def test_another_algorithm_is_due(folder: Path, run: Command) -> None:
    """A change of the configuration is rolled out by the same command."""
    run("keys", "rotate")
    configure(folder.parent, "algorithm: EdDSA")
    run("keys", "rotate", "--if-due")
    assert [key["algorithm"] for key in listed(run)] == ["ES256", "EdDSA"]


async def test_a_server_follows(folder: Path, run: Command) -> None:
    """A key that the command makes is published by the server at its next look; one that it destroys signs no more."""
    moment = 1.0e9
    keys = server(folder, lambda: moment)
    await keys.tend()
    assert len(keys.verification_keys()) == 1
    leaked = (await keys.sign({"sub": "a"})).kid
    done = await asyncio.to_thread(run, "keys", "revoke", "--current")
    assert done.code == 0
    await keys.tend()
    assert leaked not in keys.jwks().decode()
    assert (await keys.sign({"sub": "a"})).kid != leaked


def test_an_emergency(folder: Path, run: Command) -> None:
    """The current key is destroyed with all before it, and what signs now is told."""
    run("keys", "rotate")
    [leaked] = listed(run)
    done = run("keys", "revoke", "--current")
    [new] = listed(run)
    assert done.code == 0
    assert done.out == f"destroyed: {leaked['kid']}; tokens are signed with {new['kid']} now\n"
    assert new["slot"] == "current"
    assert leaked["kid"] not in "".join(file.name for file in folder.glob("*.pem"))


def test_the_tokens_of_a_revoked_key_are_revoked(folder: Path, run: Command) -> None:
    """Through the store that all replicas share, so before they have looked at the keys."""
    run("keys", "rotate")
    [leaked] = listed(run)
    run("keys", "revoke", leaked["kid"][:10])
    with sqlite3.connect(folder.parent / "state.db") as database:
        dump = "\n".join(database.iterdump())
    assert leaked["kid"] in dump


def test_a_key_is_named_by_its_beginning(folder: Path, run: Command) -> None:
    """Six characters at least, and one key that begins so; a name may begin with a hyphen."""
    run("keys", "rotate")
    [key] = listed(run)
    for beginning in (key["kid"][:5], "nobody", "-nobody-" * 5):
        assert run("keys", "revoke", beginning).code == 1
    assert listed(run) == [key]
    done = run("keys", "revoke", key["kid"][:6], "--output", "json")
    assert done.code == 0
    assert json.loads(done.out)["revoked"] == [key["kid"]]


def test_say_which_key(folder: Path, run: Command) -> None:
    """Neither or both is wrong use."""
    run("keys", "rotate")
    assert run("keys", "revoke").code == 2
    assert run("keys", "revoke", "abcdefgh", "--current").code == 2
    assert len(listed(run)) == 1


def test_keys_of_somebody_else(folder: Path, run: Command) -> None:
    """They are shown; to make or destroy one is answered with no."""
    run("keys", "rotate")
    [file] = folder.glob("*.pem")
    configure(folder.parent, f"mounted: {{current: {file}}}")
    assert [key["slot"] for key in listed(run)] == ["current"]
    for words in (("rotate",), ("revoke", "--current")):
        done = run("keys", *words)
        assert done.code == 1
        assert "written by somebody else" in done.err
    assert run("keys", "rotate", "--if-due").code == 0


def test_keys_that_can_not_be_read(folder: Path, run: Command) -> None:
    """Exit code 1, with what is wrong and how to mend it; the configuration is not to blame."""
    run("keys", "rotate")
    [file] = folder.glob("*.pem")
    file.chmod(0o644)
    for words in (("list",), ("rotate",), ("revoke", "--current")):
        done = run("keys", *words)
        assert done.code == 1
        assert "chmod 600" in done.err


def test_without_a_token_service(tmp_path: Path, run: Command) -> None:
    """There are no signing keys: that is wrong use."""
    (tmp_path / "extauthz.yaml").write_text("")
    done = run("keys", "list")
    assert done.code == 2
    assert "no token service" in done.err


def test_commands_at_once(folder: Path, run: Command) -> None:
    """CronJobs that overlap make one key."""
    with ThreadPoolExecutor(4) as racers:
        codes = [done.code for done in racers.map(lambda _: run("keys", "rotate", "--if-due"), range(4))]
    assert codes == [0] * 4
    assert len(listed(run)) == 1
