"""The JSON Schema of test suites, for editors: ``python -m extauthz.workbench.suites.schema`` prints it.

It is generated from the form, and kept beside it; a test holds the two equal.
"""

import json
from typing import Any

from extauthz.workbench.suites.form import SuiteForm

__all__ = ["schema"]


def schema() -> dict[str, Any]:
    """The schema of a document of kind PolicyTest."""
    made = SuiteForm.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:extauthz:policytest:1",
        **made,
        "title": "extauthz PolicyTest",
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))  # noqa: T201
