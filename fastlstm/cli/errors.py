"""What ends a command early, with its exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["CommandError", "DataRefused", "NotMet", "UsageError", "refusing"]


class CommandError(Exception):
    """An error that is reported in one line."""

    status = 1


class UsageError(CommandError):
    """Options that are wrong or missing."""

    status = 2


class DataRefused(CommandError):
    """Data that are not what the command needs."""

    status = 3


class NotMet(CommandError):
    """A condition of --fail-if that ends the command."""

    status = 4


@contextmanager
def refusing() -> Iterator[None]:
    """Report errors of the context as data that are refused."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise DataRefused(str(error)) from error
