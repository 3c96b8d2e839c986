"""Why a request is answered as it is: told to a person at a terminal, or to a program.

``asking``, ``curl`` and ``recorded`` read what is to be explained, ``document`` makes one value of the explanation, and
``tree`` draws it.
"""

from extauthz.workbench.explain.asking import (
    Connection,
    Question,
    Recorded,
    Told,
    request_of_curl,
    request_of_words,
)
from extauthz.workbench.explain.document import Explained, Redaction, document
from extauthz.workbench.explain.recorded import find_record, question_of_record
from extauthz.workbench.explain.tree import draw

__all__ = [
    "Connection",
    "Explained",
    "Question",
    "Recorded",
    "Redaction",
    "Told",
    "document",
    "draw",
    "find_record",
    "question_of_record",
    "request_of_curl",
    "request_of_words",
]
