import json
from importlib.resources import files
from typing import Any

from extauthz.config import Config
from extauthz.config.schema import config_schema, config_schema_text


def test_published_schema() -> None:
    """The published schema is what the models give (`python -m extauthz.config.schema` writes it)."""
    published = files("extauthz.config").joinpath("extauthz.schema.json").read_text("utf-8")
    assert published == config_schema_text()


def test_schema_is_for_people() -> None:
    """Every key has a description, and durations are text with units."""
    schema = config_schema()
    for model in [schema, *schema["$defs"].values()]:
        assert model["additionalProperties"] is False
        for name, key in model["properties"].items():
            # Pydantic leaves a key's description out where it is that of the section.
            assert key.get("description") or schema["$defs"][key["$ref"].rpartition("/")[2]]["description"], name
    deadline: dict[str, Any] = schema["$defs"]["Check"]["properties"]["deadline"]
    assert (deadline["type"], deadline["default"]) == ("string", "150ms")


def test_configuration_as_json() -> None:
    """A configuration can be written out as it is written in a file, durations with their units."""
    written = json.loads(Config().model_dump_json(by_alias=True))
    assert written["check"]["deadline"] == "150ms"
    assert written["listen"]["check"]["address"] == "127.0.0.1:9000"
