from collections.abc import Callable
from typing import Any

import pytest

ISSUER = "https://a.example/"


def provider(jwt: str = "", rest: str = "", *, issuer: str = ISSUER, audiences: str = "[x]", name: str = "a") -> str:
    """One entry of the list of providers."""
    kind = f"issuer: '{issuer}', audiences: {audiences}" + (f", {jwt}" if jwt else "")
    return f"{{name: {name}, jwt: {{{kind}}}" + (f", {rest}" if rest else "") + "}"


def providers(*entries: str) -> str:
    return "providers:\n" + "".join(f"- {entry}\n" for entry in entries)


@pytest.mark.parametrize(
    ("jwt", "key"),
    [
        ("", None),
        ("discovery: true", "discovery"),
        ("jwksUri: https://a.example/keys", "jwks_uri"),
        ("jwksFile: jwks.json", "jwks_file"),
        ("jwks: {keys: [{kty: RSA}]}", "jwks"),
        ("""jwks: '{"keys": [{"kty": "RSA"}]}'""", "jwks"),
        ("secretFile: secret", "secret_file"),
    ],
)
def test_one_source(load: Callable[..., Any], jwt: str, key: str | None) -> None:
    """Keys come from one source; without any it is discovery."""
    found = load(providers(provider(jwt))).providers[0].jwt
    sources = ("discovery", "jwks_uri", "jwks_file", "jwks", "secret_file")
    assert [name for name in sources if getattr(found, name) is not None] == ([key] if key else [])


def test_two_sources(problems: Callable[..., list[str]]) -> None:
    """More than one source is refused, told at the last one."""
    assert problems(providers(provider("jwksUri: https://a.example/k, jwksFile: f"))) == [
        "2:105: providers[0].jwt.jwksFile: keys can come from one source only, not from jwksUri and jwksFile (choose one)"
    ]


@pytest.mark.parametrize("audiences", ["null", "[]", "x", "['']"])
def test_audiences_are_required(problems: Callable[..., list[str]], audiences: str) -> None:
    """A provider says for whom its tokens must have been issued."""
    assert len(problems(providers(provider(audiences=audiences)))) == 1
    assert problems(providers("{name: a, jwt: {issuer: a, jwksFile: f}}")) == [
        "2:18: 'providers[0].jwt.audiences' is required"
    ]


