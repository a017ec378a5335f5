"""The command ``demo``: train on a data set that comes with the package, print results, save the model and a plot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_command, natural

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "demo", _run, summary="train on real data, save model and plot, reload and predict")
    parser.add_argument(
        "name",
        nargs="?",
        choices=["vowels", "power"],
        default="vowels",
        help="vowels: tell nine speakers apart (default); power: forecast a steel works' power factor",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fastlstm-demo"),
        metavar="DIR",
        help="folder for the model and the plot, created if missing (default: %(default)s)",
    )
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="seed (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _run(arguments: argparse.Namespace) -> int:
    from .. import demo  # imported here, so that other commands stay fast

    arguments.out.mkdir(parents=True, exist_ok=True)
    run = demo.run_vowels if arguments.name == "vowels" else demo.run_power
    run(arguments.out, arguments.seed, 0 if arguments.quiet else 1)
    return 0
