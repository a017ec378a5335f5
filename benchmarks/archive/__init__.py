"""Benchmarks of the estimators on data sets of the UCR archive: accuracy, and time of training."""

from __future__ import annotations

__all__ = ["ArchiveError"]


class ArchiveError(Exception):
    """A data set is not there; the message says what to do."""
