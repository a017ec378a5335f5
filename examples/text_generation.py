"""Learn to write like Shakespeare, character by character.

    python examples/text_generation.py --data shakespeare.txt

--data is any text file: the complete works are at https://www.gutenberg.org/ebooks/100 (public domain). An .npz file
with an array text of UTF-8 bytes is read too.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl


def read(path: Path) -> str:
    """Return the text."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["text"].tobytes().decode("utf-8")
    return path.read_text(encoding="utf-8")


def count_bits(train: str, test: str, order: int, characters: int) -> float:
    """Return the bits per character of a table of counts, which guesses by the last `order` characters."""
    seen = Counter(train[k : k + order + 1] for k in range(len(train) - order))
    before = Counter(train[k : k + order] for k in range(len(train) - order))
    places = range(order, len(test))
    found = [(seen[test[k - order : k + 1]] + 0.1) / (before[test[k - order : k]] + 0.1 * characters) for k in places]
    return float(-np.log2(found).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model on 95 % of the text; print its bits per character on the rest, and text of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--window", type=int, default=128, help="characters in a training case")
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--prompt")
    parser.add_argument("--steps", type=int, default=300, help="characters to generate")
    options = parser.parse_args(arguments)
    text = read(options.data)
    if len(text) <= 25 * options.window:
        options.window = max(2, len(text) // 50)
    characters = sorted(set(text))
    number = {character: k for k, character in enumerate(characters)}
    prompt = options.prompt or text[:12]
    if set(prompt) - number.keys():
        parser.error(f"the text has no {sorted(set(prompt) - number.keys())}, expected a --prompt of its characters")
    tokens = np.array([number[character] for character in text])
    edge = round(0.95 * len(text))
    cases = fl.windows(tokens[:edge], options.window + 1, 0, options.window)[0][:, :, 0]
    test = tokens[edge - edge % options.window :][None]

    layers: list[Any] = [fl.Embedding(len(characters), 32), fl.LSTM(options.hidden, return_sequences=True)]
    model = fl.Model([*layers, fl.Dense(len(characters))], seed=0)
    batch = min(64, max(1, len(cases) // 4))
    epochs = max(1, round(options.updates * batch / len(cases)))
    cases = cases[np.random.default_rng(0).permutation(len(cases))[: max(1, options.updates // epochs) * batch]]
    optimizer = fl.Adam(fl.CosineLR(5e-3, 5e-5), clip_norm=1.0)
    model.fit(cases[:, :-1], cases[:, 1:], epochs=epochs, batch_size=batch, optimizer=optimizer)
    print(f"{len(text)} characters, {len(characters)} different; bits per character on the last 5 %:")
    for order in (0, 1, 2):
        bits = count_bits(text[:edge], text[edge:], order, len(characters))
        print(f"  counts of {order + 1} characters in a row  {bits:.3f}")
    bits = model.evaluate(test[:, :-1], test[:, 1:])["loss"] / np.log(2)
    print(f"  LSTM                           {bits:.3f}")
    start = np.array([number[character] for character in prompt])
    for temperature in (0.5, 0.8):
        new = fl.generate(model, start, options.steps, temperature=temperature, seed=0)
        print(f"\n--- temperature {temperature}\n{prompt}{''.join(characters[k] for k in new)}")


if __name__ == "__main__":
    main()
