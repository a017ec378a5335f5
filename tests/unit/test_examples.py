"""examples/embed_model.h is what examples/embed.py writes; the C program itself runs in `make -C csrc check`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    path = EXAMPLES / f"{name}.py"
    if not path.exists():
        pytest.skip("needs the examples of the source")
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_embedded_model_is_that_of_python() -> None:
    assert example("embed").header() == (EXAMPLES / "embed_model.h").read_text()
