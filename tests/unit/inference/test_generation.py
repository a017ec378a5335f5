"""Generation: against predict and softmax, frequencies, prompts of several lengths, reproducibility, the example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.inference.generation import _draw, _uniform
from fastlstm.reference import softmax


def made(last: list[Any] | None = None, tokens: int = 6, seed: int = 1, return_sequences: bool = True) -> fl.Model:
    layers = [fl.Embedding(tokens, 3), fl.LSTM(8, return_sequences=return_sequences), fl.Dense(tokens), *(last or [])]
    model = fl.Model(layers, seed=seed)
    model.flat_parameters[:] *= 2
    return model


def greedy(model: fl.Model, prompt: list[int], steps: int) -> list[int]:
    series = list(prompt)
    for _ in range(steps):
        out = model.predict(np.array([series]))
        series.append(int(out.reshape(-1, out.shape[-1])[-1].argmax()))
    return series[len(prompt) :]


@pytest.mark.parametrize(
    "model",
    [made(), made(return_sequences=False), made([fl.Activation("softmax")])],
    ids=["per step", "last step", "softmax"],
)
def test_temperature_0_is_the_argmax_of_predict(model: fl.Model) -> None:
    prompts = [[1, 2, 3], [5], [0, 0, 4, 2]]
    expected = [greedy(model, prompt, 7) for prompt in prompts]
    np.testing.assert_array_equal(fl.generate(model, prompts, 7, temperature=0), expected)
    np.testing.assert_array_equal(fl.generate(model, prompts[0], 7, temperature=0), expected[0])
    np.testing.assert_array_equal(fl.generate(model, np.array(prompts[:1]), 7, temperature=0), expected[:1])
    assert fl.generate(model, prompts, 1, temperature=0).tolist() == [one[:1] for one in expected]
    # With one candidate the temperature does not matter.
    np.testing.assert_array_equal(fl.generate(model, prompts, 7, temperature=3, top_k=1), expected)
    np.testing.assert_array_equal(fl.generate(model, prompts, 7, temperature=3, top_p=1e-9), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda p: p),
        ({"temperature": 0.5}, lambda p: p**2),
        ({"temperature": 2.0, "top_k": 3}, lambda p: np.where(p >= np.sort(p)[-3], np.sqrt(p), 0)),
        ({"top_p": 0.6}, lambda p: np.where(p >= np.sort(p)[::-1][int((np.sort(p)[::-1].cumsum() < 0.6).sum())], p, 0)),
    ],
)
@pytest.mark.parametrize("probabilities", [False, True])
def test_frequencies(
    options: dict[str, Any], expected: Callable[[np.ndarray], np.ndarray], probabilities: bool
) -> None:
    """20,000 draws after one prompt: each count may deviate by 5 standard deviations."""
    model = made([fl.Activation("softmax")] if probabilities else [])
    answer = model.predict(np.array([[3]]))[0, -1].astype(np.float64)
    p = expected(answer if probabilities else softmax(answer))
    p = p / p.sum()
    n = 20_000
    counts = np.bincount(fl.generate(model, np.full((n, 1), 3), 1, seed=4, **options)[:, 0], minlength=6)
    assert (counts[p == 0] == 0).all()
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9).all()


def test_the_seed_decides_and_nothing_else() -> None:
    model = made()
    prompts = [[1, 2, 3], [5, 1], [1, 2, 3], [0]]
    first = fl.generate(model, prompts, 40, seed=7)
    np.testing.assert_array_equal(fl.generate(model, prompts, 40, seed=7, n_threads=2), first)
    np.testing.assert_array_equal(fl.generate(model.freeze(), prompts, 40, seed=7), first)
    # Neither the other prompts nor their lengths matter, nor how many tokens are requested.
    np.testing.assert_array_equal(fl.generate(model, [*prompts[:2], [4] * 9], 40, seed=7)[:2], first[:2])
    np.testing.assert_array_equal(fl.generate(model, prompts, 15, seed=7), first[:, :15])
    assert (fl.generate(model, prompts, 40, seed=8) != first).any()
    assert (first[0] != first[2]).any(), "equal prompts go on differently"
    # Token k of series i uses the random number (i, k), whatever the length of its prompt.
    for row, prompt in enumerate(prompts):
        series = [*prompt, *first[row]]
        for k in (0, 7):
            z = model.predict(np.array([series[: len(prompt) + k]]))[:, -1].astype(np.float64)
            assert _draw(z, 6, 1.0, np.array([_uniform(7, row, k)])) == first[row, k]


def test_uniform_chances() -> None:
    chances = np.array([_uniform(3, row, step) for row in range(50) for step in range(100)])
    assert ((chances >= 0) & (chances < 1)).all() and len(set(chances)) == len(chances)
    # The mean of 5,000 has the standard deviation 0.0041, each tenth of them 21 around 500.
    assert abs(chances.mean() - 0.5) < 0.02
    assert (np.abs(np.histogram(chances, 10, (0, 1))[0] - 500) < 106).all()


def test_draws_at_the_edges() -> None:
    z = np.log(np.array([[0.25, 0.5, 0.25]]))
    for chance, expected in ((0.0, 0), (0.2499, 0), (0.2501, 1), (0.7499, 1), (0.7501, 2), (np.nextafter(1, 0), 2)):
        assert _draw(z, 3, 1.0, np.array([chance])) == expected
    # Sorted: the second column first, then the first of the two that are equal.
    for chance, expected in ((0.0, 1), (0.66, 1), (0.67, 0), (np.nextafter(1, 0), 0)):
        assert _draw(z, 2, 1.0, np.array([chance])) == expected
        assert _draw(z, 3, 0.7, np.array([chance])) == expected
    # A column without probability is never drawn, not at either end.
    z = np.array([[-np.inf, 0.0, -np.inf]])
    assert _draw(z, 3, 1.0, np.array([0.0])) == 1 and _draw(z, 3, 1.0, np.array([np.nextafter(1, 0)])) == 1
    assert _draw(np.array([[1e4, -1e4]]), 2, 1.0, np.array([0.999])) == 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fl.generate(fl.Model([fl.LSTM(3)], input_size=1), [1], 2), ValueError, "first layer is an fl.Embed"),
        (
            lambda: fl.generate(made([fl.Dense(4)]), [1], 2),
            ValueError,
            r"reads 6 tokens and has 4 outputs: .*fl.Dense\(6\)",
        ),
        (lambda: fl.generate(made(), [6], 2), ValueError, "token 6 at position 0"),
        (lambda: fl.generate(made(), [], 2), ValueError, "at least one integer token"),
        (lambda: fl.generate(made(), [[1], []], 2), ValueError, "prompt 1 has shape"),
        (lambda: fl.generate(made(), [1.5], 2), ValueError, "prompt 0 has shape .* float64"),
        (lambda: fl.generate(made(), np.zeros((1, 1, 1), int), 2), ValueError, r"expected \(n, T\)"),
        (lambda: fl.generate(made(), np.zeros((0, 3), int), 2), ValueError, "no prompt"),
        (lambda: fl.generate(made(), [1], 0), ValueError, "steps must be at least 1"),
        (lambda: fl.generate(made(), [1], 2, temperature=-1), ValueError, "temperature"),
        (lambda: fl.generate(made(), [1], 2, top_k=0), ValueError, "top_k must be at least 1"),
        (lambda: fl.generate(made(), [1], 2, top_p=0), ValueError, "top_p must be a number above 0"),
        (lambda: fl.generate(made(), [1], 2, top_p=1.1), ValueError, "top_p must be a number above 0"),
        (
            lambda: fl.generate(
                fl.Model([fl.Embedding(4, 2), fl.LSTM(2, bidirectional=True, return_sequences=True)]), [1], 2
            ),
            ValueError,
            "bidirectional",
        ),
    ],
)
def test_unfit_arguments_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
