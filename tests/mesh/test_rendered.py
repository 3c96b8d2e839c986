"""Committed files that are made from code are what the code makes."""

import pytest

from extauthz import envoy_config
from mesh.render import rendered
from mesh.templates import NOTES, annotate, templates


@pytest.mark.parametrize("path", [file.path.name for file in rendered()])
def test_committed_files_are_current(path: str) -> None:
    """`python -m mesh render` would change nothing."""
    assert [path] == [file.path.name for file in rendered() if file.path.name == path and file.is_current]


def test_every_kind_has_a_template() -> None:
    """The kinds of the package are the kinds that are rendered."""
    assert envoy_config.names() == tuple(templates())


def test_a_note_without_its_setting_is_an_error() -> None:
    """Comments cannot outlive what they explain."""
    with pytest.raises(KeyError, match="gone"):
        annotate("a: 1\n", {"gone:": "why"})


def test_a_note_stands_above_its_setting() -> None:
    """At the same indentation, the first time only."""
    assert annotate("x:\n- a: 1\n- a: 2\n", {"- a:": "why"}) == "x:\n# why\n- a: 1\n- a: 2\n"


def test_the_decisive_settings_are_explained() -> None:
    """What must not be changed says why."""
    assert {"failure_mode_allow:", "status_on_error:", "healthy_panic_threshold:"} <= set(NOTES)
