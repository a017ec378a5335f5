"""Two complete examples on real data: ``python -m fastlstm demo`` and ``python -m fastlstm demo power``.

Each loads data that come with the package, trains with a validation part, measures the result on a test part,
saves the model and plots, then loads the file and predicts with it. The source code is meant to be read.
"""

from __future__ import annotations

from .power import run_power
from .vowels import run_vowels

__all__ = ["run_power", "run_vowels"]
