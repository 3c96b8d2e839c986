"""Who may read a file with a secret: told where OpenSSH and PostgreSQL would complain, and not of what a container is given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extauthz.tokens.readable_secrets import Readers, readers
from tests.stores.test_sqlite_file import NOBODY, nobody


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "billing.secret"
    file.write_text("secret\n")
    return file


def who(path: Path) -> str:
    found = readers(path, path.stat())
    return "" if found is None else str(found)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o755])
def test_everybody(secret: Path, mode: int) -> None:
    """With the mode, and what to do."""
    secret.chmod(mode)
    found = readers(secret, secret.stat())
    assert found == Readers("every user of this machine", found.mode if found else "", f"chmod 600 {secret}")
    assert f"({found.mode})" in str(found)
    secret.chmod(0o600)
    assert who(secret) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser gives files away")
def test_the_group(secret: Path) -> None:
    """Of a file of our own it is not how we read it. What root, or whoever installs it, lets our group read is."""
    for owner, mode, told in (
        (NOBODY, 0o640, "its group may read it (-rw-r-----)"),
        (NOBODY, 0o400, ""),
        (0, 0o640, ""),
        (0, 0o440, ""),
        (1, 0o640, ""),
        (1, 0o644, "every user of this machine may read it (-rw-r--r--)"),
    ):
        secret.chmod(mode)
        os.chown(secret, owner, NOBODY)
        status = secret.stat()
        with nobody():
            found = readers(secret, status)
        assert ("" if found is None else str(found)) == told
        if owner == 1 and found is not None:
            assert found.mend.startswith("chmod 640 "), "with 600 nobody but the owner could read it"


def test_what_a_kubelet_has_mounted(tmp_path: Path) -> None:
    """A file of a Secret, one in a folder of a projected volume, and what leads to them from elsewhere."""
    version = tmp_path / "volume" / "..2026_11_26_18_07_00.123456789"
    (version / "below").mkdir(parents=True)
    for name in ("secret", "below/secret"):
        (version / name).write_text("secret\n")
        (version / name).chmod(0o644)
    (tmp_path / "volume" / "..data").symlink_to(version.name)
    (tmp_path / "volume" / "secret").symlink_to("..data/secret")
    (tmp_path / "volume" / "below").symlink_to("..data/below")
    (tmp_path / "elsewhere").symlink_to("volume/secret")
    for name in ("volume/secret", "volume/below/secret", "elsewhere"):
        assert who(tmp_path / name) == ""


def test_a_link_of_somebody_else(secret: Path) -> None:
    """What it leads to counts."""
    link = secret.with_name("link")
    link.symlink_to(secret.name)
    secret.chmod(0o644)
    assert who(link).startswith("every user")


@pytest.mark.parametrize("name", ["/run/secrets/billing", "/var/run/secrets/eks/token", "/vault/secrets/billing"])
def test_where_containers_are_given_secrets(secret: Path, name: str) -> None:
    """Their modes are for one container, and nobody can change them there."""
    secret.chmod(0o644)
    assert readers(Path(name), secret.stat()) is None
    assert readers(Path("/etc") / name[1:], secret.stat()) is not None


IN_A_CONTAINER = ("unshare", "--map-root-user", "--mount", "sh", "-c")
LOOK = "from pathlib import Path; from extauthz.tokens.readable_secrets import readers as r; p = Path('secret'); print(r(p, p.stat()))"


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*IN_A_CONTAINER, "true"], check=False).returncode != 0,
    reason="this machine has no namespaces for us",
)
def test_a_file_that_is_mounted_by_itself(tmp_path: Path) -> None:
    """As with ``subPath``."""
    folder = tmp_path / "volume"
    folder.mkdir()
    (tmp_path / "secret").touch()
    mount = f"mount -t tmpfs none {folder} && touch {folder}/s && mount --bind {folder}/s secret"
    look = f'umask 022; {mount} && {sys.executable} -c "{LOOK}"'
    done = subprocess.run([*IN_A_CONTAINER, look], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    (tmp_path / "secret").chmod(0o644)
    assert who(tmp_path / "secret").startswith("every user")
