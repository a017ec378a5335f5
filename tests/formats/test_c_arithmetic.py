"""The arithmetic of exported C, function by function, on numbers of every magnitude."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastlstm as fl
from fastlstm import _core

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
FUSED = ["-mfma"] if "avx2" in _core.available_isas() else []
TINY = np.finfo(np.float32).tiny


def library(folder: Path, text: str, flags: list[str]) -> ctypes.CDLL:
    (folder / "driver.c").write_text(f'#include "net.c"\n{text}')
    name = folder / f"net{len(list(folder.iterdir()))}.so"
    command = ["gcc", "-std=c99", "-O2", *flags, "-shared", "-fPIC", "-o", str(name), str(folder / "driver.c")]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(name))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def numbers(n: int, seed: int) -> np.ndarray:
    """Return numbers of every magnitude, many of them near to powers of 2 and to each other's exponents."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, n, np.uint32)
    near = rng.random(n) < 0.5
    bits[near] = (bits[near] & 0x807FFFFF) | (rng.integers(100, 150, near.sum(), np.uint32) << 23)
    round_ones = rng.random(n) < 0.2
    bits[round_ones] &= 0xFFFFF000
    return bits.view(np.float32)


FMA = """\
void apply(const float *a, const float *b, const float *c, uint32_t n, float *y)
{
    for (uint32_t k = 0; k < n; ++k)
        y[k] = net_fma(a[k], b[k], c[k]);
}
"""


@pytest.mark.skipif(not FUSED, reason="needs a processor with a fused multiply-add")
def test_the_exact_multiply_add_is_that_of_the_processor(tmp_path: Path) -> None:
    fl.Model([fl.LSTM(2)], input_size=1).to_c("net", tmp_path)
    exact, processor = (library(tmp_path, FMA, flags) for flags in (["-DNET_FMA=2"], ["-mfma"]))
    for seed in range(3):
        a, b, c = (numbers(400_000, 3 * seed + k) for k in range(3))
        with np.errstate(all="ignore"):
            c[::7] = -a[::7] * b[::7]  # what is left is the error of a product
        got, want = np.empty_like(a), np.empty_like(a)
        for code, y in ((exact, got), (processor, want)):
            code.apply(pointer(a), pointer(b), pointer(c), ctypes.c_uint32(len(a)), pointer(y))
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        known = ~np.isnan(want)
        np.testing.assert_array_equal(got[known].view(np.uint32), want[known].view(np.uint32))


ROOT = """\
void apply(const float *x, uint32_t n, float *y)
{
    for (uint32_t k = 0; k < n; ++k)
        y[k] = net_sqrt(x[k]);
}
"""


def test_the_square_root_is_correctly_rounded(tmp_path: Path) -> None:
    fl.Model([fl.LSTM(2, layer_norm=True)], input_size=1).to_c("net", tmp_path)
    x = np.abs(numbers(400_000, 5))
    x = x[(x >= TINY) & np.isfinite(x)]
    y = np.empty_like(x)
    library(tmp_path, ROOT, []).apply(pointer(x), ctypes.c_uint32(len(x)), pointer(y))
    np.testing.assert_array_equal(y, np.sqrt(x))


STEPS = """\
void apply(const float *x, uint32_t n, float *y)
{
    net_state state;
    net_init(&state);
    for (uint32_t k = 0; k < n; ++k)
        net_step(&state, x + k, y + k);
}
"""

KINDS = (
    "sigmoid tanh relu affine leaky_relu thresholded_relu scaled_tanh hard_sigmoid elu softsign softplus silu selu"
).split()


@pytest.mark.parametrize("kind", KINDS)
def test_activations_have_the_bits_of_the_kernels(kind: str, tmp_path: Path) -> None:
    model = fl.Model([fl.Activation(kind)], input_size=1)
    model.to_c("net", tmp_path)
    x = np.concatenate([numbers(200_000, 7), np.linspace(-110, 110, 200_001, dtype=np.float32)])
    x = x[np.isfinite(x) & ((np.abs(x) >= TINY) | (x == 0))]
    y = np.empty_like(x)
    library(tmp_path, STEPS, FUSED).apply(pointer(x), ctypes.c_uint32(len(x)), pointer(y))
    want = model.predict(x[:, None, None])[:, 0, 0]
    normal = (np.abs(want) > 2 * TINY) & (np.abs(y) > 2 * TINY)  # the kernels flush what is smaller
    np.testing.assert_array_equal(y[normal].view(np.uint32), want[normal].view(np.uint32))
    assert np.abs(y[~normal] - want[~normal]).max(initial=0) <= 2 * TINY
    if kind in ("sigmoid", "softplus"):
        np.testing.assert_array_equal(y, want)  # these flush, too
