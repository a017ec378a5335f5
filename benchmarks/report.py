"""Write results as Markdown and JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .peers import OWN
from .serving.models import NAMES as SERVING_NAMES

__all__ = ["markdown", "number", "peer_names", "table", "write"]

Record = Mapping[str, Any]

_TITLES = {
    "train": "Training step",
    "infer": "Inference",
    "stream": "One step of a stream",
    "epoch": "An epoch of `fit`",
    "lengths": "Series of many lengths",
    "deep": "Two layers, both directions",
    "long": "Long series",
    "sizes": "Hidden sizes",
}

_NOTES = {
    "train": "Forward, backward to the gradients of all parameters and of the input, clipping of the norm, Adam.",
    "stream": "Batch 1. PyTorch: the better of `nn.LSTM` and `nn.LSTMCell`. In microseconds.",
    "epoch": "LSTM and a linear layer on its last output; cross-entropy, clipping, Adam, random order.",
    "lengths": (
        "Of ideal: fastlstm's time divided by its time for the padded batch times the share of valid steps; at 1 the "
        "padding costs nothing."
    ),
}


def number(value: float) -> str:
    """Format a number with three digits, never with an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _better(record: Record) -> Record:
    """Return a record that keeps only the faster of PyTorch's two ways to take a step."""
    figures: dict[str, Any] = {}
    for name, one in record["figures"].items():
        short = name.replace(" LSTMCell", "")
        if short not in figures or one["median_ms"] < figures[short]["median_ms"]:
            figures[short] = one
    own = figures[OWN]["median_ms"]
    return {
        **record,
        "figures": figures,
        "ratios": {name: one["median_ms"] / own for name, one in figures.items() if name != OWN},
    }


def _of_peak(record: Record) -> str:
    return f"{record['peak_fraction']:.2f}" if "peak_fraction" in record else ""


def _of_ideal(record: Record) -> float:
    figures = record["figures"]
    ideal = figures[f"{OWN} padded"]["median_ms"] * record["valid_share"]
    return float(figures[OWN]["median_ms"] / ideal)


def peer_names(records: Sequence[Record]) -> list[str]:
    """Return the names of all peers except fastlstm, in order of appearance."""
    return list(dict.fromkeys(name for record in records for name in record["ratios"]))


def _peers_table(records: Sequence[Record], unit: str = "ms") -> str:
    """Return a table with a row for each case: medians, with ratios in parentheses.

    With several rows, a last one has the geometric means of the ratios.
    """
    names = peer_names(records)
    factor = 1e3 if unit == "µs" else 1.0
    extra: list[tuple[str, Callable[[Record], str]]] = []
    if any("peak_fraction" in record for record in records):
        extra.append(("of peak", _of_peak))
    if any("valid_share" in record for record in records):
        extra.append(("of ideal", lambda r: f"{_of_ideal(r):.2f}" if "valid_share" in r else ""))
    mixed = len({record["kind"] for record in records}) > 1
    head = ["batch, time, input, hidden", f"{OWN} {unit}", *(f"{name} {unit} (ratio)" for name in names)]
    rows = []
    for record in records:
        label = f"{record['kind']}: {record['label']}" if mixed else record["label"]
        cells = [label, number(factor * record["figures"][OWN]["median_ms"])]
        for name in names:
            cell = ""
            if name in record["ratios"]:
                median = number(factor * record["figures"][name]["median_ms"])
                cell = f"{median} ({record['ratios'][name]:.2f})"
            cells.append(cell)
        rows.append([*cells, *(value(record) for _, value in extra)])
    if len(records) > 1 and names:
        means = [
            f"**{statistics.geometric_mean(r['ratios'][name] for r in records if name in r['ratios']):.2f}**"
            for name in names
        ]
        rows.append(["geometric mean of the ratios", "", *means, *("" for _ in extra)])
    return table([*head, *(title for title, _ in extra)], rows)


