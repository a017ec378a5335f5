"""Why the compiled part could not be imported, for who reads the error."""

from __future__ import annotations

__all__ = ["why"]

MISSING = (
    "the compiled part of fastlstm is missing or broken. In a checkout of the source, install it first "
    "(pip install . or pip install -e .) and run Python from another folder, or with -P"
)

SUBINTERPRETER = (
    "fastlstm works in one interpreter of a process only, and this is a subinterpreter: its compiled part, like "
    "NumPy's, keeps what belongs to the interpreter that imports it first. Use threads, which compute at the same "
    "time, or processes (multiprocessing, concurrent.futures.ProcessPoolExecutor)"
)


def why(error: ImportError) -> str:
    """What stands in the way, and what to do about it."""
    # Python: "does not support loading in subinterpreters"; Cython: "can only be loaded into one interpreter".
    return SUBINTERPRETER if "interpreter" in str(error) else MISSING
