"""Who is asking: credentials found in a request, verified, and turned into an ``Identity`` with roles."""

from typing import TYPE_CHECKING

from extauthz.face import face

if TYPE_CHECKING:
    from extauthz.identity.api_keys import API_KEY_PLACES, ApiKeyProvider
    from extauthz.identity.assertions import ClientAssertions
    from extauthz.identity.authenticator import Authenticator, Provider
    from extauthz.identity.basic import BasicProvider, Directory, Entry
    from extauthz.identity.claimed import told_identity
    from extauthz.identity.client_settings import ClientKey, ClientSecret
    from extauthz.identity.explanation import IdentitySeen, Step
    from extauthz.identity.fetching import Fetched, Fetcher, FetchSettings, Posted
    from extauthz.identity.introspection import IntrospectionProvider
    from extauthz.identity.mesh import MeshProvider
    from extauthz.identity.own_keys import OWN_ALGORITHMS, KeyKeeper, OwnKeys, VerificationKey
    from extauthz.identity.own_tokens import OwnTokens
    from extauthz.identity.providers import (
        ASYMMETRIC_ALGORITHMS,
        DEFAULT_ALGORITHMS,
        DEFAULT_PLACES,
        DEFAULT_TOKEN_TYPES,
        RFC9068_CLAIMS,
        SYMMETRIC_ALGORITHMS,
        CookiePlace,
        Discovery,
        FileKeys,
        HeaderPlace,
        InlineKeys,
        JwtProvider,
        KeySource,
        Place,
        ProviderState,
        QueryPlace,
        RemoteKeys,
        SecretFile,
        Wait,
        WebsocketProtocolPlace,
    )
    from extauthz.identity.roles import ClaimPath, RoleRules, included_roles
    from extauthz.identity.standing import Standing, TokenMarks
    from extauthz.identity.token_cache import CacheCounts, CacheLimits

__all__ = [
    "API_KEY_PLACES",
    "ASYMMETRIC_ALGORITHMS",
    "DEFAULT_ALGORITHMS",
    "DEFAULT_PLACES",
    "DEFAULT_TOKEN_TYPES",
    "OWN_ALGORITHMS",
    "RFC9068_CLAIMS",
    "SYMMETRIC_ALGORITHMS",
    "ApiKeyProvider",
    "Authenticator",
    "BasicProvider",
    "CacheCounts",
    "CacheLimits",
    "ClaimPath",
    "ClientAssertions",
    "ClientKey",
    "ClientSecret",
    "CookiePlace",
    "Directory",
    "Discovery",
    "Entry",
    "FetchSettings",
    "Fetched",
    "Fetcher",
    "FileKeys",
    "HeaderPlace",
    "IdentitySeen",
    "InlineKeys",
    "IntrospectionProvider",
    "JwtProvider",
    "KeyKeeper",
    "KeySource",
    "MeshProvider",
    "OwnKeys",
    "OwnTokens",
    "Place",
    "Posted",
    "Provider",
    "ProviderState",
    "QueryPlace",
    "RemoteKeys",
    "RoleRules",
    "SecretFile",
    "Standing",
    "Step",
    "TokenMarks",
    "VerificationKey",
    "Wait",
    "WebsocketProtocolPlace",
    "included_roles",
    "told_identity",
]

if not TYPE_CHECKING:
    __getattr__ = face(
        __name__,
        {
            "api_keys": "API_KEY_PLACES ApiKeyProvider",
            "assertions": "ClientAssertions",
            "authenticator": "Authenticator Provider",
            "basic": "BasicProvider Directory Entry",
            "claimed": "told_identity",
            "client_settings": "ClientKey ClientSecret",
            "explanation": "IdentitySeen Step",
            "fetching": "Fetched Fetcher FetchSettings Posted",
            "introspection": "IntrospectionProvider",
            "mesh": "MeshProvider",
            "own_keys": "OWN_ALGORITHMS KeyKeeper OwnKeys VerificationKey",
            "own_tokens": "OwnTokens",
            "providers": "ASYMMETRIC_ALGORITHMS DEFAULT_ALGORITHMS DEFAULT_PLACES DEFAULT_TOKEN_TYPES RFC9068_CLAIMS SYMMETRIC_ALGORITHMS CookiePlace Discovery FileKeys HeaderPlace InlineKeys JwtProvider KeySource Place ProviderState QueryPlace RemoteKeys SecretFile Wait WebsocketProtocolPlace",
            "roles": "ClaimPath RoleRules included_roles",
            "standing": "Standing TokenMarks",
            "token_cache": "CacheCounts CacheLimits",
        },
    )
