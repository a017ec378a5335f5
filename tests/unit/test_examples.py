"""examples/embed_model.h is what examples/embed.py writes; the C program itself runs in `make -C csrc check`."""

from __future__ import annotations

from helpers import EXAMPLES, load_example


def test_the_embedded_model_is_that_of_python() -> None:
    assert load_example("embed").header() == (EXAMPLES / "embed_model.h").read_text()
