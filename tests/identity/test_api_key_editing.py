"""Adding and revoking keys leaves all else in a key file as it was."""

import os
import stat
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import ConfigError
from extauthz.identity.api_key_editing import add_key, revoke_key, with_key, with_revocation
from extauthz.identity.api_key_records import ApiKeyRecord, read_records
from tests.identity.key_file import entry, fresh_key, write

ID, OTHER = "eak_7Ht2kQ9xWbLm", "eak_000000000000"
RECORD = ApiKeyRecord(OTHER, b"\x01" * 32, "b")
DIGEST = "ab" * 32


def give(file: Path, **parts: object) -> str:
    """A new key in a file."""
    return add_key(
        **{  # type: ignore[arg-type]
            "file": str(file),
            "prefix": None,
            "subject": "billing",
            "roles": ["partner"],
            "created": 0.0,
            "expires": None,
            "description": "",
            "random_bytes": os.urandom,
            **parts,
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# ours\n",
        "keys:\n",
        "keys: []  # none yet\n",
        f"keys:\n- {{id: {ID}, sha256: {DIGEST}, subject: a}}",
        f"keys:\n- id: {ID}\n  sha256: {DIGEST}\n  subject: a  # Anna\n\n# the end\n",
        f"# ours\nkeys:\n  - id: {ID}\n    sha256: {DIGEST}\n    subject: a\n",
        f"---\nkeys:\r\n    - id: {ID}\r\n      sha256: {DIGEST}\r\n      subject: a\r\n",
    ],
)
def test_a_key_is_added_at_the_end(text: str) -> None:
    """In each usual layout all old lines stay, comments included."""
    before, _ = read_records(text, "k")
    after = with_key(text, RECORD, "k")
    assert read_records(after, "k") == ([*before, RECORD], [])
    kept = text.replace("keys: []", "keys:").split("\n")
    assert after.split("\n")[: len(kept) - 1] == kept[:-1] or after.startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        f"keys: [{{id: {ID}, sha256: {DIGEST}, subject: a}}]\n",
        f"{{keys: [{{id: {ID}, sha256: {DIGEST}, subject: a}}]}}",
    ],
)
def test_a_layout_that_can_not_be_added_to(text: str) -> None:
    """The file is left alone, and the person is told how to write it."""
    with pytest.raises(ConfigError, match=r"can't be edited here.*lines of its own"):
        with_key(text, RECORD, "k")


@pytest.mark.parametrize(
    "text",
    [
        f"keys:\n- id: {ID}\n  sha256: {DIGEST}\n  subject: a\n- id: {OTHER}\n  sha256: {DIGEST}\n  subject: b\n  disabled: false\n",
        f"keys:\n  - sha256: {DIGEST}  # of the key\n    id: {ID}\n    subject: a\n    disabled: false  # yet\n",
        f"keys: [{{id: {ID}, sha256: {DIGEST}, subject: a}}]",
        f"keys:\n- {{sha256: {DIGEST}, id: {ID}, subject: a, disabled: False}}\n",
        f"keys:\n- subject: |\n    a\\\n  id: {ID}\n  sha256: {DIGEST}\n".replace("|\n    a\\", '"a\\\n    b"'),
    ],
)
def test_a_key_is_revoked_where_it_stands(text: str) -> None:
    """Only this one, in each usual layout."""
    before, problems = read_records(text, "k")
    assert problems == []
    after = with_revocation(text, ID, "k")
    assert after is not None
    expected = [replace(record, disabled=record.id == ID or record.disabled) for record in before]
    assert read_records(after, "k") == (expected, [])
    assert after.count("#") == text.count("#")
    assert with_revocation(after, ID, "k") == after


def test_an_unknown_key_can_not_be_revoked(tmp_path: Path) -> None:
    """It is told, and nothing is written."""
    file = write(tmp_path / "keys.yaml", entry(fresh_key()))
    before = file.stat()
    assert not revoke_key(str(file), "eak_nobody")
    assert file.stat() == before
    assert with_revocation("keys: []", ID, "k") is None


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufffe\uffff"), min_size=1
)


@settings(deadline=None)
@given(
    texts.filter(str.strip),
    st.lists(texts.filter(str.strip).filter(lambda role: role != "anonymous"), max_size=4),
    texts,
)
def test_any_text_survives(subject: str, roles: list[str], description: str) -> None:
    """What a person writes is read back as it was, whatever YAML would make of it without quotes."""
    record = ApiKeyRecord(OTHER, b"\x01" * 32, subject, tuple(roles), 0.0, 5.0, description)
    assert read_records(with_key("", record, "k"), "k")[0] == [record]


def test_a_record_that_can_not_be_written(tmp_path: Path) -> None:
    """The person is told what is wrong with what was given, and no file appears."""
    with pytest.raises(ConfigError, match=r"keys.yaml: subject: must not be empty"):
        give(tmp_path / "keys.yaml", subject=" ")
    with pytest.raises(ConfigError, match=r"roles\[0\]: role 'anonymous'"):
        give(tmp_path / "keys.yaml", roles=["anonymous"])
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_not_edited(tmp_path: Path) -> None:
    """Its problems are told first."""
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [{}]")
    for edit in (lambda: give(file), lambda: revoke_key(str(file), ID)):
        with pytest.raises(ConfigError, match="is required"):
            edit()
    assert file.read_text() == "keys: [{}]"


def test_a_new_file_is_its_owners(tmp_path: Path) -> None:
    """0600 for a new file; an old one keeps its rights, and nothing else is left in the folder."""
    file = tmp_path / "keys.yaml"
    key = give(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sha256(key.encode()).hexdigest() in file.read_text()
    assert key not in file.read_text()
    file.chmod(0o640)
    give(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]


def test_the_prefix_is_that_of_the_file(tmp_path: Path) -> None:
    """Unless one is given; in a new file it is the default."""
    file = tmp_path / "keys.yaml"
    assert give(file).startswith("eak_")
    assert give(file, prefix="acme_").startswith("acme_")
    assert give(file).startswith("acme_")


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The file that it leads to is replaced, not the link."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "keys.yaml"
    link.symlink_to("real/keys.yaml")
    give(link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "keys.yaml").exists()


def test_an_interrupted_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays whole, and no half of a new one is left."""
    file = write(tmp_path / "keys.yaml", entry(fresh_key()))
    before = file.read_text()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="can't be changed: No space left on device"):
        give(file)
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]


def test_commands_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    """No key is lost: each reads what the one before it wrote."""
    file = tmp_path / "keys.yaml"
    threads = [threading.Thread(target=give, args=(file,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records, problems = read_records(file.read_text(), "k")
    assert (len(records), problems) == (8, [])


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """It is not made: a path that was mistyped should be noticed."""
    with pytest.raises(ConfigError, match="can't be changed: No such file or directory"):
        give(tmp_path / "none" / "keys.yaml")
