"""Key files: what they may hold, and everything that is wrong with one at once."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import ConfigError, Problem
from extauthz.identity.api_key_files import KeyFiles, find_key_files, read_key_files
from extauthz.identity.api_key_records import ApiKeyRecord, parse_time, read_records, time_text
from tests.identity.key_file import entry, fresh_key, write

ID = "eak_7Ht2kQ9xWbLm"
GOOD = f"id: {ID}, sha256: {'ab' * 32}, subject: a"


def told(text: str) -> list[str]:
    """The problems of a text, as they are printed, without the name of the file."""
    return [str(problem).removeprefix("k.yaml:") for problem in sorted(read_records(text, "k.yaml")[1], key=_place)]


def _place(problem: Problem) -> Any:
    return problem.where


def test_every_field() -> None:
    """A record as docs/api-keys.md has it."""
    [record], problems = read_records(
        f"""\
        keys:
        - id: {ID}
          sha256: {"ab" * 32}
          subject: billing
          roles: [partner, on]
          created: 2026-11-22T10:00:00+01:00
          expires: 2027-02-20
          description: "nightly: export"
          disabled: true
        """,
        "k.yaml",
    )
    assert problems == []
    assert record == ApiKeyRecord(
        ID, b"\xab" * 32, "billing", ("partner", "on"), 1795338000.0, 1803081600.0, "nightly: export", disabled=True
    )
    assert str(record.where) == "k.yaml:2:11"
    assert "abab" not in repr(record)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "keys:\n", "keys: []\n", "{}"])
def test_no_keys(text: str) -> None:
    """A file without keys is a valid one."""
    assert read_records(text, "k.yaml") == ([], [])


def test_everything_wrong_is_told_at_once() -> None:
    """Each problem has its place, none repeats a value, and the record is left out."""
    text = f"""\
keys:
- {{{GOOD}}}
- id: {ID}_secretsecret
  sha256: eak_7Ht2kQ9xWbLm_secretsecret
  subjet: x
  roles: [user, "", anonymous, 3]
  created: yesterday
  expires: 3
  description: [x]
  disabled: "no"
