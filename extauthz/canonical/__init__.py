"""The one form in which paths, hosts and header names are compared.

Requests are brought into this form before anything judges them (``extauthz.check``), and policies must be written in it
(``extauthz.policy``), so that a rule and a request can't mean the same thing and still differ.
"""

from extauthz.canonical.header import emittable, header_name
from extauthz.canonical.host import Host, canonical_host
from extauthz.canonical.path import Path, PathRules, canonical_path

__all__ = ["Host", "Path", "PathRules", "canonical_host", "canonical_path", "emittable", "header_name"]