def test_any_audience(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """Any audience is dangerous: it names the setting, the reason and the override, and the override works."""
    text = providers(provider(audiences="['*']"))
    assert problems(text) == [
        (
            "2:60: providers[0].jwt.audiences: audiences ['*'] is dangerous: a token that was issued for any other service "
            "opens this one (name the audiences of this service, or accept the risk at the top of the file: "
            "acceptRisks: [any-audience])"
        )
    ]
    assert load(text + "acceptRisks: [any-audience]").providers[0].jwt.audiences == ("*",)
    [problem] = problems(providers(provider(audiences="['*', x]")) + "acceptRisks: [any-audience]")
    assert "'*' is any audience, so the others mean nothing" in problem


def test_unknown_risk(problems: Callable[..., list[str]]) -> None:
    """A risk that is not known can't be accepted."""
    assert problems("acceptRisks: [all]") == ["1:15: acceptRisks[0] must be 'any-audience'"]


@pytest.mark.parametrize(
    ("jwt", "algorithms"),
    [
        ("secretFile: s", ("HS256",)),
        ("secretFile: s, algorithms: [HS256]", ("HS256",)),
        ("algorithms: [PS512, ES384]", ("PS512", "ES384")),
    ],
)
def test_algorithms(load: Callable[..., Any], jwt: str, algorithms: tuple[str, ...]) -> None:
    """Algorithms are those written; a secret means HS256."""
    assert load(providers(provider(jwt))).providers[0].jwt.algorithms == algorithms


@pytest.mark.parametrize(
    ("jwt", "message"),
    [
        ("algorithms: [HS256]", "HS256 takes a secret"),
        ("algorithms: [RS256, HS256]", "HS256 takes a secret"),
        ("secretFile: s, algorithms: [RS256]", "with secretFile the algorithm is HS256 alone"),
        ("secretFile: s, algorithms: [HS256, RS256]", "with secretFile the algorithm is HS256 alone"),
        ("algorithms: [none]", "'none' is not known here"),
        ("algorithms: [rs256]", "'rs256' is not known here"),
        ("algorithms: [HS512]", "'HS512' is not known here"),
        ("algorithms: []", "algorithms: must not be empty"),
        ("encoding: base64", "encoding says how secretFile is written, and there is none"),
        ("secretFile: s, encoding: hex", "must be 'text' or 'base64'"),
        ("discovery: false", "discovery: can only be true"),
        ("tokenTypes: [logout+jwt]", "'logout+jwt' tokens are never access tokens"),
        ("tokenTypes: [application/DPoP+JWT]", "tokens are never access tokens"),
        ("tokenTypes: ['a b']", "'a b' is not a token type"),
        ("tokenTypes: []", "tokenTypes: must not be empty"),
        ("clockSkew: 6m", "must be from 0s to 5m"),
        ("clockSkew: 60", "a duration needs its unit"),
        ("jwks: {}", "is not a key set"),
        ("jwks: {keys: []}", "is not a key set"),
        ("jwks: '{'", "is not JSON"),
        ("jwks: '[]'", "must be a mapping"),
        ("jwks: {keys: [{kty: oct, k: hunter2}]}", "holds a symmetric key"),
        ("jwks: {keys: [{kty: EC, d: hunter2}]}", "holds a private key"),
    ],
)
def test_wrong_jwt(problems: Callable[..., list[str]], jwt: str, message: str) -> None:
    """What would weaken the check of tokens, or do nothing, is refused; key material is not repeated."""
    [problem] = problems(providers(provider(jwt)))
    assert message in problem
    assert "hunter2" not in problem


def test_token_types_in_one_spelling(load: Callable[..., Any]) -> None:
    """Token types are compared without regard to case and ``application/``."""
    jwt = load(providers(provider("tokenTypes: [Application/AT+JWT, JWT]"))).providers[0].jwt
    assert jwt.token_types == ("at+jwt", "jwt")


@pytest.mark.parametrize(
    ("issuer", "jwt", "message"),
    [
        ("a", "", "keys are found by discovery at the issuer, but issuer is not an https URL"),
        ("https://u:hunter2@a/", "", "must not hold a user name or a password"),
        (ISSUER, "jwksUri: 'https://u:hunter2@a/'", "jwksUri must not hold a user name or a password"),
        (ISSUER, "jwksUri: 'https://a/#x'", "jwksUri must not have a fragment"),
        (ISSUER, "jwksUri: 'file:///etc/passwd'", "jwksUri is not an https URL"),
        (ISSUER, "jwksUri: 'https:///x'", "jwksUri is not an https URL"),
        (ISSUER, "jwksUri: 'https://a:99999/'", "jwksUri is not a URL"),
        (ISSUER, "jwksUri: 'https://[a/'", "jwksUri is not a URL"),
        (ISSUER, "jwksUri: 'http://a/'", "keys fetched over plain http can be replaced by anyone on the way"),
        ("http://a/", "", "fetch: {allowHttp: true}"),
    ],
)
def test_wrong_urls(problems: Callable[..., list[str]], issuer: str, jwt: str, message: str) -> None:
    """Keys are fetched from https URLs without credentials; a password in one is not repeated."""
    [problem] = problems(providers(provider(jwt, issuer=issuer)))
    assert message in problem
    assert "hunter2" not in problem


def test_plain_http_by_name(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """Plain http can be accepted for one provider, but then no token is sent."""
    assert load(providers(provider("jwksUri: 'http://a/'", "fetch: {allowHttp: true}")))
    [problem] = problems(providers(provider("jwksUri: 'http://a/'", "fetch: {allowHttp: true, tokenFile: t}")))
    assert "providers[0].fetch.tokenFile: the token would be sent over plain http" in problem


def test_other_issuers(load: Callable[..., Any]) -> None:
    """With keys from elsewhere an issuer may be any text."""
    assert load(providers(provider("jwksFile: f", issuer="dev"))).providers[0].jwt.issuer == "dev"


def test_kinds(problems: Callable[..., list[str]]) -> None:
    """A provider says how it vouches for callers."""
    for text in ("{name: a}", "{name: a, jwt: null}"):
        assert problems(providers(text)) == [
            "2:3: providers[0]: provider 'a' has no kind (say how it vouches for callers: jwt: {...})"
        ]


@pytest.mark.parametrize("name", ["''", "a b", "-a", "a/b", "ä", "x" * 64, "'a\\n'", "3"])
def test_names(problems: Callable[..., list[str]], name: str) -> None:
    """A name can be a metric label and a word in a policy."""
    assert len(problems(providers(provider(name=name)))) == 1


def test_repeats(problems: Callable[..., list[str]]) -> None:
    """A name or an issuer that is there twice is refused: which provider decides would be chance."""
    may = "roles: {mayGrant: [user]}"
    found = problems(providers(provider(rest=may), provider(rest=may), provider(rest=may, name="b")))
    assert [problem.split(" (")[0] for problem in found] == [
        "3:10: providers[1].name: name 'a' is already there",
        f"3:27: providers[1].jwt.issuer: issuer '{ISSUER}' is already there",
        f"4:27: providers[2].jwt.issuer: issuer '{ISSUER}' is already there",
    ]


def test_may_grant(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """With two providers each must say which roles it may give; with one it need not."""
    one, two = provider(), provider(name="b", issuer="https://b.example/", rest="roles: {mayGrant: []}")
    assert load(providers(one))
    [problem] = problems(providers(one, two))
    assert problem.startswith("2:3: providers[0].roles: provider 'a' needs roles.mayGrant")


def test_may_grant_beside_a_broken_provider(problems: Callable[..., list[str]]) -> None:
    """A provider that can't be read counts as one."""
    found = problems(providers(provider(), "{name: 3}"))
    assert ["needs roles.mayGrant" in problem for problem in found] == [True, False]


@pytest.mark.parametrize(
    ("places", "values"),
    [
        ("{headers: [{name: x-token}]}", {"headers": [("x-token", "")]}),
        ("{cookies: [session]}", {"cookies": ("session",), "headers": []}),
        ("{query: [access_token]}", {"query": ("access_token",)}),
        ("{websocketProtocol: bearer.}", {"websocket_protocol": "bearer."}),
    ],
)
def test_places(load: Callable[..., Any], places: str, values: dict[str, Any]) -> None:
    """Places replace the default: a provider that reads a cookie does not read the header too."""
    found = load(providers(provider(rest=f"from: {places}"))).providers[0].places
    for key, value in values.items():
        have = getattr(found, key)
        assert ([(header.name, header.prefix) for header in have] if key == "headers" else have) == value


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ("{}", "names no place that tokens could be in"),
        ("{headers: [{name: Authorization, prefix: 'Bearer '}]}", "(write authorization)"),
        ("{headers: [{name: ':path'}]}", "is not a header name"),
        ("{headers: [{name: cookie}]}", "cookie can't carry a token (name the cookie under from.cookies)"),
        ("{headers: [{name: host}]}", "host can't carry a token"),
        ("{headers: [{name: authorization}]}", "so the prefix ends with a space"),
        ("{headers: [{name: authorization, prefix: Bearer}]}", "so the prefix ends with a space"),
        ("{headers: [{name: x}, {name: x}]}", "header 'x:' is already there"),
        ("{cookies: [a, a]}", "cookie 'a' is already there"),
        ("{cookies: ['a b']}", "must be"),
        ("{query: [a, a]}", "parameter 'a' is already there"),
        ("{websocketProtocol: ''}", "must be the beginning of a subprotocol name"),
        ("{websocketProtocol: 'a,b'}", "must be the beginning of a subprotocol name"),
    ],
)
def test_wrong_places(problems: Callable[..., list[str]], places: str, message: str) -> None:
    """A place that can't hold a token, or is given twice, is refused."""
    [problem] = problems(providers(provider(rest=f"from: {places}")))
    assert message in problem


@pytest.mark.parametrize(
    ("claims", "paths"),
    [
        ("[groups]", (("groups",),)),
        ("[realm_access.roles, roles]", (("realm_access", "roles"), ("roles",))),
        ('[["https://x/roles"]]', (("https://x/roles",),)),
        ('[["a.b", c]]', (("a.b", "c"),)),
        ("[]", ()),
    ],
)
def test_claim_paths(load: Callable[..., Any], claims: str, paths: tuple[tuple[str, ...], ...]) -> None:
    """A string is a dotted path, a list is literal segments."""
    assert load(providers(provider(rest=f"roles: {{claims: {claims}}}"))).providers[0].roles.claims == paths


@pytest.mark.parametrize("claims", ["['']", "[a..b]", "[.a]", "[[]]", "[['']]", "[[1]]", "[1]", "roles"])
def test_wrong_claim_paths(problems: Callable[..., list[str]], claims: str) -> None:
    """Empty segments and other types are refused."""
    assert len(problems(providers(provider(rest=f"roles: {{claims: {claims}}}")))) == 1


@pytest.mark.parametrize(
    "text",
    [
        providers(provider(rest="roles: {map: {guests: anonymous}}")),
        providers(provider(rest="roles: {mayGrant: [anonymous]}")),
        "roles: {includes: {user: [anonymous]}}",
        "roles: {includes: {anonymous: [user]}}",
    ],
)
def test_anonymous(problems: Callable[..., list[str]], text: str) -> None:
    """The role anonymous can be given by nothing."""
    [problem] = problems(text)
    assert "role 'anonymous' can be given by nothing" in problem


def test_access_token_options(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """Lifetime, profile and audience claim are off by default; the profile brings its token type and tolerates no other."""
    plain = load(providers(provider())).providers[0].jwt
    assert (plain.max_lifetime, plain.profile, plain.audience_claim) == (None, None, "aud")
    written = load(providers(provider("maxLifetime: 24h, profile: rfc9068"))).providers[0].jwt
    assert (written.max_lifetime, written.token_types) == (86_400.0, ("at+jwt",))
    assert load(providers(provider("audienceClaim: client_id"))).providers[0].jwt.audience_claim == "client_id"
    [problem] = problems(providers(provider("profile: rfc9068, tokenTypes: [JWT]")))
    assert "with profile rfc9068 the token type is at+jwt alone" in problem
    [problem] = problems(providers(provider("profile: rfc9068, audienceClaim: client_id")))
    assert "have their audience in aud" in problem
    assert len(problems(providers(provider("maxLifetime: 0s")))) == 1
    assert len(problems(providers(provider("profile: at+jwt")))) == 1
    assert len(problems(providers(provider("audienceClaim: azp")))) == 1


def test_unmapped_names(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """Names without an entry in map are kept unless they are to be dropped."""
    assert load(providers(provider())).providers[0].roles.unmapped == "keep"
    assert load(providers(provider(rest="roles: {unmapped: drop}"))).providers[0].roles.unmapped == "drop"
    assert len(problems(providers(provider(rest="roles: {unmapped: none}")))) == 1


def test_token_cache(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """The cache of verified tokens has bounds, which can be moved within reason."""
    cache = load().token_cache
    assert (cache.max_entries, cache.max_bytes, cache.max_age) == (100_000, 160 * 1024**2, 300.0)
    assert load("tokenCache: {maxEntries: 0, maxAge: 30s}").token_cache.max_age == 30.0
    assert len(problems("tokenCache: {maxEntries: -1, maxBytes: 1.5, maxAge: 2h}")) == 3
