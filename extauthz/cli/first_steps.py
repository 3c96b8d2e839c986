"""What to tell somebody who starts the server without a policy: where one is looked for, and the smallest there is."""

from collections.abc import Iterable
from pathlib import Path

__all__ = ["first_steps", "policies_in"]

_ENDINGS = (".yaml", ".yml")

_TEXT = """\
extauthz: there is no policy yet, so every request is denied.
Policies are looked for in: {places}
The smallest one allows every caller whose token gives the role user.
Put it into {file}:

    apiVersion: {group}/v1
    kind: AuthPolicy
    metadata: {{name: first}}
    spec: {{rules: [{{role: user}}]}}

It is in force within a second. `extauthz validate` checks it, docs/policies.md
has the rest.
"""

_VOUCHING = """\
Nobody vouches for callers yet either.
Say in extauthz.yaml who issues their tokens, and start again:

    providers:
    - name: corporate
      jwt: {issuer: "https://login.example.com/", audiences: [orders]}

docs/configuration.md has the rest.
"""


def policies_in(paths: Iterable[str]) -> bool:
    """Whether any of the configured files and folders holds a policy file. What can't be looked at counts as one: the
    server itself says what is wrong with it.
    """
    try:
        return any(_holds_policy(Path(path)) for path in paths)
    except OSError:
        return True


def first_steps(paths: Iterable[str], *, group: str, vouched: bool) -> str:
    """How to begin, as lines for a terminal; ``vouched`` says whether there is a provider."""
    places = list(paths)
    first = Path(places[0])
    file = first if first.suffix in _ENDINGS else first / "first.yaml"
    return _TEXT.format(places=", ".join(places), file=file, group=group) + ("" if vouched else f"\n{_VOUCHING}")


def _holds_policy(path: Path) -> bool:
    if not path.is_dir():
        return path.exists()
    return any(file.suffix in _ENDINGS and not file.name.startswith(".") for file in path.iterdir())
