"""The two services behind Envoy: an HTTP echo with websockets, and a gRPC echo.

They do not authenticate anybody. They say back what reached them, which is the only honest witness of what Envoy let
through, which headers it removed and whom it named.
"""
