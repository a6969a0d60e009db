"""Mistakes of the user that a study can meet; the text says what is wrong and how to go on."""

from __future__ import annotations


class StudyError(Exception):
    """A study cannot be made as asked."""


class StoreError(StudyError):
    """A results file cannot be used."""


class DamagedError(StoreError):
    """A results file is not what was written."""
