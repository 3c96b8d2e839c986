"""A running server at a glance: what it said twice, as one view (``view``), and the view as a screen (``screen``)."""

from extauthz.workbench.top.screen import screen
from extauthz.workbench.top.view import Seen, View, view

__all__ = ["Seen", "View", "screen", "view"]
