"""The end of a kernel."""

from __future__ import annotations


class Halted(Exception):
    """The kernel has panicked: whatever was under way ends here."""
