"""The one form in which addresses, paths, hosts, header names and names of workloads are compared.

Requests are brought into this form before anything judges them (``extauthz.check``), and policies must be written in it
(``extauthz.policy``), so that a rule and a request can't mean the same thing and still differ.
"""

from extauthz.canonical.address import canonical_address
from extauthz.canonical.charge import address_key, charge_key, charge_text, counted_address, key_of
from extauthz.canonical.header import HeaderTwins, emittable, folded_names, header_name
from extauthz.canonical.host import Host, canonical_host
from extauthz.canonical.path import Path, PathRules, canonical_path
from extauthz.canonical.spiffe import (
    SpiffeId,
    SpiffePattern,
    looks_like_spiffe,
    read_spiffe_id,
    read_spiffe_pattern,
    trust_domain_name,
)

__all__ = [
    "HeaderTwins",
    "Host",
    "Path",
    "PathRules",
    "SpiffeId",
    "SpiffePattern",
    "address_key",
    "canonical_address",
    "canonical_host",
    "canonical_path",
    "charge_key",
    "charge_text",
    "counted_address",
    "emittable",
    "folded_names",
    "header_name",
    "key_of",
    "looks_like_spiffe",
    "read_spiffe_id",
    "read_spiffe_pattern",
    "trust_domain_name",
]
