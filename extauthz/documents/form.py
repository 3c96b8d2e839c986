"""What all forms have in common: the pydantic models that say which keys a document has."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

__all__ = ["Form"]


class Form(BaseModel):
    """A mapping that people write: camelCase keys and none but the known ones, values as they stand and never converted.

    The docstring below each field is what editors show.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )
