"""Text that people write: YAML 1.2 whose every value knows its file, line and column.

Configuration and policies are read through here, so that both give the same errors for the same slips: all of a file's
problems at once, each with a place that an editor can open.
"""

from extauthz.documents.form import Form
from extauthz.documents.problems import FieldError, spelled, validation_problems
from extauthz.documents.writing import write_document
from extauthz.documents.yaml import Document, read_documents

__all__ = ["Document", "FieldError", "Form", "read_documents", "spelled", "validation_problems", "write_document"]
