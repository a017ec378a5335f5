"""Messages for a compiled extension that cannot be imported."""

from __future__ import annotations

__all__ = ["why"]

MISSING = (
    "the compiled part of fastlstm is missing or broken. In a checkout of the source, install it first "
    "(pip install . or pip install -e .) and run Python from another folder, or with -P"
)

SUBINTERPRETER = (
    "fastlstm works in one interpreter of a process only, and this is a subinterpreter: its compiled part, like "
    "NumPy's, holds objects of the interpreter that imports it first. Use threads, which compute in parallel, "
    "or processes (multiprocessing, concurrent.futures.ProcessPoolExecutor)"
)


def why(error: ImportError) -> str:
    """Return why the import failed, and what to do about it."""
    # Python: "does not support loading in subinterpreters"; Cython: "can only be loaded into one interpreter".
    return SUBINTERPRETER if "interpreter" in str(error) else MISSING
