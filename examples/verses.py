"""Learn to translate Spanish verses into English from two Bibles, with an encoder, a decoder and attention.

The data are two texts in the public domain, aligned by verse, from Debian: the Reina-Valera of 1909 and the World
English Bible (``apt install sword-text-sparv sword-text-web``, or ``apt-get download`` and ``dpkg-deb -x`` of both into
one folder). Of twenty chapters one is kept for the test, and one for validation. Prints BLEU (by sacrebleu,
``pip install sacrebleu``) of greedy and of beam search. These verses are few to learn a language from, so the scores of
two simple answers are printed for comparison: the Spanish text itself, and its words replaced by those of a dictionary.

    python examples/verses.py --data /usr/share/sword [--epochs 12] [--longest 25] [--words 4000]
"""

from __future__ import annotations

import argparse
import re
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import fastlstm as fl

SPECIAL = ["<s>", "</s>", "<unk>"]
Verses = dict[tuple[str, int], str]
"""The text of each verse, by chapter ("Gen.1") and number."""


def entries(folder: Path, testament: str) -> list[str]:
    """Return the entries of a module of SWORD, in the format zText: blocks of zlib, their index, that of verses."""
    blocks, verses, data = ((folder / f"{testament}.bz{kind}").read_bytes() for kind in "svz")
    texts = [zlib.decompress(data[start : start + size]) for start, size, _ in struct.iter_unpack("<III", blocks)]
    return [
        texts[block][start : start + size].decode() if size else ""
        for block, start, size in struct.iter_unpack("<IIH", verses)
    ]


def read_module(data: Path, name: str) -> Verses:
    """Return the verses of a module; the headings of books and chapters stand between them."""
    found = sorted(data.rglob(f"{name}/ot.bzz"))
    if not found:
        raise SystemExit(f"{data} holds no {name}/ot.bzz: install the packages, or pass --data with their files")
    verses: Verses = {}
    for testament in ("ot", "nt"):
        chapter, number = "", 0
        for entry in entries(found[0].parent, testament):
            heading = re.search(r'<chapter [^>]*osisID="([^"]+)"', entry)
            if heading:
                chapter, number = heading[1], 0
            elif "x-usfm-h" in entry:  # of a book
                chapter = ""
            elif chapter:
                number += 1
                text = re.sub(r"<(note|title)\b.*?</\1>", " ", entry, flags=re.DOTALL)
                text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
                if text:
                    verses[chapter, number] = text
    return verses


def words(text: str) -> list[str]:
    """Return the words and marks of a text, in small letters."""
    return re.findall(r"[^\W\d_]+|\d+|[.,;:!?]", text.lower().replace("’s", " s"))


def names_of(texts: list[list[str]], most: int) -> list[str]:
    """Return the most frequent words of texts, after the special tokens."""
    counts = Counter(word for text in texts for word in text)
    return [*SPECIAL, *(word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most])]


def known(texts: list[list[str]], names: list[str]) -> list[list[str]]:
    """Return the texts with <unk> for the words that are not among the names."""
    kept = set(names)
    return [[word if word in kept else "<unk>" for word in text] for text in texts]


def dictionary(X: list[list[str]], Y: list[list[str]]) -> dict[str, str]:
    """Return for each word the one that most often stands in the same verses, by Dice's coefficient."""
    of_x, of_y, both = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for x, y in zip(X, Y, strict=True):
        of_x.update(set(x))
        of_y.update(set(y))
        both.update((a, b) for a in set(x) for b in set(y))
    best: dict[str, tuple[float, str]] = {}
    for (a, b), count in both.items():
        best[a] = max(best.get(a, (0.0, "")), (2 * count / (of_x[a] + of_y[b]), b))
    return {a: b for a, (_, b) in best.items()}


