"""Exported C answers with the bits of the stream."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from random_models import random_model

import fastlstm as fl
from fastlstm import _core
from fastlstm.formats.c import CReport

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
nightly = os.environ.get("FASTLSTM_NIGHTLY") == "1"

FUSED = ["-mfma"] if "avx2" in _core.available_isas() else []
BUILDS = {
    "gcc -O0": ("gcc", ["-O0", *FUSED]),
    "gcc -O2": ("gcc", ["-O2", *FUSED]),
    "gcc -Os": ("gcc", ["-Os", *FUSED]),
    "gcc -O3 gnu": ("gcc", ["-O3", "-std=gnu11", "-march=native"]),
    "clang -O2": ("clang", ["-O2", *FUSED]),
    "soft": ("gcc", ["-O2"]),
}


def answers(model: fl.Model, series: np.ndarray) -> np.ndarray:
    """Return what the stream answers to each step of a series, in float32."""
    stream = model.stream()
    return np.stack([np.asarray(stream.step(x[None]), np.float32).reshape(-1) for x in series])


@needs_compiler
@pytest.mark.parametrize("seed", range(50))
def test_random_models_have_the_bits_of_the_stream(seed: int) -> None:
    model, series = random_model(seed)
    report = model.to_c("net", selftest=7, style="header" if seed % 3 == 0 else "files")
    expected = answers(model, series)
    assert np.isfinite(expected).all()
    names = [name for name, (compiler, _) in BUILDS.items() if shutil.which(compiler)]
    for name in names if nightly else [names[seed % len(names)]]:
        compiler, flags = BUILDS[name]
        code = fl.compiled(report, compiler=compiler, flags=flags)
        got = code.run(series)
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32), err_msg=name)
        assert code.selftest() == 0
        assert report.ram_bytes <= code.state_bytes <= report.ram_bytes + 16
        code.reset()
        np.testing.assert_array_equal(code.run(series[:3]), expected[:3])
