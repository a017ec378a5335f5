"""The command line: ``fastlstm`` or ``python -m fastlstm``.

``info`` prints the version and what the kernels use on this machine; ``demo`` trains on a data set that comes
with the package, prints the results and saves the model and a plot.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ._version import __version__
from .runtime.config import show_config

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit status: 0 for success, 1 for an error (reported in one line on standard error), 130 for Ctrl-C.

    Raises
    ------
    SystemExit
        From argparse: status 2 for wrong arguments, 0 after ``--help`` and ``--version``.
    """
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "info":
            show_config()
        else:
            _demo(arguments.name, arguments.out, arguments.seed, 0 if arguments.quiet else 1)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone (`fastlstm info | head -1`). Python flushes once more at exit: send that to devnull.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("fastlstm: interrupted", file=sys.stderr)
        return 130
    except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        print(f"fastlstm: error: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastlstm", description="A fast LSTM for CPUs.")
    parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("info", help="print version, instruction set, threads, compiler")
    demo = commands.add_parser("demo", help="train on real data, save model and plot, reload and predict")
    demo.add_argument(
        "name",
        nargs="?",
        choices=["vowels", "power"],
        default="vowels",
        help="vowels: tell nine speakers apart (default); power: forecast a steel works' power factor",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("fastlstm-demo"),
        metavar="DIR",
        help="folder for the model and the plot, created if missing (default: %(default)s)",
    )
    demo.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed (default: %(default)s)")
    demo.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # fits in 64 bits
        raise argparse.ArgumentTypeError(f"{text!r}; expected an integer, 0 or more")
    return int(text)


def _demo(name: str, out: Path, seed: int, verbose: int) -> None:
    from . import demo  # imported here, so that `info` stays fast

    out.mkdir(parents=True, exist_ok=True)
    run = demo.run_vowels if name == "vowels" else demo.run_power
    run(out, seed, verbose)