def _scaling_table(records: Sequence[Record], threads: int) -> str:
    rows = []
    for record in records:
        ((name, factor),) = record["ratios"].items()
        alone, all_of_them = (record["figures"][who]["median_ms"] for who in (name, OWN))
        rows.append([record["kind"], record["label"], number(alone), number(all_of_them), f"{factor:.2f}"])
    return table(["", "batch, time, input, hidden", "1 thread ms", f"{_threads(threads)} ms", "factor"], rows)


def _interference_table(records: Sequence[Record]) -> str:
    rows = [
        [r["problem"], r["after"], number(r["quiet_ms"]), number(r["after_ms"]), f"{r['ratio']:.2f}"] for r in records
    ]
    return table(["batch, time, input, hidden", "after", "quiet ms", "directly after ms", "ratio"], rows)


def _oversubscription_table(records: Sequence[Record]) -> str:
    rows = [[r["kind"], r["problem"], number(r["rate"]), number(r["rate_alone"]), f"{r['cost']:.2f}"] for r in records]
    return table(["", "batch, time, input, hidden", "all threads", "1 thread", "better / all threads"], rows)


def _serving_section(one: Record) -> str:
    """Return the tables of the group `serving`."""
    peers = list(one["model_kb"])
    names = [SERVING_NAMES[peer] for peer in peers]

    def cells(figures: Mapping[str, float]) -> list[str]:
        return [number(figures[peer]) for peer in peers]

    scalers = {"scaled": "with scaler", "plain": "without"}
    rates = [
        [f"answers/s, {threads} threads, {scalers[stem]}", *cells(figures)]
        for stem, by_threads in one["calls"].items()
        for threads, figures in by_threads.items()
    ]
    forms = {"json": "JSON", "binary": "numbers as bytes"}
    over_http = [
        [f"{what}, {forms[form]}", *(number(figures[peer][key]) for peer in peers)]
        for form, figures in one.get("http", {}).items()
        for key, what in (
            ("rate", "answers/s over HTTP, 8 clients"),
            ("processor_us", "processor time of the server for an answer over HTTP, us"),
        )
    ]
    others = [
        *over_http,
        ["import, load, first answer, ms", *cells(one["cold_ms"])],
        [f"memory for each of {one['models']} models used by {one['threads']} threads, kB", *cells(one["model_kb"])],
        ["largest pause of an event loop with 32 tasks, ms", *cells(one["heartbeat_ms"])],
    ]
    own = (
        f"{one['streams']} streams of fastlstm take {number(one['stream_kb'])} kB each, a step round robin "
        f"{number(one['stream_us'])} us; a reading of 37 of {one['streams'] // 10} series of a stream "
        f"{number(one['reading_us'])} us.\n"
    )
    if one.get("http"):
        alone = " and ".join(
            f"{number(figures['none']['processor_us'])} us with {forms[form]}" for form, figures in one["http"].items()
        )
        own += f"\nHTTP alone, without a model, takes {alone} of processor time for an answer.\n"
    return f"{table(['', *names], [*rates, *others])}\n{own}"


def _cells_table(records: Sequence[Record]) -> str:
    rows = [
        [r["cell"], *(f"{number(r[f'{kind}_ms'])} ({r[f'{kind}_ratio']:.2f})" for kind in ("train", "infer"))]
        for r in records
    ]
    return table(["cell", "training ms (of plain)", "inference ms (of plain)"], rows)


def _signals_table(records: Sequence[Record]) -> str:
    names = list(dict.fromkeys(name for record in records for name in record["figures"]))
    rows = []
    for record in records:
        row = [record["model"], record["kind"], record["label"]]
        for name in names:
            median, times = record["figures"].get(name), record["ratios"].get(name)
            row.append("" if median is None else number(median) + ("" if times is None else f" ({times:.2f})"))
        rows.append(row)
    return table(["model", "", "batch, time, features, convolution, hidden", *(f"{name}, ms" for name in names)], rows)


