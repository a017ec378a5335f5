"""The TOML file that ``init`` writes: what was found in the data, and every other option as a comment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..data import CsvTable
from .errors import refusing
from .options import CSV_KEYS, OPTIONS
from .settings import SETTINGS

__all__ = ["template"]

_TARGETS = ("y", "target", "label", "class")


def template(table: CsvTable, data: str, task: str | None, target: str | None, csv: Mapping[str, Any]) -> str:
    """Return the text of the file.

    Raises
    ------
    DataRefused
        If the target is no column of the table.
    """
    if target is not None:
        with refusing():
            table.column(target)
    roles = _guessed(table, task, target)
    used = roles.pop("task")
    lines = ["# Configuration for: fastlstm train --config FILE.toml -o MODEL", "# What was found in the data:"]
    lines += [f"#   {line}" for line in table.describe()]
    lines += ["", f"data = {_toml(data)}", f"task = {_toml(used)}", ""]
    for option in OPTIONS:
        if used not in option.tasks:
            continue
        lines.append(f"# {option.help}")
        if option.key in roles:
            lines.append(f"{option.key} = {_toml(roles[option.key])}")
        else:
            lines.append(f"# {option.key} = {option.example or _toml('NAME')}")
    lines += [
        "",
        "# The network and its training; fastlstm train --task TASK --set list prints all settings.",
        "[settings]",
    ]
    lines += [f"# {name} = {_toml(value)}" for name, value in SETTINGS.get(used, {}).items() if value is not None]
    lines += ["", "# How CSV files are written; by default this is found out.", "[csv]"]
    examples = {"separator": ";", "decimal": ",", "encoding": "utf-8", "header": True, "day_first": True}
    for key in CSV_KEYS:
        lines.append(f"{key} = {_toml(csv[key])}" if key in csv else f"# {key} = {_toml(examples[key])}")
    return "\n".join(lines) + "\n"


def _guessed(table: CsvTable, task: str | None, target: str | None) -> dict[str, Any]:
    """Return a task and the columns of roles, as far as the names and types tell."""
    times = [name for name, column in table.columns.items() if column.kind == "time"]
    numbers = [name for name, column in table.columns.items() if column.kind in ("integer", "number")]
    texts = [name for name, column in table.columns.items() if column.kind in ("text", "mixed")]
    found: dict[str, Any] = {"task": task or ("forecast" if times else "classify")}
    named = [name for name in table if name.lower() in _TARGETS]
    if target is None and found["task"] != "anomaly":
        likely = texts if found["task"] == "classify" else numbers
        target = next(iter([*named, *likely[-1:]]), None)
    if target is not None:
        found["target"] = target
    if times and found["task"] in ("forecast", "anomaly"):
        found["time"] = times[0]
    if found["task"] in ("classify", "regress"):
        apart = [name for name in texts if name != target and _tells_apart(table, name)]
        if apart:
            found["id"] = apart[0]
    if found["task"] == "forecast":
        found["horizon"] = "1D"
        identity = [name for name in texts if name != target]
        if identity:
            found["id"] = identity[0]
        rest = [name for name in numbers if name != target]
        if rest:
            found["hist_exog"] = rest
    return found


def _tells_apart(table: CsvTable, name: str) -> bool:
    """Return whether each row has a name of its own in a column."""
    names = table.columns[name].texts or []
    return None not in names and len(set(names)) == len(table)


def _toml(value: Any) -> str:
    """Return a value as TOML; JSON strings are TOML strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
