"""Cures: the code that an error message says to type. Tests run them."""

from __future__ import annotations

import numpy
import pytest

import fastlstm as fl

__all__ = ["code_after", "cure", "message_of"]


def message_of(call, error=(TypeError, ValueError)) -> str:
    """Return the message of the error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def code_after(message: str, words: str) -> str:
    """Return the longest expression of Python that follows these words in a message."""
    assert words in message, f"{words!r} is not in {message!r}"
    rest = message.partition(words)[2]
    ends = [len(rest), *(i for i in range(len(rest) - 1, 0, -1) if rest[i] in " ,;:?")]
    for end in ends:
        code = rest[:end].strip()
        if code and not code.endswith(","):
            try:
                compile(code, "cure", "eval")
            except SyntaxError:
                continue
            return code
    raise AssertionError(f"no code follows {words!r} in {message!r}")


def cure(message: str, words: str, **names: object) -> object:
    """Return the value of the code that follows these words in a message, in which the given names are known."""
    # One dictionary, because comprehensions see only the globals.
    return eval(code_after(message, words), {"numpy": numpy, "np": numpy, "fl": fl, **names})
