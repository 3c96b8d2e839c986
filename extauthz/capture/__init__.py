"""Recorded Checks: what was asked, with whom the credentials proved in the place of the credentials.

A capture is a value for JSON that a decision can be made from once more, by other policies, on another machine, without
a key and without a token. ``CaptureWriter`` makes one where a decision is recorded; ``read_capture`` turns one back into
what the journey of a request begins with. What may hold a credential is hidden, and listed, so that a reader knows which
answers it can't give.
"""

from extauthz.capture.hiding import HIDDEN, CredentialPlaces, Hiding, embedded_parameters
from extauthz.capture.reading import Captured, CaptureError, read_capture
from extauthz.capture.writing import CaptureWriter

__all__ = [
    "HIDDEN",
    "CaptureError",
    "CaptureWriter",
    "Captured",
    "CredentialPlaces",
    "Hiding",
    "embedded_parameters",
    "read_capture",
]
