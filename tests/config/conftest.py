"""A configuration file written in a test, and what became of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from extauthz.config import Config, load_config
from extauthz.errors import ConfigError

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as ``extauthz.yaml`` of the working directory."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str = "", environ: Mapping[str, str] | None = None) -> Config:
        Path("extauthz.yaml").write_text(dedent(text), "utf-8")
        return load_config(None, environ or {})

    return load_text


@pytest.fixture
def problems(load: Load) -> Problems:
    """Load a text that can't be used, and give its problems as they are printed, without the name of the file."""

    def problems_of(text: str = "", environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        return [str(problem).removeprefix("extauthz.yaml:") for problem in caught.value.problems]

    return problems_of
