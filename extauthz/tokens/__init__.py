"""The token service: it issues, renews, exchanges, revokes and tells about access tokens, and rotates what signs them.

Stateless but for what it asks a ``TokenStore`` to keep and a ``KeyBackend`` to sign, so any number of replicas serve the
same clients. It takes and gives HTTP as plain values (``extauthz.tokens.http``) and knows neither sockets nor libraries:
``extauthz.serving`` listens, ``extauthz.stores`` keeps, ``extauthz.vault`` signs, ``extauthz.app`` puts them together.
"""
