"""Writing YAML that people read: keys in the order that was meant, short lists on one line.

What is written reads back as the same value in YAML 1.2, by our own reader; that is asserted here, because the writer
underneath thinks in YAML 1.1.
"""

from typing import Any

import yaml

from extauthz.documents.yaml import read_documents

__all__ = ["write_document"]

_WIDTH = 120


class _Dumper(yaml.SafeDumper):
    """Indents lists below their keys no further than the keys, as Kubernetes does."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: what is said twice is read twice."""
        del data
        return True


def write_document(value: dict[str, Any]) -> str:
    """A value of mappings, lists, texts, numbers and truths as one YAML document.

    Raises:
        ValueError: The value can't be written so that it reads back as itself.
    """
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=_WIDTH)
    documents, problems = read_documents(text, "")
    if problems or len(documents) != 1 or documents[0].value != value:
        message = "the value has no spelling in YAML 1.2 that reads back as itself"
        raise ValueError(message)
    return str(text)
