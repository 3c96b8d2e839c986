"""Istio's ``source`` in our words: who calls, from where."""

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_network

from extauthz.canonical import read_spiffe_pattern
from extauthz.policy.patterns import read_network
from extauthz.workbench.istio.form import SourceForm
from extauthz.workbench.istio.parts import Inexpressible, Part, Side, Words
from extauthz.workbench.istio.words import any_of, bracketed, compare, literal, request_principal

__all__ = ["say_source"]

_SCHEME = "spiffe://"
_LOCAL = "cluster.local"
_SPIFFE_PARTS = 5
"""Of ``domain/ns/namespace/sa/account``; Istio changes the domain of no other principal."""


def say_source(source: SourceForm, part: Part, side: Side) -> None:
    """Say one ``source``.

    Raises:
        Inexpressible: It allows, and can't be said.

    """
    _principals(source.principals, part, side)
    _not_principals(source.not_principals, part, side)
    known = side.around.trust_domains
    domains, excluded = _domains(source.trust_domains, known), _domains(source.not_trust_domains, known)
    own = side.around.namespace
    for words, spelled in (
        (Words("namespaces", source.namespaces, source.not_namespaces), _namespace),
        (
            Words("serviceAccounts", source.service_accounts, source.not_service_accounts),
            lambda value: _account(value, own),
        ),
        (Words("trustDomains", domains, excluded), _domain),
    ):
        _workloads(words, part, side, spelled)
    _blocks(Words("ipBlocks", source.ip_blocks, source.not_ip_blocks), part)
    _blocks(Words("remoteIpBlocks", source.remote_ip_blocks, source.not_remote_ip_blocks), part)
    if source.request_principals:
        part.token = True
        part.conditions.append(bracketed([request_principal(value) for value in source.request_principals]))
    if source.not_request_principals:
        part.conditions.append(
            side.unless(any_of([f"({request_principal(value)})" for value in source.not_request_principals]))
        )


def _principals(values: Sequence[str], part: Part, side: Side) -> None:
    if not values:
        return
    told = _named(values, side)
    plain = [_plain_principal(value) for value in told]
    if all(plain):
        part.words["principals"] = plain
        return
    part.words["principals"] = ["*"]
    part.conditions.append(any_of([_principal_expression(value) for value in told]))


def _not_principals(values: Sequence[str], part: Part, side: Side) -> None:
    if not values:
        return
    # Those that Istio does not know with their scheme exclude nobody there, and would here: so less is allowed.
    bare = [value for value in values if not (side.deny and value.startswith(_SCHEME))]
    told = _named([value.removeprefix(_SCHEME) for value in bare], side) if bare else []
    plain = [_plain_principal(value) for value in told]
    if side.deny and all(plain):
        if plain:
            part.words["notPrincipals"] = plain
        return
    if not side.deny:
        # Without certificate nothing is excluded there; here nothing is allowed then.
        side.losses.add("allows-less", "notPrincipals: callers without certificate are not allowed")
        part.words["principals"] = part.words.get("principals", ["*"])
    part.conditions.append("!" + bracketed([_principal_expression(value) for value in told]))


def _named(values: Sequence[str], side: Side) -> list[str]:
    """Principals as they are compared: with every name that the trust domain of the mesh has or had."""
    told: list[str] = []
    for value in values:
        if value.startswith(_SCHEME) and not side.deny:
            side.losses.add(
                "left-out", f"principals: {value!r} matches nobody in Istio, which writes them without spiffe://"
            )
            continue
        told += _aliases(value.removeprefix(_SCHEME), side.around.trust_domains)
    if not told:
        raise Inexpressible("no principal is left")
    return list(dict.fromkeys(told))


def _aliases(principal: str, domains: Sequence[str]) -> list[str]:
    """The principal under each name of the mesh's trust domain, if its own is one (``ReplaceTrustDomainAliases``)."""
    domain, _, rest = principal.partition("/")
    if len(principal.split("/")) != _SPIFFE_PARTS or domain == "*":
        return [principal]
    if domain != _LOCAL and not any(_meet(domain, known) for known in domains):
        return [principal]
    covers = domain.startswith("*")
    return [principal if covers and known.endswith(domain[1:]) else f"{known}/{rest}" for known in domains]


def _meet(domain: str, known: str) -> bool:
    """Whether a trust domain, which may begin or end with a star, is that of the mesh or an alias."""
    if domain.startswith("*"):
        return known.endswith(domain[1:])
    return known.startswith(domain[:-1]) if domain.endswith("*") else known == domain


def _domains(values: Sequence[str], domains: Sequence[str]) -> list[str]:
    """Trust domains, with all names of the mesh's own (``ExpandTrustDomainAliases``)."""
    told = [name for value in values for name in (domains if value in domains else (value,))]
    return list(dict.fromkeys(told))


def _workloads(words: Words, part: Part, side: Side, spelled: Callable[[str], str]) -> None:
    if words.values:
        part.words.setdefault("principals", ["*"])
        part.conditions.append(any_of([spelled(value) for value in words.values]))
    if words.excluded:
        if not side.deny:
            side.losses.add("allows-less", f"{words.negated}: callers without certificate are not allowed")
            part.words.setdefault("principals", ["*"])
        part.conditions.append("!" + bracketed([spelled(value) for value in words.excluded]))


def _namespace(value: str) -> str:
    """The star stands for anything, slashes included, as in Istio's regular expression."""
    if "*" not in value:
        return f"source.principal.contains({literal(f'/ns/{value}/')})"
    pattern = ".*".join(re.escape(piece) for piece in value.split("*"))
    return f"source.principal.matches({literal(f'/ns/{pattern}/')})"


def _account(value: str, own: str) -> str:
    """A service account, of the policy's own namespace if it names none."""
    namespace, slash, account = value.partition("/")
    if not slash:
        namespace, account = own, value
    if not namespace:
        raise Inexpressible(f"the service account {value!r} is that of a namespace that is not written")
    pattern = f"^spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?$"
    return f"source.principal.matches({literal(pattern)})"


def _domain(value: str) -> str:
    """A trust domain; the star, of which Istio takes one, stands for anything but slashes."""
    if value == "*":
        return f"source.principal.startsWith({literal(_SCHEME)})"
    if "*" not in value:
        return f"source.principal.startsWith({literal(f'{_SCHEME}{value}/')})"
    before, _, after = value.partition("*")
    if "*" in after or (before and after):
        raise Inexpressible(f"the trust domain {value!r} has a star that Istio refuses")
    return f"source.principal.matches({literal(f'^{_SCHEME}{re.escape(before)}[^/]*{re.escape(after)}/')})"


def _blocks(words: Words, part: Part) -> None:
    for key, blocks in ((words.name, words.values), (words.negated, words.excluded)):
        if not blocks:
            continue
        try:
            part.words[key] = [str(read_network(_block(value))) for value in blocks]
        except ValueError as error:
            raise Inexpressible(str(error)) from None


def _block(value: str) -> str:
    """Istio cuts bits beyond the mask; ours are refused, so they are cut here."""
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        return value


def _plain_principal(principal: str) -> str:
    """The same as a word of ours, if there is one; Istio writes principals without the scheme."""
    if principal != "*" and principal.startswith("*"):
        return ""  # ours would be any that ends so, not SPIFFE IDs alone
    told = principal if principal == "*" else f"{_SCHEME}{principal}"
    return told if read_spiffe_pattern(told) is not None else ""


def _principal_expression(principal: str) -> str:
    name = "source.principal"
    if principal != "*" and principal.startswith("*"):
        return f'({name}.startsWith("{_SCHEME}") && {compare(name, principal)})'
    return compare(name, principal if principal == "*" else f"{_SCHEME}{principal}")
