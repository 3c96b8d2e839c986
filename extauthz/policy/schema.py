"""The JSON Schema of AuthPolicy documents, for editors: completion, descriptions, and errors while typing.

``python -m extauthz.policy.schema > extauthz/policy/authpolicy.schema.json`` writes the published file; a test holds it
equal to the models. A policy names it in its first line: ``# yaml-language-server: $schema=<url or path>``.

Whatever loads is valid by the schema. The reverse does not hold: what patterns, expressions and the settings say is told
by ``extauthz validate``.
"""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from extauthz.policy.form import PolicyForm

__all__ = ["policy_schema", "policy_schema_text"]

_SMALLEST = {
    "apiVersion": "security.example.com/v1",
    "kind": "AuthPolicy",
    "metadata": {"name": "smallest"},
    "spec": {"rules": [{"role": "user"}]},
}


class _Generator(GenerateJsonSchema):
    """Leaves out the defaults that stand for "not written" and could not be written."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Keep a default only if it is a word or a number."""
        result = super().default_schema(schema)
        if result.get("default") in (None, ""):
            result.pop("default", None)
        return result


def _tidy(part: dict[str, Any]) -> None:
    """Take out titles, which only repeat names, and the line breaks of docstrings."""
    part.pop("title", None)
    if "description" in part:
        part["description"] = " ".join(part["description"].split())


def policy_schema() -> dict[str, Any]:
    """The schema as a value (JSON Schema, draft 2020-12)."""
    schema = PolicyForm.model_json_schema(schema_generator=_Generator)
    for model in (schema, *schema["$defs"].values()):
        _tidy(model)
        for key in model["properties"].values():
            _tidy(key)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "AuthPolicy"}
    return {**head, **schema, "examples": [_SMALLEST]}


def policy_schema_text() -> str:
    """The schema as the published file has it."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(policy_schema_text())
