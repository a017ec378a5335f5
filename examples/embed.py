"""Write embed_model.h, the model that examples/embed.c runs, with what Python answers.

    python examples/embed.py [FILE]

It holds the weights as plain C arrays, a short series and the answers of `Model.stream` to it. The numbers are
hexadecimal, so that no bit is lost; the answers are those of the portable instruction set, which are the same bits on
all processors. For a model of your own, train it instead of `model`, and change the stages in embed.c if its layers are
others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import fastlstm as fl
from fastlstm import _core

FILE = Path(__file__).parent / "embed_model.h"
FEATURES, HIDDEN, OUTPUTS, STEPS = 3, 10, 2, 12


def series() -> np.ndarray:
    """Return the series (STEPS, FEATURES) that is fed to the model."""
    n = np.arange(STEPS * FEATURES, dtype=np.float32)
    return (n * 7 % 11 - n * 5 % 13).reshape(STEPS, FEATURES)


def model() -> fl.Model:
    """Return the model: a scaler, an LSTM, a dense layer."""
    scaler = fl.Standardizer().fit(series())
    return fl.Model([fl.LSTM(HIDDEN), fl.Dense(OUTPUTS)], input_size=FEATURES, scaler=scaler, seed=1)


def answers(model: fl.Model) -> np.ndarray:
    """Return the answers (STEPS, OUTPUTS) of a stream in the portable instruction set."""
    before = _core.isa()
    _core.set_isa("portable")
    try:
        stream = model.stream()
        return np.concatenate([stream.step(x) for x in series()])
    finally:
        _core.set_isa(before)


def definition(name: str, array: np.ndarray) -> Iterator[str]:
    """Yield the lines that define an array in C, row by row."""
    single = array.dtype == np.float32
    numbers = [float(number).hex() + "f" * single for number in array.reshape(-1)]
    yield f"static const {'float' if single else 'double'} {name}[{len(numbers)}] = {{"
    for first in range(0, len(numbers), 5):
        yield "    " + ", ".join(numbers[first : first + 5]) + ","
    yield "};"


def header() -> str:
    """Return the text of the file."""
    written = model()
    assert written.scaler is not None
    arrays = {
        "mean": written.scaler.mean_,
        "scale": written.scaler.scale_,
        **{"layer" + name.replace(".", "_"): array for name, array in written.parameters().items()},
        "series": series(),
        "answers": answers(written),
    }
    sizes = {"FEATURES": FEATURES, "HIDDEN": HIDDEN, "OUTPUTS": OUTPUTS, "STEPS": STEPS}
    lines = [
        "/* embed_model.h - the model that embed.c runs, written by embed.py. Names: Model.parameters(). */",
        f"enum {{ {', '.join(f'{name} = {size}' for name, size in sizes.items())} }};",
    ]
    for name, array in arrays.items():
        lines += definition(name, array)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else FILE).write_text(header())
