"""A file for each trial, so that an interrupted run continues with the trials that are missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastlstm.formats import atomic

__all__ = ["OtherSettings", "load", "run_missing", "save"]

Record = dict[str, Any]


class OtherSettings(ValueError):
    """A folder has records of other settings, or damaged ones; the message says what to do."""


def _file(folder: Path, name: str, seed: int) -> Path:
    return folder / name / f"{seed}.json"


def save(folder: Path, record: Record) -> Path:
    """Write the record of a trial atomically; return the file."""
    path = _file(folder, record["name"], record["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, [f"{json.dumps(record)}\n".encode()])
    return path


def load(folder: Path, name: str, seeds: Sequence[int], settings: Mapping[str, Any]) -> list[Record]:
    """Return the records of an experiment that exist already.

    Raises
    ------
    OtherSettings
        If a record has other settings or is damaged.
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
    """Run the trials of an experiment that have no record yet, and save each one; return all records.

    Parameters
    ----------
    folder : path
    name : str
        Name of the experiment.
    seeds : sequence of int
        One for each trial.
    settings : mapping
        Settings on which the results depend, as data for JSON.
    run : function
        From a seed to a record.
    over : function
        Whether the time for new trials is over.
    """
    found = {record["seed"]: record for record in load(folder, name, seeds, settings)}
    for seed in seeds:
        for record in load(folder, name, [seed], settings):  # another process may have run it meanwhile
            found[seed] = record
        if seed in found or over():
            continue
        record = {"name": name, "seed": seed, "settings": dict(settings), **run(seed)}
        save(folder, record)
        found[seed] = json.loads(json.dumps(record))
    return [found[seed] for seed in seeds if seed in found]
