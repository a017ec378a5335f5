"""Two complete examples on real data: ``python -m fastlstm demo`` and ``python -m fastlstm demo power``.

Each loads data that come with the package, trains with a validation part, measures the result on a test part,
saves the model and plots, and reads the file again to predict with it. The sources are meant to be read.
"""

from __future__ import annotations

from .power import run_power
from .vowels import run_vowels

__all__ = ["run_power", "run_vowels"]
