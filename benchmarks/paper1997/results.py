"""A file for each trial, so that an interrupted run continues with the trials that are missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["OtherSettings", "load", "run_missing", "save"]

Record = dict[str, Any]


class OtherSettings(ValueError):
    """A folder has results of other settings; the message says what to do."""


def _file(folder: Path, name: str, seed: int) -> Path:
    return folder / name / f"{seed}.json"


def save(folder: Path, record: Record) -> Path:
    """Write the record of a trial, so that the file is whole or not there."""
    path = _file(folder, record["name"], record["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def load(folder: Path, name: str, seeds: Sequence[int], settings: Mapping[str, Any]) -> list[Record]:
    """Return the records of a task that are there.

    Raises
    ------
    OtherSettings
        If one of them is of other settings, or damaged.
    """
    found = []
    for seed in seeds:
        path = _file(folder, name, seed)
        if not path.exists():
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            settings_of_it = record["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise OtherSettings(f"{path} is not the record of a trial ({error}): remove it, and run again") from error
        if settings_of_it != json.loads(json.dumps(dict(settings))):
            raise OtherSettings(
                f"{path} is a trial with the settings {settings_of_it}, expected {dict(settings)}: give another --out, "
                "or remove the folder"
            )
        found.append(record)
    return found


def run_missing(
    folder: Path,
    name: str,
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    run: Callable[[int], Record],
    over: Callable[[], bool],
) -> list[Record]:
    """Run the trials of a task that have no record yet, each followed by its file; return all records.

    Parameters
    ----------
    folder : path
    name : str
        Of the task.
    seeds : sequence of int
        One for each trial.
    settings : mapping
        On which the results depend; as data for JSON.
    run : function
        From a seed to a record.
    over : function
        Whether there is no time for another trial.
    """
    found = {record["seed"]: record for record in load(folder, name, seeds, settings)}
    for seed in seeds:
        for record in load(folder, name, [seed], settings):  # of another process, perhaps
            found[seed] = record
        if seed in found or over():
            continue
        record = {"name": name, "seed": seed, "settings": dict(settings), **run(seed)}
        save(folder, record)
        found[seed] = json.loads(json.dumps(record))
    return [found[seed] for seed in seeds if seed in found]
