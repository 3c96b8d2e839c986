"""From a file and an environment to a ``Config``, or to everything that is wrong with them at once.

The steps: the file's YAML, the variables laid over it, what is in Vault, the models, the checks of values against each
other. A step goes on with what the one before it could read, so that one run tells all there is to mend.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from extauthz.config.checks import Readable, all_faults, part
from extauthz.config.configuration import Config
from extauthz.config.environment import read_overrides
from extauthz.config.faults import told
from extauthz.config.layers import LayeredDocument
from extauthz.config.references import OpenSecrets, PutSecrets, SecretSource, put_secrets, without_secrets
from extauthz.config.vault import Vault, vault_variables
from extauthz.documents import Document, read_documents, validation_problems
from extauthz.errors import ConfigError, Position, Problem, UpstreamError

__all__ = ["DEFAULT_FILE", "load_config"]

DEFAULT_FILE = "extauthz.yaml"

Steps = tuple[str | int, ...]


def load_config(path: str | None, environ: Mapping[str, str], open_secrets: OpenSecrets | None = None) -> Config:
    """Read the configuration.

    ``path`` names the file; None stands for ``extauthz.yaml`` in the working directory, which may be missing. Paths in
    the result can be opened from the working directory; nothing that they name was looked at. ``open_secrets`` opens the
    Vault to which values refer. Without it they stay as they are written, and what can't be read so has its default: enough
    for whoever asks no provider and no store.

    Raises ConfigError if something is wrong, in the file or in a variable. It has every problem, sorted by place; the
    file of a problem in the environment is the name of the variable.
    """
    file = DEFAULT_FILE if path is None else path
    written, problems = _read(file, required=path is not None)
    overrides, wrong = read_overrides(environ, Config)
    problems += wrong
    if not isinstance(written.value, dict):
        raise ConfigError(problems)
    variables, wrong = vault_variables(environ, LayeredDocument(written, overrides).value)
    problems += wrong
    document = LayeredDocument(written, [*variables, *overrides])
    folder = Path(file).parent
    secrets = _with_secrets(document, folder, open_secrets)
    problems += secrets.problems
    known_places = {problem.where for problem in problems} | {
        document.where(path) for path in (*secrets.unread, *secrets.lost)
    }
    config, found = _validated(document, {part(path) for path in secrets.lost}, folder=folder)
    found = without_secrets(found, document, secrets)
    # What YAML could not read has no value, which is no news.
    problems += [problem for problem in found if problem.where not in known_places]
    if problems:
        raise ConfigError(problems)
    return config


def _read(file: str, *, required: bool) -> tuple[Document, list[Problem]]:
    """The one document of the file; its value is None if there is none to go on with."""
    nothing = Document(None, None, file)
    try:
        raw = Path(file).read_bytes()
    except FileNotFoundError:
        if not required:
            return Document({}, None, file), []
        return nothing, [Problem(Position(file), "there is no such file")]
    except OSError as error:
        return nothing, [Problem(Position(file), f"can't be read: {error.strerror}")]
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return nothing, [Problem(Position(file, line), "is not UTF-8 text", "save the file as UTF-8")]
    documents, problems = read_documents(text, file)
    if not documents:
        return Document(None if problems else {}, None, file), problems
    for extra in documents[1:]:
        problems.append(Problem(extra.where(), "the configuration is one YAML document", "remove the --- before this"))
    if not isinstance(documents[0].value, dict):
        problems.append(Problem(documents[0].where(), "the configuration must be a mapping of keys to values"))
    return documents[0], problems


def _with_secrets(document: LayeredDocument, folder: Path, open_secrets: OpenSecrets | None) -> PutSecrets:
    """Put what is in Vault into the tree."""
    opened: list[SecretSource] = []

    def source() -> SecretSource:
        if not opened:
            assert open_secrets is not None  # noqa: S101 - narrows
            try:
                vault = Vault.model_validate(document.value.get("vault", {}), context={"folder": folder})
            except ValidationError:
                raise UpstreamError("what is written under vault can't be used") from None
            try:
                opened.append(open_secrets(vault))
            except ConfigError as error:
                raise UpstreamError("; ".join(str(problem) for problem in error.problems)) from None
        return opened[0]

    return put_secrets(document, None if open_secrets is None else source)


def _validated(document: LayeredDocument, unsound: set[Steps], *, folder: Path) -> tuple[Config, list[Problem]]:
    """The configuration, as far as it could be read, and what is wrong with it; ``unsound`` parts are not looked at."""
    problems: list[Problem] = []
    unsound = set(unsound)
    # Written or not, so that the default is read as if it had been written in the file, and is relative to it.
    document.value.setdefault("policies", {})
    if isinstance(document.value.get("tokens"), dict):
        document.value["tokens"].setdefault("keys", {})
    context = {"folder": folder}
    tree = document.value
    try:
        Config.model_validate(tree, context=context)
    except ValidationError as error:
        problems += validation_problems(error, document, Config)
        unsound.update(part(fault["loc"]) for fault in error.errors(include_url=False, include_input=False))
    config = Config.model_validate(_without(tree, unsound), context=context)
    written = tree.get("providers")
    count = len(written) if isinstance(written, list) else 0
    indexes = tuple(index for index in range(count) if ("providers", index) not in unsound)
    readable = Readable(config, frozenset(unsound), indexes, count)
    return config, problems + told(all_faults(readable), document)


def _without(tree: dict[str, Any], unsound: set[tuple[str | int, ...]]) -> dict[str, Any]:
    """The tree without some of its parts, so that the rest can be read."""
    rest = {key: value for key, value in tree.items() if (key,) not in unsound}
    if isinstance(rest.get("listen"), dict):
        rest["listen"] = {key: value for key, value in rest["listen"].items() if ("listen", key) not in unsound}
    if isinstance(rest.get("providers"), list):
        providers = enumerate(rest["providers"])
        rest["providers"] = [provider for index, provider in providers if ("providers", index) not in unsound]
    return rest
