"""Train a small model on the Zen of Python, character by character, and generate text with it.

    python examples/text.py                     takes some seconds
    python examples/text.py --file book.txt     your own text

The model reads a character and predicts the next one. After training it continues a given prompt: at temperature 0 with
the most probable characters, which reproduces a text as short as this one; at higher temperatures it deviates more and
more.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastlstm as fl


def zen() -> str:
    """Return the Zen of Python by Tim Peters; its module prints the text at import, and stores it in ROT13."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model, then print the generated text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="text to learn from (default: the Zen of Python)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--window", type=int, default=40, help="characters in a training case")
    parser.add_argument("--prompt", default="Beautiful")
    parser.add_argument("--steps", type=int, default=200, help="characters to generate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    text = options.file.read_text(encoding="utf-8") if options.file else zen()
    characters = sorted(set(text))
    number = {character: k for k, character in enumerate(characters)}
    missing = set(options.prompt) - number.keys()
    if missing or not options.prompt:
        parser.error(f"the prompt must be made of characters of the text; {sorted(missing)} are not in it")
    tokens = np.array([number[character] for character in text])
    if len(tokens) <= options.window:
        parser.error(f"the text has {len(tokens)} characters, expected more than --window={options.window}")
    cases = np.lib.stride_tricks.sliding_window_view(tokens, options.window + 1)[:: max(1, options.window // 8)]

    model = fl.Model(
        [
            fl.Embedding(len(characters), 16),
            fl.LSTM(options.hidden, return_sequences=True),
            fl.Dense(len(characters)),
        ],
        seed=options.seed,
    )
    history = model.fit(
        cases[:, :-1],
        cases[:, 1:],
        epochs=options.epochs,
        batch_size=16,
        optimizer=fl.Adam(5e-3, clip_norm=1.0),
    )
    print(f"{len(text)} characters, {len(characters)} different; accuracy {history.history['accuracy'][-1]:.1%}")
    prompt = np.array([number[character] for character in options.prompt])
    for temperature in (0.0, 0.5, 1.0):
        new = fl.generate(model, prompt, options.steps, temperature=temperature, top_p=0.95, seed=options.seed)
        print(f"\n--- temperature {temperature}\n{options.prompt}{''.join(characters[k] for k in new)}")


if __name__ == "__main__":
    main()
