"""The command line: ``fastlstm`` or ``python -m fastlstm``; docs/command-line.md describes it."""

from .main import main

__all__ = ["main"]
