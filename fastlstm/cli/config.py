"""The configuration of a training: a TOML file, and the command line, which comes first."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from .._arguments import closest
from .errors import UsageError
from .options import CSV_KEYS, OPTIONS, TASKS, Option
from .output import check_output
from .tables import csv_options

__all__ = ["Configuration", "configuration", "read_toml"]

_TABLES = ("settings", "csv")


class Configuration:
    """What a training is to do.

    Attributes
    ----------
    task : str
    data, output : str
        Files.
    options : dict
        Values of `OPTIONS` that are given.
    settings : dict
        Settings of the network and its training that are given, by name.
    csv : dict
        How CSV files are read.
    """

    def __init__(self, task: str, data: str, output: str | None) -> None:
        self.task = task
        self.data = data
        self.output = output
        self.options: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.csv: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """Return an option, or the default."""
        return self.options.get(key, default)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as data for JSON."""
        return {
            "task": self.task,
            "data": self.data,
            "output": self.output,
            **self.options,
            "settings": self.settings,
            "csv": self.csv,
        }


def configuration(arguments: argparse.Namespace) -> Configuration:
    """Return what the command line and the file that it names say.

    Raises
    ------
    UsageError
        If an option is missing, unknown, or not one of the task.
    """
    told = read_toml(arguments.config) if arguments.config else {}
    task = arguments.task or told.pop("task", None)
    told.pop("task", None)
    if task is None:
        raise UsageError(f"say what to learn: --task {'|'.join(TASKS)}")
    data = arguments.data or told.get("data")
    if data is None:
        raise UsageError("name a CSV file: fastlstm train DATA.csv, or data = 'DATA.csv' in the file of --config")
    result = Configuration(task, data, arguments.output or told.get("output"))
    if result.output is None and not arguments.dry_run:
        raise UsageError("-o MODEL is missing: name the file for the model, such as -o model.safetensors")
    if result.output is not None:
        check_output(result.output)
    for option in OPTIONS:
        given = getattr(arguments, option.key)
        value = told.get(option.key) if given is None else given
        if value is None:
            continue
        if task not in option.tasks:
            raise UsageError(f"{option.flag} is for {', '.join(option.tasks)}, not for --task {task}: leave it out")
        result.options[option.key] = value
    result.settings = {**told.get("settings", {}), **_assignments(arguments.set)}
    result.csv = csv_options(arguments, told.get("csv"))
    return result


def read_toml(path: str) -> dict[str, Any]:
    """Return the content of a TOML file with the keys of a configuration; raise UsageError for anything else."""
    toml = _toml_package()
    with open(path, "rb") as file:
        try:
            content: dict[str, Any] = toml.load(file)
        except ValueError as error:  # of TOML, or of UTF-8
            raise UsageError(f"{path} is no TOML file: {error}") from error
    _check_keys(content, ("task", "data", "output", *(option.key for option in OPTIONS), *_TABLES), path)
    for option in OPTIONS:
        if option.key in content:
            content[option.key] = _typed(option, content[option.key], path)
    for name, kind in (("task", str), ("data", str), ("output", str), ("settings", dict), ("csv", dict)):
        if not isinstance(content.get(name, kind()), kind):
            raise UsageError(f"{path}: {name} must be {'a table' if kind is dict else 'a string'}")
    if content.get("task", TASKS[0]) not in TASKS:
        raise UsageError(f"{path}: task is {content['task']!r}, expected one of {', '.join(TASKS)}")
    csv = content.get("csv", {})
    _check_keys(csv, CSV_KEYS, f"{path}, [csv]")
    for key, value in csv.items():
        if type(value) is not CSV_KEYS[key]:
            kind_name = "true or false" if CSV_KEYS[key] is bool else "a string"
            raise UsageError(f"{path}, [csv]: {key} is {value!r}, expected {kind_name}")
    return content


def _toml_package() -> Any:
    """Return the reader of TOML: Python's own, or tomli, its twin for Python 3.10."""
    try:
        return import_module("tomllib")
    except ImportError:
        try:
            return import_module("tomli")
        except ImportError as error:
            raise ImportError("--config needs tomli on Python 3.10: pip install 'fastlstm[cli]'") from error


def _check_keys(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in content:
        if key not in known:
            near = closest(key, known)
            advice = f": did you mean {near}?" if near else f": expected one of {', '.join(known)}"
            raise UsageError(f"{where}: unknown key {key!r}{advice}")


def _typed(option: Option, value: Any, path: str) -> Any:
    """Return a value of a file as the command line would read it."""
    if isinstance(value, (list, tuple)):
        text = ",".join(map(str, value))
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        text = str(value)
    else:
        raise UsageError(f"{path}: {option.key} is {value!r}, expected something like {option.example or 'a name'}")
    try:
        return option.read(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{path}: {option.key} is {error}") from error


def _assignments(given: list[str]) -> dict[str, Any]:
    """Return the settings of ``--set name=value``."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text}: expected NAME=VALUE, such as hidden_size=128")
        found[name.strip().replace("-", "_")] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    """Return a value of the command line: a number, true, false, none, a list of values, or a string."""
    lower = text.lower()
    if lower in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[lower]
    if "," in text:
        return [_value(part.strip()) for part in text.split(",") if part.strip()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
