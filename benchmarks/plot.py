"""Plot the results: ratios to each peer, and the fraction of the machine's rate of matrix products, by shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .report import peer_names

__all__ = ["figure", "save"]

_MARKERS = "osD^vP*X"
_KINDS = {"train": "training step", "infer": "inference"}


def figure(results: Mapping[str, Any]) -> Any:
    """Return the figure of the groups train and infer.

    Parameters
    ----------
    results : dict
        The result of `benchmarks.suite.run`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    records = [record for kind in _KINDS for record in results["cases"] if record["group"] == kind]
    picture = Figure(figsize=(4 + 0.4 * len(records), 8), layout="constrained")
    upper, lower = picture.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    positions = list(range(len(records)))

    names = peer_names(records)
    for name, marker in zip(names, _MARKERS, strict=False):
        present = [k for k in positions if name in records[k]["ratios"]]
        upper.plot(present, [records[k]["ratios"][name] for k in present], marker, label=name, alpha=0.8)
    upper.axhline(1, color="black", linewidth=1)
    upper.set_yscale("log")
    upper.set_ylabel("their time / fastlstm's\n(above 1: fastlstm is faster)")
    upper.grid(axis="y", which="both", alpha=0.3)
    if names:
        picture.legend(loc="outside lower center", ncols=4)

    measured = [k for k in positions if "peak_fraction" in records[k]]
    lower.bar(measured, [records[k]["peak_fraction"] for k in measured], color="tab:gray")
    lower.set_ylabel("fastlstm's fraction\nof the machine's peak")
    lower.set_ylim(bottom=0)
    lower.grid(axis="y", alpha=0.3)
    lower.set_xticks(positions, [record["label"] for record in records], rotation=60, ha="right")
    lower.set_xlabel("batch, time, input, hidden")

    start = 0
    for kind, title in _KINDS.items():
        count = sum(record["group"] == kind for record in records)
        if count:
            centre = (start + (count - 1) / 2, 1.02)
            upper.text(*centre, title, ha="center", va="bottom", transform=upper.get_xaxis_transform())
        start += count
        if 0 < start < len(records):
            for axes in (upper, lower):
                axes.axvline(start - 0.5, color="black", linewidth=1, linestyle=":")
    machine = results["machine"]
    picture.suptitle(f"{machine['cpu']}, {machine['isa']}, {results['threads']} threads")
    return picture


def save(results: Mapping[str, Any], path: Path) -> None:
    """Write the figure as PNG.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    figure(results).savefig(path, dpi=120)
