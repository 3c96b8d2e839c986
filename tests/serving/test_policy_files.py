"""Which policy files are read, and what is told of those that can't be."""

import os
from pathlib import Path

import pytest

from extauthz.errors import Problem
from extauthz.serving.policy_files import read_policy_texts


def words(problems: list[Problem], root: Path) -> list[str]:
    return [str(problem).replace(f"{root}/", "") for problem in problems]


def test_a_folder_gives_its_yaml_files_sorted(tmp_path: Path) -> None:
    """*.yaml and *.yml count; folders, other endings, dot-names and suites of tests do not."""
    for name in ("b.yaml", "a.yml", "b.test.yaml", "a.test.yml", "c.json", ".hidden.yaml", "readme.md", "d.yaml.bak"):
        (tmp_path / name).write_text(name)
    (tmp_path / "nested.yaml").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.yaml").write_text("e")
    texts, problems = read_policy_texts([str(tmp_path)])
    assert [(Path(text.file).name, text.text) for text in texts] == [("a.yml", "a.yml"), ("b.yaml", "b.yaml")]
    assert problems == []


def test_an_empty_folder_is_fine(tmp_path: Path) -> None:
    """A folder without policies is a valid set; it denies everything."""
    assert read_policy_texts([f"{tmp_path}/"]) == ([], [])


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """A file that its folder gives as well does not become a duplicate policy."""
    (tmp_path / "a.yaml").write_text("a")
    texts, _ = read_policy_texts([str(tmp_path), str(tmp_path / "a.yaml"), str(tmp_path)])
    assert len(texts) == 1


def test_a_named_file_may_have_any_ending(tmp_path: Path) -> None:
    """What is named is read, whatever it is called."""
    (tmp_path / "policy.conf").write_text("a")
    texts, problems = read_policy_texts([str(tmp_path / "policy.conf")])
    assert ([text.text for text in texts], problems) == (["a"], [])


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Missing, no regular file, not UTF-8, a dangling link: each is a problem with its place, and the rest is read."""
    (tmp_path / "fine.yaml").write_text("é")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")
    texts, problems = read_policy_texts([str(tmp_path), str(tmp_path / "missing")])
    assert [text.text for text in texts] == ["é"]
    assert words(problems, tmp_path) == [
        "dangling.yaml: there is no such file or folder (create it, or name another one)",
        "latin.yaml:2:7: is not UTF-8 text (save the file as UTF-8)",
        "pipe.yaml: is not a regular file (name a file or a folder)",
        "missing: there is no such file or folder (create it, or name another one)",
    ]


def test_an_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder without the right to read it is a problem that says so."""
    (tmp_path / "a.yaml").write_text("a")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    _, problems = read_policy_texts([str(tmp_path)])
    assert words(problems, tmp_path) == [
        "a.yaml: can't be read: Permission denied (see that the server's user may read it)"
    ]
