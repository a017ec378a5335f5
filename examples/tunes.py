"""Learn to write jigs and reels, from two collections of Irish and American dance tunes in ABC notation.

    pip install --no-deps --target music music21
    pip install verovio
    python examples/tunes.py --data music/music21/corpus/oneills1850 music/music21/corpus/ryansMammoth --out tune

--data are folders with files of tunes in ABC notation, such as those of "O'Neill's Music of Ireland" (1903) and "Ryan's
Mammoth Collection" (1883) in the package named above. The tunes are in the public domain; volunteers have typed them,
and music21 distributes their files with their permission. This package contains none of them. All tunes are brought to
a key without sharps and flats, so that the model learns melodies and not keys. A token is a note with its length, a bar
line, or the metre at the beginning. One tune of ten is the test, and another decides when to stop; tunes of the same
title, or with the same first notes, are in the same part. Prints how many tokens are guessed right, next to Markov
models of the last one, two and three tokens. With --out new tunes are written: NAME-1.abc, and, where verovio is
installed, a score (.svg) and a file to listen to (.mid).
"""

from __future__ import annotations

import argparse
import base64
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastlstm as fl

LETTERS, FIFTHS = "CDEFGAB", "FCGDAEB"
MODES = {"": 0, "maj": 0, "ion": 0, "mix": -1, "dor": -2, "m": -3, "min": -3, "aeo": -3, "phr": -4, "loc": -5, "lyd": 1}
SIGNS = {"": None, "__": -2, "_": -1, "=": 0, "^": 1, "^^": 2}
ACCIDENTALS = {value: sign for sign, value in SIGNS.items()}
END = "end"

FIELD = re.compile(r"^([A-Za-z]):[ \t]*(.*?)[ \t]*$", re.M)
NO_MUSIC = re.compile(r'%.*|"[^"\n]*"|![^!\n]*!|\+[^+\n]*\+|\{[^}\n]*\}|^[A-Za-z]:.*$', re.M)
SYMBOL = re.compile(
    r"(?P<note>(?P<sign>\^\^?|__?|=)?(?P<letter>[A-Ga-gzx])(?P<octave>[,']*)(?P<times>\d*)(?P<parts>/*)(?P<by>\d*))"
    r"|(?P<bar>[:|\[\]]*[:|][:|\]]*)|\[?(?P<ending>[12])(?=[^\d])|(?P<tuplet>\(3)(?![:\d])|(?P<broken>>+|<+)"
    r"|(?P<tie>-)|(?P<nothing>(?:[\s\\)~.H-Wh-wyYZ`*$]|\((?!\d))+)"
)
LENGTH = re.compile(r"(\d*)(?:/(\d+))?$")


def signature(key: str) -> int | None:
    """Return the number of sharps of a key (flats are negative), or None if it is none that we know."""
    found = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", key)
    if not found:
        return None
    mode = found[3].lower()
    steps = MODES.get(mode if mode == "m" else mode[:3])
    return None if steps is None else FIFTHS.index(found[1]) - 1 + {"": 0, "#": 7, "b": -7}[found[2]] + steps


def length(times: str, parts: str, by: str) -> Fraction:
    """Return the length of a note in units: "3", "3/2", "/", "//"."""
    if times == "0" or by == "0":
        return Fraction()  # a note of no length is not read
    return Fraction(int(times or 1), int(by) if by else 2 ** len(parts))


def written(note: str, value: Fraction) -> str:
    """Return a note with its length, the same way for the same length."""
    over = "" if value.denominator == 1 else f"/{value.denominator}"
    return note + (str(value.numerator) if value.numerator != 1 else "") + over


