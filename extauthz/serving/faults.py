"""How an unexpected exception is written into the log: its type and where it was raised, never its text.

The text of an exception often quotes what it choked on, and that may be a token.
"""

from traceback import extract_tb

__all__ = ["describe"]

_FRAMES = 3


def describe(error: BaseException) -> str:
    """``ValueError at decode.py:12 in parse < handler.py:40 in decide``: the innermost frames first."""
    frames = extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in frames[::-1])
    return f"{type(error).__name__} at {places}" if places else type(error).__name__
