"""``audit``: the log of what was done with tokens and keys."""

from typing import Literal

from extauthz.config.fields import FilePath, Section

__all__ = ["Audit"]


class Audit(Section):
    """A line for each token that is issued, renewed, exchanged or revoked, each rotation and each refusal, in a chain that
    `extauthz audit verify` checks.
    """

    file: FilePath
    """Lines are appended to it; several processes may share it, and it may be rotated away. `<file>.head` is beside it."""
    key_file: FilePath
    """The secret that seals the lines and hides the tokens in them; made at the first start, for its owner alone. Keep it
    where who may write the log can't read it."""
    when_it_fails: Literal["deny", "goOn"] = "deny"
    """What happens if a line can't be written. deny: nothing is done without a record: no token is issued. goOn: it is
    done, counted and told in the server's log."""
