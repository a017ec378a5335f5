"""Learn to read dates: "Tuesday, 3rd of March 1998", "3.3.98" or "mar 3, 1998" as 1998-03-03.

An encoder reads the characters of a date in one of twenty forms, and a decoder with attention gives those of its ISO
form. Nothing is told of months, centuries or orders: all is learnt from 15,000 pairs. Prints the share of exact answers
on dates that were in no training pair, and for comparison that of a parser that tries nine of the forms in turn.

    python examples/dates.py [--epochs 4] [--seed 0] [--save dates.safetensors]
"""

from __future__ import annotations

import argparse
import time
from datetime import date, datetime, timedelta

import numpy as np

import fastlstm as fl

FORMS = [
    "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%A, %d %B %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%Y-%m-%d",
    "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%m/%d/%y", "%Y/%m/%d", "%d-%b-%Y", "%d-%b-%y", "%b %d %Y", "%B %Y, the {th}",
    "{th} of %B %Y", "%A, {th} of %B %Y", "{th} %b %y",
]  # fmt: skip
FIRST, LAST = date(1970, 1, 1), date(2069, 12, 31)
SPECIAL = ["<s>", "</s>", "<unk>"]


def written(day: date, form: str, draws: np.random.Generator) -> str:
    """Return a date in a form, with or without leading zeros and capital letters."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day not in (11, 12, 13) else 0, "th")
    text = day.strftime(form.replace("{th}", f"{day.day}{ending}"))
    if draws.random() < 0.5:
        text = text.replace(" 0", " ").replace("/0", "/").replace(".0", ".").removeprefix("0")
    return text.lower() if draws.random() < 0.3 else text


def pairs(days: list[date], draws: np.random.Generator) -> tuple[list[str], list[str]]:
    """Return dates in forms drawn at random, and in ISO form."""
    return [written(day, FORMS[draws.integers(len(FORMS))], draws) for day in days], [day.isoformat() for day in days]


def by_rules(text: str) -> str:
    """Return the date that a parser finds that tries nine of the forms in turn; an empty text if none of them fits."""
    for form in FORMS[:9]:
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    return ""


def known(text: str, names: list[str]) -> list[str]:
    """Return the characters of a text, those that were not in the training as <unk>."""
    return [c if c in names else "<unk>" for c in text]


def main(arguments: list[str] | None = None) -> float:
    """Train, test, print; return the share of exact answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15_000, help="training pairs (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="passes over them (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of data and model (default %(default)s)")
    parser.add_argument("--save", help="write the model to this file")
    options = parser.parse_args(arguments)

    draws = np.random.default_rng(options.seed)
    days = [FIRST + timedelta(int(k)) for k in draws.permutation((LAST - FIRST).days + 1)]
    test_days, validation_days, train_days = days[:1000], days[1000:1500], days[1500:]
    train = [train_days[k] for k in draws.integers(len(train_days), size=options.pairs)]
    (X, Y), (X_val, Y_val), (X_test, Y_test) = (pairs(part, draws) for part in (train, validation_days, test_days))

    source = [*SPECIAL, *sorted({c for text in X for c in text})]
    target = [*SPECIAL, *sorted({c for text in Y for c in text})]
    X, X_val, X_test = ([known(text, source) for text in part] for part in (X, X_val, X_test))
    model = fl.EncoderDecoder(
        [fl.Embedding(len(source), 32), fl.LSTM(64, bidirectional=True, return_sequences=True)],
        [
            fl.Embedding(len(target), 32),
            fl.LSTM(128, return_sequences=True),
            fl.LuongAttention(),
            fl.Dense(128),
            fl.Activation("tanh"),
            fl.Dense(len(target)),
        ],
        bos="<s>",
        eos="</s>",
        source_tokens=source,
        target_tokens=target,
        seed=options.seed,
    )
    model.summary()
    start = time.perf_counter()
    model.fit(
        X,
        Y,
        epochs=options.epochs,
        batch_size=64,
        optimizer=fl.Adam(fl.OneCycleLR(5e-3), clip_norm=1.0),
        validation_data=(X_val, Y_val),
        verbose=2,
    )
    seconds = time.perf_counter() - start

    answers = ["".join(answer) for answer in model.predict_tokens(X_test)]
    texts = ["".join(text) for text in X_test]
    share = float(np.mean([a == b for a, b in zip(answers, Y_test, strict=True)]))
    rules = float(np.mean([by_rules(text) == y for text, y in zip(texts, Y_test, strict=True)]))
    print(f"\n{seconds:.0f} s of training; exact answers for {len(Y_test)} dates that were in no training pair:")
    print(f"  learnt         {share:.3f}")
    print(f"  nine rules     {rules:.3f}")
    for text, answer in list(zip(texts, answers, strict=True))[:8]:
        print(f"  {text:<32} {answer}")
    if options.save:
        model.save(options.save)
        print(f"saved to {options.save}")
    return share


if __name__ == "__main__":
    main()
