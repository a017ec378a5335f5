"""examples/tunes.py: ABC notation read, written and divided; a model of a few tunes, next to the Markov model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import load_example

TUNE = """X:{number}
T:The {title}
M:6/8
L:1/8
Z:nobody
K:{key}
{body}
"""


def files(folder: Path, n: int = 40) -> Path:
    """Write tunes of scales: from a random note on, always up by a step."""
    rng = np.random.default_rng(0)
    texts = []
    for number in range(n):
        start = int(rng.integers(14))
        notes = ["CDEFGABcdefgab"[k % 14] for k in range(start, start + 30)]
        bars = " | ".join("".join(notes[k : k + 3]) for k in range(0, 30, 3))
        title = "".join("abcdefghij"[int(digit)] for digit in str(number))
        texts.append(TUNE.format(number=number, title=title, key="C", body=bars + " |]"))
    (folder / "tunes.abc").write_text("\n".join(texts))
    return folder


def test_notes_are_read_in_any_key() -> None:
    tunes = load_example("tunes")
    in_c = tunes.tokens("|: C2 ^F/ G/ c>d | (3efg a3- a :|1 B, z [2 c' |]", 0)
    assert in_c == ["|:", "C2", "^F/2", "G/2", "c3/2", "d/2", "|", "(3", "e", "f", "g", "a3", "-", "a", ":|", "[1",
                    "B,", "z", "[2", "c'", "|"]  # fmt: skip
    # The same melody in D, with two sharps in its signature, and with a flat (F); slurs and ornaments are no notes.
    assert tunes.tokens("|: D2 ^G/ A/ d>e | (3(fga) b3- b :|1 ~C z [2 d' |]", 2) == in_c
    assert tunes.tokens("|: \"F\"F2 =B/ {g}c/ f>g | (3abc' d'3- d' :|1 !trill!E z [2 f' |]", -1) == in_c
    assert tunes.tokens("A-B c", 0) == ["A", "B", "c"]  # a slur that is written as a tie
    assert tunes.tokens("[CEG] c", 0) is None  # chords are not read


@pytest.mark.parametrize(("key", "sharps"), [("C", 0), ("Am", 0), ("A minor", 0), ("D", 2), ("Edor", 2), ("A mix", 2)])
def test_keys(key: str, sharps: int) -> None:
    assert load_example("tunes").signature(key) == sharps


def test_what_is_written_is_read_again() -> None:
    tunes = load_example("tunes")
    text = ["M:6/8 L:1/8", "|:", "C2", "^F/2", "G/2", "c3/2", "d/2", "e", "|", "(3", "e", "f", "g", "a3", "-", "a"]
    abc = tunes.notation("T", text)
    assert tunes.tokens(abc.partition("K:C\n")[2], 0) == text[1:]
    assert "C2^F/2G/2 c3/2d/2e |" in abc  # three eighths under one beam


def test_parts_share_no_title_and_no_beginning() -> None:
    tunes = load_example("tunes")
    notes = [[letter] * 12 for letter in "ABCDEFG"]
    found = [("The Reel", notes[0]), ("Reel -- Jig", notes[1]), ("X", notes[1]), ("Y", notes[2]), ("A Y", notes[3])]
    group = tunes.groups([(title, ["M:6/8 L:1/8", *text]) for title, text in found])
    assert group[0] == group[1] == group[2] != group[3] == group[4]


def test_a_model_learns_scales(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tunes = load_example("tunes")
    arguments = ["--data", str(files(tmp_path)), "--epochs", "60", "--hidden", "32", "--out", str(tmp_path / "new")]
    scores = tunes.main(arguments)
    # Three tokens tell where in a bar one is, and which note is next; at the beginning it is luck, and so is the end.
    assert scores["Markov model of 3"] > 0.85 > scores["Markov model of 1"] > 0.5
    assert scores["LSTM"] > 0.85
    printed = capsys.readouterr().out
    parts = re.search(r"40 tunes: (\d+) train, (\d+) choose, (\d+) test", printed)
    assert parts and sum(map(int, parts.groups())) == 40 and min(map(int, parts.groups())) > 0
    assert (tmp_path / "new-1.abc").read_text().startswith("X:1\nT:No. 1\nM:6/8\nL:1/8\nK:C\n")
