"""The meshes extauthz runs in: typed Envoy configuration, a local mesh of real processes, compose files.

Purpose: one description of "Envoy in front of extauthz" that everything shares. `mesh.envoy` builds it as typed
messages; the demo, `make up`, the compose file, the end-to-end tests and the templates of `extauthz envoy-config` are
all rendered from it, so a setting that is hardened here is hardened everywhere.

Trade-off: building typed messages costs a second of imports (betterproto2 is pure Python) and lags one Envoy minor
behind. That is fine for tools and tests, and the reason this package stays out of the wheel: the server never loads it.
"""
