"""The commands, and how they end."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .._version import __version__
from . import demo, detect, evaluate, export, info, init, predict, quantize, train
from .errors import CommandError

__all__ = ["main"]

_EPILOG = """examples:
  fastlstm train meter.csv --task forecast --target load --time time --horizon 1D -o load.safetensors
  fastlstm predict load.safetensors meter.csv -o tonight.csv
  fastlstm evaluate load.safetensors meter.csv --fail-if 'mase>1'

exit status: 0 done, 1 error, 2 wrong usage, 3 data refused, 4 a condition of --fail-if, 130 Ctrl-C"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit status: 0 for success, also if the reader of the output has gone (``| head``); 1 for an error, 2 for
        wrong usage, 3 for data that are refused, 4 for a condition of ``--fail-if``, each reported in one line on
        standard error; 130 for Ctrl-C.

    Raises
    ------
    SystemExit
        From argparse: status 2 for wrong arguments, 0 after ``--help`` and ``--version``.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    arguments.given = given
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status: int = arguments.run(arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader is gone (`fastlstm info | head -1`). Python flushes once more at exit: send that to devnull.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            print("fastlstm: interrupted", file=sys.stderr)
            return 130
        except CommandError as error:
            _say("usage error" if error.status == 2 else "error", error)
            return error.status
        except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
            _say("error", error)
            return 1
    return status


def _say(kind: str, error: Exception) -> None:
    """Report an error in one line, once if several processes have it."""
    messages = sys.modules.get("fastlstm.training.messages")  # not there unless something was trained
    if messages is None or not messages.said_by_rank_0(error):
        print(f"fastlstm: {kind}: {str(error) or type(error).__name__}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastlstm",
        description="A fast LSTM for CPUs: train on tables, predict, watch.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (init, train, predict, evaluate, detect, export, quantize, info, demo):
        module.add(commands)
    return parser


def _show_warning(message: Any, *rest: Any, **more: Any) -> None:
    print(f"fastlstm: warning: {message}", file=sys.stderr)