def _all_figures(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        for name, one in record["figures"].items():
            ratio = f"{record['ratios'][name]:.2f}" if name in record["ratios"] else ""
            figures = [f"{one['median_ms']:.4g}", f"{one['min_ms']:.4g}", str(one["runs"]), ratio]
            rows.append([record["group"], record["kind"], record["label"], name, *figures])
    head = ["group", "", "batch, time, input, hidden", "", "median ms", "min ms", "runs", "ratio"]
    return table(head, rows)


def markdown(results: Record) -> str:
    """Return the report.

    Parameters
    ----------
    results : dict
        The result of `benchmarks.suite.run`.
    """
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        "# Benchmarks\n",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}; {machine['system']}, Python "
        f"{machine['python']}; {_threads(results['threads'])} for each library; {results['date']}.\n",
        f"{versions}.\n",
        *(f"{line}.\n" for line in results["missing"]),
        "Medians of interleaved runs, after the answers have been verified. Ratios are of medians; above 1 fastlstm is "
        "faster. Of peak: operations per second of fastlstm's matrix products as a fraction of what the processor's "
        "vector units do with registers alone, on the same number of threads.\n",
    ]
    cases = results["cases"]
    for group, title in _TITLES.items():
        records = [record for record in cases if record["group"] == group]
        if not records:
            continue
        parts.append(f"## {title}\n")
        if group in _NOTES:
            parts.append(f"{_NOTES[group]}\n")
        if group == "stream":
            records = [_better(record) for record in records]
        parts.append(_peers_table(records, "µs" if group == "stream" else "ms"))
    scaling = [record for record in cases if record["group"] == "scaling"]
    if scaling:
        parts += ["## Threads\n", _scaling_table(scaling, results["threads"])]
    if results.get("cells"):
        parts += [
            "## Cells\n",
            f"One layer, {results['cells'][0]['problem']}: forward and backward with the gradient of the input, and "
            "inference of a frozen model.\n",
            _cells_table(results["cells"]),
        ]
    if results.get("signals"):
        parts += [
            "## Convolutions\n",
            "A convolution, and a CNN-LSTM: convolution, batch normalisation, relu, pool of 2, LSTM, dense layer. "
            "Training: forward, backward, clipping, Adam. In parentheses how many times as long as fastlstm.\n",
            _signals_table(results["signals"]),
        ]
    if results.get("interference"):
        parts += [
            "## Directly after other thread pools\n",
            "Inference directly after 50 ms of work of another library in the same process, and after a pause.\n",
            _interference_table(results["interference"]),
        ]
    if results.get("oversubscription"):
        records = results["oversubscription"]
        parts += [
            "## Several processes at once\n",
            f"Runs per second of {records[0]['processes']} processes together, each with all threads, and with one.\n",
            _oversubscription_table(records),
        ]
    if results.get("import"):
        one = results["import"]
        parts += [
            "## Import\n",
            f"`import fastlstm` takes {number(one['beyond_numpy_ms'])} ms beyond `import numpy`, which takes "
            f"{number(one['numpy_ms'])} ms: medians of {one['runs']} fresh processes each.\n",
        ]
    if results.get("serving"):
        parts += [
            "## Serving\n",
            "LSTM(64), Dense(9), one series of 100 steps of 12 features; one thread in the kernels of each library.\n",
            _serving_section(results["serving"]),
        ]
    if cases:
        parts += ["## All figures\n", _all_figures(cases)]
    return "\n".join(parts)


def write(results: Record, folder: Path) -> list[Path]:
    """Write results.md, results.json and, with matplotlib, results.png.

    Parameters
    ----------
    results : dict
        The result of `benchmarks.suite.run`.
    folder : Path
        Created if it does not exist.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "results.json", folder / "results.md"]
    written[0].write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    written[1].write_text(markdown(results), encoding="utf-8")
    if any(record["group"] in ("train", "infer") for record in results["cases"]):
        from .plot import save

        try:
            save(results, folder / "results.png")
        except ImportError:
            from .suite import progress

            progress("without a plot (no matplotlib): pip install 'fastlstm[bench]'")
        else:
            written.append(folder / "results.png")
    return written
