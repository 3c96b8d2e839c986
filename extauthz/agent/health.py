"""How an agent is, for probes and people."""

from extauthz.agent.keeper import TokenKeeper

__all__ = ["Health"]


class Health:
    """Ready as long as a token is in force where the workload reads it."""

    def __init__(self, keeper: TokenKeeper) -> None:
        """Ask this keeper."""
        self._keeper = keeper

    @property
    def ready(self) -> bool:
        """Whether the workload can have a token that is in force."""
        return self._keeper.current() is not None and self._keeper.is_written

    def report(self) -> list[str]:
        """One line for each part, and the verdict in the last."""
        held = self._keeper.current()
        state = "there is none" if held is None else f"in force for {self._keeper.left(held):.0f} s"
        lines = [f"[{_sign(held is not None)}] token: {state}"]
        written = held is not None and self._keeper.is_written
        lines.append(f"[{_sign(written)}] written: {'yes' if written else 'no'}")
        if self._keeper.fault:
            lines.append(f"[-] last attempt: {self._keeper.fault}")
        return [*lines, "ready" if self.ready else "not ready"]


def _sign(fine: bool) -> str:  # noqa: FBT001 - it is what the sign says
    return "+" if fine else "-"
