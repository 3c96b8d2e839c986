"""What is legal and still not what its author can have meant: findings about policies that load,
and about what is configured beside them.

An error stops a policy set; a finding is told and stops nothing, unless somebody asks for that. Each has a code that never
changes its meaning, a place, a sentence and a way to mend it. What is found is certain, or nearly so: a rule that can't
match can't match, and where a check would have to guess it says nothing.
"""

from extauthz.workbench.lint.findings import CODES, Finding
from extauthz.workbench.lint.linter import lint
from extauthz.workbench.lint.providers import ProviderRoles
from extauthz.workbench.lint.service import service_findings

__all__ = ["CODES", "Finding", "ProviderRoles", "lint", "service_findings"]
