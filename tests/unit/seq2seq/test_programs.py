"""The programs of examples/ that learn sequences from sequences, on little data."""

from __future__ import annotations

import struct
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import load_example

import fastlstm as fl


def test_dates_are_written_in_all_forms() -> None:
    program = load_example("dates")
    draws = np.random.default_rng(0)
    for form in program.FORMS:
        for day in (date(1998, 3, 3), date(2024, 2, 29), date(2031, 11, 12), date(1987, 12, 21)):
            for _ in range(4):
                text = program.written(day, form, draws)
                assert "%" not in text and "{" not in text
                if form in program.FORMS[:9]:  # which the fixed rules know
                    assert program.by_rules(text) == day.isoformat(), text
    texts = {program.written(date(1998, 3, 3), "{th} of %B %Y", draws) for _ in range(30)}
    assert texts == {"3rd of March 1998", "3rd of march 1998"}
    assert program.by_rules("no date") == ""


def test_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = load_example("dates")
    path = tmp_path / "dates.safetensors"
    share = program.main(["--pairs", "300", "--epochs", "1", "--save", str(path)])
    assert 0 <= share <= 1 and "nine rules     0.4" in capsys.readouterr().out
    model: Any = fl.load(path)
    assert len(model.predict_tokens(["3 March 1998"])[0]) <= 20


def module(folder: Path, name: str, chapters: dict[str, list[str]]) -> None:
    """Write a module of SWORD of one block; both testaments hold the same."""
    texts = ["", "module heading", '<milestone type="x-usfm-h"/>']
    for chapter, verses in chapters.items():
        texts += [f'<chapter n="1" osisID="{chapter}" sID="{chapter}"/>', *verses]
    place = folder / "modules" / name
    place.mkdir(parents=True)
    for testament in ("ot", "nt"):
        body, index = b"", b""
        for text in texts:
            data = text.encode()
            index += struct.pack("<IIH", 0, len(body), len(data))
            body += data
        packed = zlib.compress(body)
        (place / f"{testament}.bzz").write_bytes(packed)
        (place / f"{testament}.bzv").write_bytes(index)
        (place / f"{testament}.bzs").write_bytes(struct.pack("<III", 0, len(packed), len(body)))


def test_verses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sacrebleu")
    program = load_example("verses")
    pairs = {"casa": "house", "perro": "dog", "luz": "light", "agua": "water", "día": "day", "rey": "king"}
    rng = np.random.default_rng(0)
    spanish: dict[str, list[str]] = {}
    english: dict[str, list[str]] = {}
    for k in range(160):
        lines = [list(rng.choice(list(pairs), 3)) for _ in range(6)]
        spanish[f"Gen.{k}"] = [f'<w lemma="x">{" ".join(line)}</w>.<note>no <b>text</b></note>' for line in lines]
        english[f"Gen.{k}"] = [f"{' '.join(pairs[word] for word in line)}.<title>none</title>" for line in lines]
    english["Gen.1"][2] = ""  # a verse that one of them lacks
    module(tmp_path, "spaRV1909eb", spanish)
    module(tmp_path, "engWEB2015eb", english)
    found = program.read_module(tmp_path, "spaRV1909eb")
    assert len(found) == 960 and found["Gen.0", 1].endswith(".") and "note" not in found["Gen.0", 1]
    scores = program.main(["--data", str(tmp_path), "--epochs", "20", "--size", "32"])
    assert scores["copy"] < 5 and scores["beam of 5"] > 90 and scores["greedy"] > 90
    assert "863 verses to learn from, 48 for validation, 48 for the test" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"holds no spaRV1909eb/ot.bzz"):
        program.main(["--data", str(tmp_path / "nothing")])
