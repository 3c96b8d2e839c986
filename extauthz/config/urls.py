"""Which URLs something may be fetched from."""

from urllib.parse import urlsplit

__all__ = ["url_fault"]


def url_fault(url: str) -> str:
    """Why a URL is not one that can be fetched. The URL is not repeated: it could hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host or any(character.isspace() for character in url):
        return "is not an https URL"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or a password"
    if parts.fragment:
        return "must not have a fragment"
    return ""
