"""What the fuzzers of readers share: damage to texts, the loop over cases, the report, the command line."""

from __future__ import annotations

import argparse
import faulthandler
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["Attempt", "Change", "cut", "flip", "insertion", "lines", "main", "outcome", "replacement", "run", "watched"]

Change = Callable[[bytes, random.Random], bytes]

# ------------------------------------------------------------------------------------------------ damaged texts


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Keep the start, the end, or both; or repeat what is between."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice([data[:a], data[a:], data[:a] + data[b:], data[:a] + data[a:b] * 2 + data[b:]])


def lines(data: bytes, rng: random.Random) -> bytes:
    """Drop, repeat or swap lines."""
    every = data.splitlines(keepends=True)
    a, b = rng.randrange(len(every)), rng.randrange(len(every))
    how = rng.randrange(4)
    if how == 0:
        del every[a]
    elif how == 1:
        every[a], every[b] = every[b], every[a]
    else:
        every[a:a] = [every[b]] * rng.choice([1, 2, 50])
    return b"".join(every)


def insertion(pieces: Sequence[str], most: int) -> Change:
    """Return the change that inserts a piece, now and then `most` times."""

    def insert(data: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(len(data) + 1)
        return data[:place] + rng.choice(pieces).encode() * rng.choice([1, 1, 1, 2, most]) + data[place:]

    return insert


def replacement(pattern: bytes, pieces: Sequence[str], insert: Change) -> Change:
    """Return the change that replaces a token by a piece or by another token; without tokens it inserts a piece."""

    def replace(data: bytes, rng: random.Random) -> bytes:
        tokens = list(re.finditer(pattern, data))
        if not tokens:
            return insert(data, rng)
        token, other = rng.choice(tokens), rng.choice([rng.choice(tokens).group(), rng.choice(pieces).encode()])
        return data[: token.start()] + other + data[token.end() :]

    return replace


# ------------------------------------------------------------------------------------------------ reading


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Return a context that ends the process with a traceback if it takes longer."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def outcome(path: Path, data: bytes, read: Callable[[], str], hangs: float) -> str:
    """Return the outcome of reading a file: that of `read`, or the refusal.

    Raises
    ------
    RuntimeError
        With an explanation, if `read` raises anything but a ValueError with the path.
    """
    path.write_bytes(data)
    with watched(hangs):
        try:
            return read()
        except ValueError as error:
            if not str(error).startswith(str(path)):
                raise RuntimeError(f"no path in the message: {traceback.format_exc()}") from None
            return f"refused: {str(error).removeprefix(str(path))}"
        except BaseException:
            raise RuntimeError(traceback.format_exc()) from None


class Attempt(NamedTuple):
    """One reading of a case."""

    data: bytes
    """What is in the file."""
    ending: str
    """Of the name of the file if it is kept."""
    read: Callable[[], str]
    """Returns the outcome; raises RuntimeError if it breaks a promise."""


def run(
    attempts: Callable[[int], Iterable[Attempt]],
    kind: Callable[[str], str],
    *,
    seconds: float,
    seed: int,
    cases: int = 0,
    failures: Path | None = None,
    new_kind: Callable[[bytes], None] | None = None,
) -> int:
    """Read cases for some seconds, or a number of `cases`; print the kinds of outcomes, return the number of failures.

    Parameters
    ----------
    attempts : callable
        Returns the readings of a case by its number.
    kind : callable
        Returns an outcome without the details of the single case.
    seconds, seed, cases
    failures : Path, optional
        Folder for files whose reading fails.
    new_kind : callable, optional
        Called with each file that has an outcome of a new kind.
    """
    end, failed, number = time.monotonic() + seconds, 0, 0
    kinds: dict[str, int] = {}
    while number < cases if cases else time.monotonic() < end:
        for attempt in attempts(number):
            try:
                result = kind(attempt.read())
            except RuntimeError as error:
                failed += 1
                print(f"seed {seed}, case {number}, {attempt.data[:500]!r}: {error}", file=sys.stderr)
                if failures is not None:
                    failures.mkdir(parents=True, exist_ok=True)
                    (failures / f"{seed}-{number}{attempt.ending}").write_bytes(attempt.data)
                continue
            if new_kind is not None and not any(known[:70] == result[:70] for known in kinds):
                new_kind(attempt.data)
            kinds[result] = kinds.get(result, 0) + 1
        number += 1
    print(f"seed {seed}: {number} cases, {len(kinds)} kinds of outcomes, {failed} failures")
    for result, count in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"{count:8d} {result}")
    return failed


def main(description: str | None, fuzz: Callable[..., int], *, corpus: bool = False) -> None:
    """Run the command line of a fuzzer, and end with status 1 if something failed; `corpus` adds ``--corpus``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, default=0, help="instead of --seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where to keep what fails")
    if corpus:
        parser.add_argument("--corpus", type=Path, help="where to keep a file of each kind of outcome")
    sys.exit(1 if fuzz(**vars(parser.parse_args())) else 0)
