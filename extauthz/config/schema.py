"""The JSON Schema of the configuration, for editors: completion, descriptions, and errors while typing.

``python -m extauthz.config.schema > extauthz/config/extauthz.schema.json`` writes the published file; a test holds it
equal to the models. A file names it in its first line: ``# yaml-language-server: $schema=<url or path>``.
"""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from extauthz.config.configuration import Config

__all__ = ["config_schema", "config_schema_text"]


class _Generator(GenerateJsonSchema):
    """Writes defaults as a person would write them: durations with their units."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Pass the default of a duration through the serializer that the type itself has."""
        inner = schema["schema"]
        serializer: Any = inner.get("serialization")
        result = super().default_schema(schema)
        if serializer and "default" in result:
            result["default"] = serializer["function"](schema["default"])
        return result


def config_schema() -> dict[str, Any]:
    """The schema as a value (JSON Schema, draft 2020-12)."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Configuration of extauthz"}


def config_schema_text() -> str:
    """The schema as the published file has it."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(config_schema_text())
