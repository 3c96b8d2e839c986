"""The page about replays shows captures as they are."""

import json
import re
from importlib.resources import files

import jsonschema

from extauthz.capture import read_capture
from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "replay.md").read_text()


def test_the_capture_is_one() -> None:
    """It can be read, and the published schema accepts it."""
    [block] = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    captured = read_capture(json.loads(block))
    assert captured.redacted == {"headers.authorization"}
    schema = json.loads(files("extauthz.telemetry").joinpath("decision.schema.json").read_text())
    jsonschema.Draft202012Validator(schema["$defs"]["capture"] | {"$defs": schema["$defs"]}).validate(json.loads(block))


def test_the_doubts_are_told() -> None:
    """Whatever a report says of an approximate answer stands on the page."""
    from extauthz.workbench.replay.doubts import _NOT_IN_PLAIN

    for word in {*_NOT_IN_PLAIN.values(), "port", "credentials", "peer"}:
        assert f"`{word}`" in PAGE, word