def tokens(body: str, sharps: int) -> list[str] | None:
    """Return the tokens of a tune without sharps and flats before it; None if it has what we do not read."""
    raised = {name: (sharps - FIFTHS.index(name) + 6) // 7 for name in LETTERS}  # -1, 0, 1 by the signature
    down = (4 * sharps) % 7  # a fifth is four steps of the scale
    down -= 7 * (down > 3)
    found: list[str] = []
    lengths: dict[int, Fraction] = {}  # of the notes, by their place
    text, place, broken = NO_MUSIC.sub(" ", body), 0, Fraction()
    while place < len(text):
        match = SYMBOL.match(text, place)
        if match is None or match.end() == place:
            return None
        place = match.end()
        if match["note"]:
            value = length(match["times"], match["parts"], match["by"])
            if broken:
                value, broken = value * (2 - broken), Fraction()
            if value <= 0:
                return None
            lengths[len(found)] = value
            letter = match["letter"]
            if letter in "zx":
                found.append("z")
                continue
            step = LETTERS.index(letter.upper()) + 7 * letter.islower() - down
            step += 7 * (match["octave"].count("'") - match["octave"].count(","))
            sign = SIGNS[match["sign"] or ""]
            octave, name = divmod(step, 7)
            accidental = ACCIDENTALS.get(None if sign is None else sign - raised[letter.upper()], "?")
            if accidental == "?":
                return None
            high = LETTERS[name].lower() + "'" * (octave - 1) if octave > 0 else LETTERS[name] + "," * -octave
            found.append(accidental + high)
        elif match["bar"]:
            sign = match["bar"]
            ends, begins = sign.startswith(":"), sign.endswith(":") or "|:" in sign
            found += [":|"] * ends + ["|:"] * begins + ["|"] * (not ends and not begins)
        elif match["ending"]:
            found.append(f"[{match['ending']}")
        elif match["tuplet"]:
            found.append(match["tuplet"])
        elif match["tie"]:
            found.append("-")
        elif match["broken"] and lengths:
            last = max(lengths)
            share = Fraction(1, 2 ** len(match["broken"]))
            broken = 2 - share if match["broken"][0] == ">" else share
            lengths[last] *= broken
    # In these files the sign of a tie often stands for a slur: it is one only between notes of the same pitch.
    ties = {k for k, one in enumerate(found) if one == "-" and not is_tied(found, k)}
    return [written(one, lengths[k]) if k in lengths else one for k, one in enumerate(found) if k not in ties]


def is_tied(found: list[str], place: int) -> bool:
    """Return whether the notes before and after a sign of a tie are the same."""
    after = [one for one in found[place + 1 : place + 3] if one != "|"]
    return bool(place and after and found[place - 1] == after[0])


def tunes(folders: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """Yield title and tokens of each tune in the files of folders: the metre, the notes and bars, the end."""
    for path in (path for folder in folders for path in sorted(folder.rglob("*.abc"))):
        for text in re.split(r"^(?=X:)", path.read_text("utf-8", errors="replace"), flags=re.M):
            head, key, body = text.partition("\nK:")
            fields = dict(reversed(FIELD.findall(head)))
            rest = body.partition("\n")[2]
            sharps = signature(body.partition("\n")[0].strip())
            metre = {"C": "4/4", "C|": "2/2"}.get(fields.get("M", ""), fields.get("M", ""))
            changes = re.search(r"^[KMLV]:|\[[KMLV]:|&", rest, re.M)
            if not key or sharps is None or changes or not re.fullmatch(r"\d+/\d+", metre):
                continue
            unit = fields.get("L", "1/16" if Fraction(metre) < Fraction(3, 4) else "1/8")
            found = tokens(rest, sharps)
            if found and 32 <= len(found) <= 400:
                yield fields.get("T", ""), [f"M:{metre} L:{unit}", *found, END]


def groups(found: list[tuple[str, list[str]]]) -> np.ndarray:
    """Return a number for each tune, the same for tunes of one title or with the same first twelve notes."""
    of_key: dict[Any, int] = {}
    numbers = np.arange(len(found))
    for k, (title, text) in enumerate(found):
        name = re.sub(r"^(the|a) |[^a-z]", "", re.split(r"\s--|,|\(", title.lower())[0])
        first = tuple(one for one in text if one[0] in "^_=ABCDEFGabcdefg" and one != END)[:12]
        for one in (name or k, first):
            numbers[numbers == of_key.setdefault(one, k)] = numbers[k]
            of_key[one] = numbers[k]
    return numbers


Parts = tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[str]]


def divide(found: list[tuple[str, list[str]]]) -> Parts:
    """Return the tunes that train, that choose and that test, as numbers of tokens, and the tokens."""
    group = groups(found)
    names = np.random.default_rng(0).permutation(np.unique(group))
    place = dict(zip(names.tolist(), (np.arange(len(names)) % 10).tolist(), strict=True))
    texts: list[list[list[str]]] = [[], [], []]
    for (_, text), one in zip(found, group.tolist(), strict=True):
        texts[max(0, 2 - place[one])].append(text)
    known = sorted({one for text in texts[0] for one in text})
    number = {one: k for k, one in enumerate(known)}
    # A tune with a note or a length that no training tune has cannot be scored.
    train, validation, test = (
        [np.array([number[one] for one in text]) for text in part if number.keys() >= set(text)] for part in texts
    )
    return train, validation, test, known


class Markov:
    """Guesses by the last three tokens: counts of each order, mixed with the lower orders (Witten & Bell 1991)."""

    def __init__(self, series: list[np.ndarray], size: int, order: int = 3) -> None:
        self.size, self.order = size, order
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for one in series:
            for k in range(1, len(one)):
                for back in range(min(order, k) + 1):
                    self.counts[tuple(one[k - back : k].tolist())][int(one[k])] += 1

    def of_all(self, series: list[np.ndarray]) -> np.ndarray:
        """Return the probabilities at each step of series, for the token after it."""
        order = self.order
        return np.array([self.probabilities(one[max(0, k - order) : k]) for one in series for k in range(1, len(one))])

    def probabilities(self, before: np.ndarray) -> np.ndarray:
        """Return the probability of each token after those before."""
        mixed = np.full(self.size, 1 / self.size)
        for back in range(min(self.order, len(before)) + 1):
            seen = self.counts.get(tuple(before[len(before) - back :].tolist()))
            if seen:
                total, kinds = sum(seen.values()), len(seen)
                mixed *= kinds / (total + kinds)
                mixed[list(seen)] += np.array(list(seen.values())) / (total + kinds)
        return mixed


def notation(title: str, text: list[str]) -> str:
    """Return a tune in ABC notation: four bars in a line, the notes of a beat together, so that they share a beam."""
    metre, unit = text[0].split()
    beat = (Fraction(3, 8) if metre.endswith("/8") else Fraction(1, 4)) / Fraction(unit[2:])
    body, bars, passed, share = "", 0, Fraction(), Fraction(1)
    triplet = 0
    for one in text[1:]:
        if one.startswith("M:"):  # of another tune
            continue
        if LENGTH.search(one) and one[0] not in "|:([-":
            times, parts = LENGTH.search(one).groups()
            share = Fraction(2, 3) if triplet else Fraction(1)
            triplet -= bool(triplet)
            passed += share * Fraction(int(times or 1), int(parts or 1))
            body += one + " " * (passed % beat == 0)
        elif one.startswith("("):
            triplet = int(one[1])
            body += one
        elif one == "-":
            body = body.rstrip() + "- " * body.endswith(" ") + "-" * (not body.endswith(" "))
        else:
            bars += one in ("|", ":|")
            line = one in ("|", ":|") and bars % 4 == 0
            body = body.rstrip(" ") + f" {one}" + ("\n" if line else " ")
            passed = Fraction()
    return f"X:1\nT:{title}\n{metre}\n{unit}\nK:C\n{body.strip()}\n"


class Score(NamedTuple):
    """A tune as notes on a staff, which a notebook shows, and as a file to listen to."""

    svg: str
    midi: bytes

    def _repr_svg_(self) -> str:
        return self.svg


def score(abc: str) -> Score:
    """Engrave a tune by verovio."""
    import verovio

    tool = verovio.toolkit()
    size = {"pageWidth": 1600, "adjustPageHeight": True, "svgViewBox": True, "scale": 50}
    tool.setOptions({"inputFrom": "abc", "header": "none", "footer": "none", "breaks": "line", **size})
    if not tool.loadData(abc):
        raise ValueError(f"verovio cannot read the tune\n{abc}")
    # A sheet of paper, also where the page around it is dark.
    sheet = r'\1<rect width="100%" height="100%" fill="white"/>'
    return Score(re.sub(r"(<svg[^>]*>)", sheet, tool.renderToSVG(1), count=1), base64.b64decode(tool.renderToMIDI()))


def write(path: Path, abc: str) -> list[Path]:
    """Write a tune as text and, where verovio is installed, as a score and as a MIDI file; return the files."""
    files = {path.with_suffix(".abc"): abc.encode()}
    try:
        engraved = score(abc)
    except ImportError:
        print("pip install verovio: for a score and a file to listen to")
    else:
        files |= {path.with_suffix(".svg"): engraved.svg.encode(), path.with_suffix(".mid"): engraved.midi}
    for file, content in files.items():
        file.write_bytes(content)
    return list(files)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train, compare with the Markov model, write tunes; return the shares of tokens guessed right in the test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with files .abc")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--out", type=Path, help="name of the files of new tunes, without .abc")
    options = parser.parse_args(arguments)
    found = list(tunes(options.data))
    if len(found) < 20:
        parser.error(f"--data has {len(found)} tunes in ABC notation that can be read, expected 20 at least")
    train, validation, test, known = divide(found)
    print(f"{len(found)} tunes: {len(train)} train, {len(validation)} choose, {len(test)} test; {len(known)} tokens")

    start = time.perf_counter()
    model = fl.Model(
        [
            fl.Embedding(len(known), 64),
            fl.LSTM(options.hidden, return_sequences=True),
            fl.Dropout(0.3),
            fl.Dense(len(known)),
        ],
        seed=options.seed,
    )
    best = fl.EarlyStopping(patience=3, restore_best=True)
    model.fit(
        [one[:-1] for one in train],
        [one[1:] for one in train],
        epochs=options.epochs,
        batch_size=16,
        optimizer=fl.Adam(fl.OneCycleLR(6e-3), clip_norm=1.0),
        validation_data=([one[:-1] for one in validation], [one[1:] for one in validation]),
        callbacks=[best],
        verbose=2,
    )
    print(f"{time.perf_counter() - start:.0f} s of training")
    scores = {}
    for order in (1, 2, 3):
        name = f"Markov model of {order}"
        scores[name] = report(name, Markov(train, len(known), order).of_all(test), test)
    outputs = model.predict_proba([one[:-1] for one in test])
    scores["LSTM"] = report("LSTM", np.concatenate(outputs), test)

    if options.out:
        for k, (metre, _) in enumerate(Counter(known[one[0]] for one in train).most_common(3)):
            new = fl.generate(model, [known.index(metre)], 400, temperature=options.temperature, seed=k).tolist()
            text = [known[one] for one in new]
            text = text[: text.index(END)] if END in text else text
            path = options.out.with_name(f"{options.out.name}-{k + 1}")
            print(*write(path, notation(f"No. {k + 1}", [metre, *text])), sep=", ")
    return scores


def report(name: str, probabilities: Any, test: list[np.ndarray]) -> float:
    """Print and return the share of tokens that are guessed right; print the bits that a token takes."""
    truth = np.concatenate([one[1:] for one in test])
    right = float(np.mean(probabilities.argmax(axis=1) == truth))
    bits = -np.log2(probabilities[np.arange(len(truth)), truth]).mean()
    print(f"{name:18} {right:.3f} of {len(truth)} tokens guessed right, {bits:.2f} bits a token")
    return right


if __name__ == "__main__":
    main()
