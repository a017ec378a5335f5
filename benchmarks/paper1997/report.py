"""Tables of the results, next to the figures of the paper."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastlstm as fl

from ..report import table
from ..suite import progress
from .digits import Digits
from .experiments import PAPER, Experiment

__all__ = ["paper_table", "report", "summary", "write"]

Record = Mapping[str, Any]

HEAD = (
    "experiment",
    "sequences, mean",
    "least to most",
    "the paper's mean",
    "ratio",
    "solved",
    "wrong of 2560",
    "seconds a trial",
)


def thousands(number: float) -> str:
    """Format a number of sequences."""
    return f"{number:,.0f}"


def _rows(experiment: Experiment, records: Sequence[Record]) -> list[list[str]]:
    rows = []
    for name, printed in experiment.printed.items():
        label = f"{experiment.name}: {experiment.title}" + ("" if name == "solved" else f", {name}")
        met = [record["milestones"][name] for record in records if name in record["milestones"]]
        share = f"{len(met)} of {len(records)}"
        if not met:
            rows.append([label, "", "", thousands(printed), "", share, "", ""])
            continue
        mean = statistics.fmean(met)
        tests = [record["test"]["wrong"] for record in records if record.get("test")]
        last = name == experiment.criterion.names[-1]
        rows.append(
            [
                label,
                thousands(mean),
                f"{thousands(min(met))} to {thousands(max(met))}",
                thousands(printed),
                f"{mean / printed:.2f}",
                share,
                f"{statistics.fmean(tests):.1f}" if tests and last else "",
                f"{statistics.fmean(record['seconds'] for record in records):.1f}" if last else "",
            ]
        )
    return rows


def paper_table(experiments: Sequence[Experiment], records: Mapping[str, Sequence[Record]]) -> str:
    """Return Markdown: a row for each milestone of the experiments that have records."""
    rows = [row for one in experiments if records.get(one.name) for row in _rows(one, records[one.name])]
    return table(HEAD, rows)


def summary(experiments: Sequence[Experiment], records: Mapping[str, Sequence[Record]]) -> str:
    """Return a line: trials solved, rows with fewer sequences than the paper's network, and processor time."""
    fewer = rows = trials = solved = 0
    for one in experiments:
        found = records.get(one.name, ())
        trials += len(found)
        solved += sum(bool(record["solved"]) for record in found)
        for name, printed in one.printed.items():
            met = [record["milestones"].get(name) for record in found]
            if met:
                rows += 1
                fewer += None not in met and statistics.fmean(met) < printed
    seconds = sum(record["seconds"] for found in records.values() for record in found)
    return (
        f"{solved} of {trials} trials solved; fewer sequences than the paper's network in {fewer} of {rows} rows; "
        f"{seconds / 60:.0f} minutes of processor time.\n"
    )


def _later_rows(experiments: Sequence[Any], records: Mapping[str, Sequence[Record]]) -> list[list[str]]:
    rows = []
    for one in experiments:
        found = records.get(one.name, ())
        if not found:
            continue
        if isinstance(one, Digits):
            values = [record["milestones"]["accuracy"] for record in found]
            what = f"accuracy {statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        else:
            what = f"{sum(bool(record['solved']) for record in found)} of {len(found)} solved"
        presented = [record["presented"] for record in found if record["solved"]]
        rows.append(
            [
                f"{one.name}: {one.title}",
                what,
                thousands(statistics.fmean(presented)) if presented else "",
                f"{thousands(min(presented))} to {thousands(max(presented))}" if presented else "",
                f"{statistics.fmean(record['seconds'] for record in found):.1f}",
            ]
        )
    return rows


def report(experiments: Sequence[Any], records: Mapping[str, Sequence[Record]], heading: str) -> str:
    """Return Markdown: a table of the paper's experiments, and one of the others."""
    of_the_paper = [one for one in experiments if one.name in PAPER and records.get(one.name)]
    others = [one for one in experiments if one.name not in PAPER and records.get(one.name)]
    parts = [f"# Hochreiter & Schmidhuber 1997\n\n{heading}\n"]
    if of_the_paper:
        parts += [
            paper_table(of_the_paper, records),
            summary(of_the_paper, {one.name: records[one.name] for one in of_the_paper}),
        ]
    if others:
        head = ("task", "result", "presented until success", "least to most", "seconds a trial")
        parts.append(table(head, _later_rows(others, records)))
    return "\n".join(parts)


def write(text: str, experiments: Sequence[Any], records: Mapping[str, Sequence[Record]], folder: Path) -> list[Path]:
    """Write the report, and the pictures if matplotlib is installed; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "paper1997.md"]
    written[0].write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        progress("without pictures (no matplotlib): pip install '.[plot]' in the checkout, and run the command again")
        return written
    from . import pictures

    of_the_paper = [one for one in experiments if one.name in PAPER and records.get(one.name)]
    if of_the_paper:
        written.append(pictures.curves(of_the_paper, records, folder / "curves.png"))
    trained = next(iter(sorted((folder / "4-100").glob("*.safetensors"))), None)
    if trained is not None and "4-100" in records:
        seed = int(trained.stem)
        written.append(pictures.carousel(fl.load(trained), PAPER["4-100"].task(seed), seed, folder / "carousel.png"))
    return written