def filled(
    model: fl.EncoderDecoder,
    X: list[list[str]],
    given: list[list[str]],
    found: list[list[str]],
    word_for: dict[str, str],
) -> list[list[str]]:
    """Return answers with a word of the dictionary for each <unk>: that of the word with most attention."""
    weights = model.attention_weights(given, found)
    return [
        [
            word_for.get(x[one[k].argmax()], x[one[k].argmax()]) if word == "<unk>" else word
            for k, word in enumerate(text)
        ]
        for x, text, one in zip(X, found, weights, strict=True)
    ]


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, translate the test verses, print; return the BLEU scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/sword"), help="folder (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the verses (default %(default)s)")
    parser.add_argument("--longest", type=int, default=25, help="words of a verse (default %(default)s)")
    parser.add_argument("--words", type=int, default=4000, help="of each language (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="units of each direction (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the model (default %(default)s)")
    options = parser.parse_args(arguments)
    try:
        from sacrebleu import corpus_bleu
    except ImportError:
        raise SystemExit("BLEU is computed by sacrebleu: pip install sacrebleu") from None

    spanish, english = (read_module(options.data, name) for name in ("spaRV1909eb", "engWEB2015eb"))
    chapters = list(dict.fromkeys(chapter for chapter, _ in spanish))
    part_of = {chapter: (k % 20 == 0) + 2 * (k % 20 == 10) for k, chapter in enumerate(chapters)}
    parts: list[tuple[list[list[str]], list[list[str]]]] = [([], []), ([], []), ([], [])]
    for place, text in spanish.items():
        x, y = words(text), words(english.get(place, ""))
        if x and y and max(len(x), len(y)) <= options.longest:
            parts[part_of[place[0]]][0].append(x)
            parts[part_of[place[0]]][1].append(y)
    (X, Y), (X_test, Y_test), (X_val, Y_val) = parts
    print(f"{len(X)} verses to learn from, {len(X_val)} for validation, {len(X_test)} for the test")

    source, target, size = names_of(X, options.words), names_of(Y, options.words), options.size
    model = fl.EncoderDecoder(
        [fl.Embedding(len(source), size), fl.Dropout(0.2), fl.LSTM(size, bidirectional=True, return_sequences=True)],
        [
            fl.Embedding(len(target), size),
            fl.Dropout(0.2),
            fl.LSTM(2 * size, return_sequences=True),
            fl.LuongAttention(),
            fl.Dense(size),
            fl.Activation("tanh"),
            fl.Dropout(0.2),
            fl.Dense(len(target)),
        ],
        bos="<s>",
        eos="</s>",
        source_tokens=source,
        target_tokens=target,
        seed=options.seed,
    )
    start = time.perf_counter()
    model.fit(
        known(X, source),
        known(Y, target),
        epochs=options.epochs,
        batch_size=64,
        optimizer=fl.Adam(fl.OneCycleLR(4e-3), clip_norm=1.0),
        validation_data=(known(X_val, source), known(Y_val, target)),
        verbose=2,
    )
    print(f"{time.perf_counter() - start:.0f} s of training")

    word_for = dictionary(X, Y)
    given = known(X_test, source)
    answers = {
        "copy": X_test,
        "dictionary": [[word_for.get(word, word) for word in text] for text in X_test],
    }
    for name, beam in (("greedy", 1), ("beam of 5", 5)):
        found = model.predict_tokens(given, beam=beam, max_length=2 * options.longest)
        answers[name] = filled(model, X_test, given, found, word_for)
    wanted = [[" ".join(text) for text in Y_test]]
    scores = {}
    for name, found in answers.items():
        texts = [" ".join(text) for text in found]
        scores[name] = corpus_bleu(texts, wanted, tokenize="none", force=True).score  # they are tokens already
        print(f"BLEU {scores[name]:5.1f}  {name}")
    for k in range(min(5, len(X_test))):
        print(f"\n  {' '.join(X_test[k])}\n  {' '.join(answers['beam of 5'][k])}\n  ({' '.join(Y_test[k])})")
    return scores


if __name__ == "__main__":
    main()
