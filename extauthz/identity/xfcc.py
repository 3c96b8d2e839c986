r"""``x-forwarded-client-cert``: what proxies on the way wrote about the certificate of whoever called them.

The form is Envoy's (configuration reference, "x-forwarded-client-cert"): elements separated by commas, the newest last;
in an element ``Key=value`` pairs separated by semicolons, keys without regard to case; a value with ``,``, ``;`` or ``=``
is in double quotes, in which a backslash keeps the character after it from ending the value. Envoy puts the subject into
quotes without escaping it once more, so what is between the quotes is taken as it stands: it is then the very text that
``source.principal`` has for the same certificate.

Anybody may have written the elements on the left, and only the proxies that wrote the last ones can be believed
(``extauthz.identity.mesh`` says which). Still the whole header must be well-formed: where an element on the left leaves a
quote open, two readers would not agree on where the last one begins.
"""

import re
from dataclasses import dataclass

__all__ = ["HEADER", "XfccElement", "XfccError", "read_xfcc"]

HEADER = "x-forwarded-client-cert"

MAX_SIZE = 32_768
"""Characters. With chains of certificates in it a header takes a few kilobytes an element."""
MAX_ELEMENTS = 16

_PAIR = re.compile(
    r"""[ \t]*(?P<key>[A-Za-z][A-Za-z0-9_-]*)=
        (?:"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<plain>[^",;]*))
        [ \t]*(?P<end>[,;]|\Z)""",
    re.VERBOSE | re.DOTALL,
)


class XfccError(ValueError):
    """The header can't be read in one way only. The text names the fault, never the content."""


@dataclass(frozen=True, slots=True)
class XfccElement:
    """What one proxy wrote about the certificate of its client."""

    uri: str = ""
    """The only URI SAN; empty without one."""
    dns: tuple[str, ...] = ()
    """The DNS SANs, in order."""
    subject: str = ""
    """The subject as in ``source.principal`` (RFC 2253, escapes kept); empty if it was not sent."""

    @property
    def principal(self) -> str:
        """The name that Envoy would give the certificate: URI SAN, else first DNS SAN, else subject. May be empty."""
        return self.uri or (self.dns[0] if self.dns else self.subject)


def read_xfcc(text: str) -> tuple[XfccElement, ...]:
    """The elements of a header, oldest first; there is at least one.

    Raises:
        XfccError: It is malformed, too large, or an element has more than one URI or subject.
    """
    if len(text) > MAX_SIZE:
        raise XfccError(f"the header {HEADER} is longer than {MAX_SIZE} characters")
    elements: list[XfccElement] = []
    pairs: list[tuple[str, str]] = []
    position, end = 0, ";"
    while end:
        found = _PAIR.match(text, position)
        if found is None:
            raise XfccError(f"the header {HEADER} is malformed")
        quoted = found["quoted"]
        pairs.append((found["key"].lower(), (found["plain"].rstrip(" \t") if quoted is None else quoted)))
        position, end = found.end(), found["end"]
        if end != ";":
            elements.append(_element(pairs))
            pairs = []
    if len(elements) > MAX_ELEMENTS:
        raise XfccError(f"the header {HEADER} has more than {MAX_ELEMENTS} elements")
    return tuple(elements)


def _element(pairs: list[tuple[str, str]]) -> XfccElement:
    """One element; keys that say nothing of who the client is are passed over."""
    uris = [value for key, value in pairs if key == "uri"]
    subjects = [value for key, value in pairs if key == "subject"]
    if len(uris) > 1 or len(subjects) > 1:
        raise XfccError(f"an element of the header {HEADER} names more than one URI or subject")
    dns = tuple(value for key, value in pairs if key == "dns" and value)
    return XfccElement(uris[0] if uris else "", dns, subjects[0] if subjects else "")
