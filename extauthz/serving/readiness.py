"""Whether this process should get traffic, and why not: pure state without sockets, files or clocks.

Ready means: the listeners are open, a set of policies was loaded once, each provider's first fetch has ended (well or
badly) or the wait for them is over, and nobody asked the server to stop. What goes wrong later is told in the report
and changes nothing: a policy file that broke leaves the last good set in force, and one dead provider harms only its
own callers. Draining is final.
"""

from collections.abc import Callable, Iterable

__all__ = ["Readiness"]

_POLICIES = "policies"


class Readiness:
    """What readiness depends on, and who wants to know when it changes."""

    def __init__(self, providers: Iterable[str] = (), parts: Iterable[str] = ()) -> None:
        """Wait for the listeners, the policies and the first word of each of the providers and other parts named."""
        self._waiting = {"listeners", _POLICIES, *(_provider(name) for name in providers), *parts}
        self._told: dict[str, tuple[bool, str]] = dict.fromkeys(sorted(self._waiting), (False, "not yet"))
        self._draining = False
        self._ready = False
        self._callbacks: list[Callable[[bool], None]] = []

    @property
    def ready(self) -> bool:
        """Whether traffic should come here."""
        return self._ready

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Call back with ``ready`` each time it changes."""
        self._callbacks.append(callback)

    def listening(self, text: str) -> None:
        """Note that the listeners are open; ``text`` says where."""
        self._settle("listeners", ok=True, text=text)

    def policies_loaded(self, generation: int, note: str = "") -> None:
        """Note the generation of the set of policies in force; ``note`` is what else people should know of it."""
        self._settle(_POLICIES, ok=True, text=f"generation {generation}" + (f": {note}" if note else ""))

    def policies_failed(self, generation: int, error: str) -> None:
        """Note that a set could not be loaded while the set of ``generation`` stays in force."""
        text = error.replace("\n", "\n    ")
        self._told[_POLICIES] = (False, f"generation {generation} stays in force; the last load failed: {text}")

    def provider_told(self, name: str, *, ok: bool, text: str) -> None:
        """Note how a provider is; the first word of each, good or bad, is what readiness waits for."""
        self._settle(_provider(name), ok=ok, text=text)

    def certificates_told(self, listener: str, *, ok: bool, text: str) -> None:
        """Note how the certificates of a listener are. Readiness never waits for that."""
        self._told[f"certificates {listener}"] = (ok, text)

    def store_told(self, *, ok: bool, text: str) -> None:
        """Note how the shared store is. Readiness never waits for that: policies say what holds without it."""
        self._told["store"] = (ok, text)

    def part_told(self, part: str, *, ok: bool, text: str) -> None:
        """Note how something else is that the server uses. Readiness waits for the first word, good or bad, if at all."""
        self._settle(part, ok=ok, text=text)

    def stop_waiting(self) -> None:
        """Give up the wait for providers that have not said a word; the time for their first fetch is over."""
        self._waiting &= {"listeners", _POLICIES}
        self._update()

    def drain(self) -> None:
        """Ask for no more traffic, for good."""
        self._draining = True
        self._update()

    def report(self) -> list[str]:
        """One entry for each part, ``[+]`` if it is well and ``[-]`` if not, then the verdict."""
        lines = [f"[{'+' if ok else '-'}] {name}: {text}" for name, (ok, text) in sorted(self._told.items())]
        if self._draining:
            lines.append("[-] draining: the server is stopping")
        lines.append("ready" if self._ready else "not ready")
        return lines

    def _settle(self, part: str, *, ok: bool, text: str) -> None:
        self._told[part] = (ok, text)
        self._waiting.discard(part)
        self._update()

    def _update(self) -> None:
        ready = not self._waiting and not self._draining
        if ready != self._ready:
            self._ready = ready
            for callback in self._callbacks:
                callback(ready)


def _provider(name: str) -> str:
    return f"provider {name}"
