"""The engine for the commands that try policies: as the server builds it, from the same files."""

from collections.abc import Sequence

from extauthz.app.values import policy_settings, request_rules
from extauthz.config import Config
from extauthz.errors import PolicyError
from extauthz.policy import load
from extauthz.serving import read_policy_texts, unobtrusive
from extauthz.workbench.engine import Engine

__all__ = ["engine"]


def engine(config: Config, files: Sequence[str] | None = None) -> Engine:
    """The policies in force, or those of other files or folders, with the configuration's rules for requests.

    Raises:
        PolicyError: A file can't be read or something in it is wrong; all problems are in it.
    """
    texts, unreadable = read_policy_texts(config.policies.files if files is None else files)
    if unreadable:
        raise PolicyError(unreadable)
    with unobtrusive():  # full collections would cost a large set a third of its time
        snapshot = load(texts, policy_settings(config), generation=1)
    return Engine(snapshot, request_rules(config))