- 5
more: x
"""
    records, problems = read_records(text, "k.yaml")
    assert [record.id for record in records] == [ID]
    assert told(text) == [
        "3:3: keys[1].subject: is required",
        "3:7: keys[1].id: has not the right form (the beginning of the key, as in eak_7Ht2kQ9xWbLm)",
        "4:11: keys[1].sha256: has not the right form (64 hexadecimal digits in lower case; never the key itself)",
        "5:3: keys[1].subjet: unknown key (known are: id, sha256, subject, roles, created, expires, description, disabled)",
        "6:17: keys[1].roles[1]: must be the name of a role",
        "6:21: keys[1].roles[2]: role 'anonymous' can be given by nothing (remove it)",
        "6:32: keys[1].roles[3]: must be the name of a role",
        "7:12: keys[1].created: must be a time (such as 2027-01-31T12:00:00Z; a day without time is its first moment in UTC)",
        "8:12: keys[1].expires: must be a time (such as 2027-01-31T12:00:00Z; a day without time is its first moment in UTC)",
        "9:16: keys[1].description: must be a string (write it in quotes)",
        "10:13: keys[1].disabled: must be true or false",
        "11:3: keys[2]: must be a mapping (with id, sha256, subject)",
        "12:1: more: unknown key (known is: keys)",
    ]
    assert "secretsecret" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keys: 3", "1:7: keys: must be a list"),
        ("[]", "1:1: the document: must be a mapping (keys: [...])"),
        ("keys: []\n---\nkeys: []", "3:1: a key file is one YAML document (remove the --- before this)"),
        (f"keys: [{{{GOOD}, id: x}}]", "1:117: key 'id' is already given on line 1"),
        ("keys: [", "2:1: not valid YAML: while parsing a flow node did not find expected node content"),
        (f"keys: [{{{GOOD}, subject: ' '}}]", "1:117: key 'subject' is already given on line 1"),
        (f"keys: [{{id: {ID}, sha256: {'ab' * 32}, subject: ' '}}]", "1:114: keys[0].subject: must not be empty"),
        (
            f'keys: [{{{GOOD}, description: "a\\0b"}}]',
            "1:130: keys[0].description: must not hold control characters or be longer than 1024 characters",
        ),
        (f"keys: [{{{GOOD}, roles: user}}]", "1:124: keys[0].roles: must be a list of at most 256 roles"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    """One at a time."""
    assert told(text) == [problem]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-31T12:00:00Z", 1801396800),
        ("2027-01-31t12:00:00z", 1801396800),
        ("2027-01-31 13:00:00+01:00", 1801396800),
        ("2027-01-31", 1801353600),
        ("2027-01-31T12:00:00", None),
        ("2027-01-32", None),
        ("2027-W01-1", None),
        ("20270131", None),
        ("", None),
    ],
)
def test_times(text: str, seconds: int | None) -> None:
    """RFC 3339, with its zone; a day is its first moment in UTC, the earlier reading of two."""
    if seconds is None:
        with pytest.raises(ValueError, match=r".*"):
            parse_time(text)
    else:
        assert parse_time(text) == seconds


@settings(deadline=None)
@given(st.integers(0, 253_402_300_799))
def test_times_can_be_read_back(seconds: int) -> None:
    """What is written means the same again."""
    assert parse_time(time_text(seconds)) == seconds


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    """What is no key file is problems, and never an exception."""
    records, problems = read_records(text, "k.yaml")
    assert records == [] or problems == []


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_any_value_of_a_field_is_told_of_or_taken(value: Any) -> None:
    """No type of a field raises."""
    import json

    for name in ("id", "sha256", "subject", "roles", "created", "expires", "description", "disabled"):
        read_records(json.dumps({"keys": [{name: value}]}), "k.yaml")


def test_an_id_is_given_once(tmp_path: Path) -> None:
    """Twice, in one file or in two, is refused: which of them counts would be a guess."""
    key = fresh_key()
    one, other = write(tmp_path / "a.yaml", entry(key)), write(tmp_path / "b.yaml", entry(fresh_key()), entry(key))
    with pytest.raises(ConfigError) as caught:
        read_key_files([str(one), str(other)])
    assert str(caught.value) == f"{other}:5:3: the id {key[:16]} is already given at {one}:2:3"


def test_what_can_not_be_read(tmp_path: Path) -> None:
    """No such file, a folder, a pipe, a huge file, not UTF-8: a problem each, and no waiting."""
    folder, pipe, latin, huge = (tmp_path / name for name in ("folder", "pipe", "latin", "huge"))
    folder.mkdir()
    os.mkfifo(pipe)
    latin.write_bytes(b"keys: []\n# caf\xe9")
    huge.write_bytes(b"#" * ((8 << 20) + 1))
    with pytest.raises(ConfigError) as caught:
        read_key_files(map(str, (folder, pipe, latin, huge, tmp_path / "none")))
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "folder: is not a regular file (folder: takes a folder)",
        "huge: is larger than 8388608 bytes",
        "latin:2: is not UTF-8 text",
        "none: there is no such file or folder (extauthz keys api create makes a key file)",
        "pipe: is not a regular file",
    ]
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_key_files(str(tmp_path / "none"), folder=True)


def test_a_folder_that_comes_back_is_read_again(tmp_path: Path) -> None:
    """After a fault nothing is taken for unchanged."""
    folder = tmp_path / "keys"
    folder.mkdir()
    write(folder / "a.yaml", entry(fresh_key()))
    files = KeyFiles(str(folder), folder=True)
    assert len(files.read()) == 1
    assert not files.changed()
    folder.rename(tmp_path / "away")
    with pytest.raises(ConfigError):
        files.changed()
    (tmp_path / "away").rename(folder)
    assert files.changed()
