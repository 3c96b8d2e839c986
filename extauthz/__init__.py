"""extauthz: authenticates and authorises every request of an Envoy or Istio mesh, and says why.

The command line is ``extauthz --help``. The package is typed, but only its command line, its configuration and its
policy documents are a promise to users; the modules are the house that the work is done in.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
