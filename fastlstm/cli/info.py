"""The command ``info``: what the kernels use on this machine, or what a model was trained on."""

from __future__ import annotations

import argparse
from typing import Any

from ..runtime.config import show_config
from .arguments import add_command
from .errors import CommandError, UsageError

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "info",
        _run,
        summary="print version, instruction set, threads, compiler; or what a model was trained on",
        description="Print what the kernels use on this machine, or what a model was trained on.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="file of a model")
    parser.add_argument("--json", action="store_true", help="print what the file of the model says as JSON")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.model is None:
        if arguments.json:
            raise UsageError("--json needs a MODEL: fastlstm info MODEL --json")
        show_config()
        return 0
    from .model_file import is_forecaster

    if is_forecaster(arguments.model):
        from . import forecasts

        return forecasts.info(arguments)
    return _show(arguments)


def _show(arguments: argparse.Namespace) -> int:
    from ..formats.model_file import any_model_from
    from ..tasks.described import KEY
    from .model_file import TABLE, read_config
    from .output import json_text

    tensors, config = read_config(arguments.model)
    notes = config.get("metadata") or {}
    table, estimator = config.get(TABLE), config.get(KEY)
    if arguments.json:
        print(json_text({"table": table, "estimator": estimator, "metadata": notes}))
        return 0
    try:
        model = any_model_from(arguments.model, config, tensors)
        lines = _table_lines(table) if table else ["the file does not say on which columns the model was trained"]
        if estimator:
            parameters = ", ".join(f"{name}={value}" for name, value in estimator["parameters"].items())
            lines.append(f"{estimator['type']}({parameters})")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CommandError(f"{arguments.model}: the file is damaged: {error}") from error
    print(arguments.model)
    print("\n".join(lines))
    print(repr(model))
    for name, value in notes.items():
        print(f"{name}: {value}")
    return 0


def _table_lines(table: dict[str, Any]) -> list[str]:
    """Return what a file says of its training."""
    layout, data = table["layout"], table["data"]
    roles = [f"{name} {layout[name]!r}" for name in ("target", "time", "id", "group", "keep_together") if layout[name]]
    features = layout["features"]
    low, high = data["steps"]
    lines = [
        f"task: {layout['task']}, written by fastlstm {table['fastlstm']}",
        f"columns: {', '.join(roles)}{'; ' if roles else ''}reads {', '.join(features[:20])}"
        + (f", ... ({len(features)})" if len(features) > 20 else ""),
        f"trained on {data['file']}: {data['rows']} rows, {data['cases']} series of {low} to {high} steps",
    ]
    if "classes" in data:
        lines.append("classes: " + ", ".join(f"{name} ({count})" for name, count in data["classes"].items()))
    if table["figures"]:
        lines.append(
            "on data kept out: " + ", ".join(f"{name} {value:.6g}" for name, value in table["figures"].items())
        )
    return lines
