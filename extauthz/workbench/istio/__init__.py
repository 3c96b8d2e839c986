"""Istio's AuthorizationPolicy and RequestAuthentication, turned into AuthPolicy documents that never allow more.

``form`` and ``reading`` take what Istio takes, ``scope`` says which workloads an object is for, ``words`` turns patterns
into ours or into CEL, ``sources``, ``operations`` and ``conditions`` the parts of a rule (``parts``) that ``rules`` puts
together, ``conversion`` does the documents, ``providers`` the issuers. What has no equivalent is a ``Loss``: what allows
then allows less, what denies denies more, and the person is told where and what to do.
"""

from extauthz.workbench.istio.conversion import Converted, convert
from extauthz.workbench.istio.losses import Loss
from extauthz.workbench.istio.scope import Scope

__all__ = ["Converted", "Loss", "Scope", "convert"]
