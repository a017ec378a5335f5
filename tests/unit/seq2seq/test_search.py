"""Greedy and beam search against an enumeration of all sequences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.losses.base import softmax

X = [[2, 3, 4, 5], [3, 2], [4], [5, 5, 5]]


def model_of(attention: bool = True, seed: int = 1, scale: float = 6.0, **more: object) -> fl.EncoderDecoder:
    """Return a model of few tokens with weights large enough for answers of several lengths."""
    model = fl.EncoderDecoder(
        [fl.Embedding(6, 4), fl.LSTM(8, return_sequences=True)],
        [fl.Embedding(5, 4), fl.LSTM(8, return_sequences=True), *([fl.LuongAttention()] if attention else []),
         fl.Dense(5)],
        dtype="float64",
        seed=seed,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip
    model.flat_parameters[:] *= scale
    return model


def all_sequences(model: fl.EncoderDecoder, source: list[int], longest: int) -> dict[tuple[int, ...], float]:
    """Return the log-probability of each sequence of at most `longest` tokens, with its end."""
    tokens = [k for k in range(5) if k not in (model.bos, model.eos)]
    found = {}
    for length in range(longest + 1):
        targets = list(itertools.product(tokens, repeat=length))
        out = model.forward([source] * len(targets), [list(one) for one in targets])
        log_p = np.log(softmax(out))
        for target, row in zip(targets, log_p, strict=True):
            found[target] = float(sum(row[k, token] for k, token in enumerate((*target, model.eos))))
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty: float) -> None:
    for seed in range(4):
        model = model_of(seed=seed)
        answers = model.beam_search(X, beam=81, max_length=4, length_penalty=penalty, n_best=3)
        for source, found in zip(X, answers, strict=True):
            every = all_sequences(model, source, 4)
            scores = {one: p / ((5 + len(one) + 1) / 6) ** penalty for one, p in every.items()}
            best = sorted(scores, key=lambda one: -scores[one])[:3]
            ended = [one for one in found if one.ended]
            assert [tuple(one.tokens.tolist()) for one in ended] == best[: len(ended)]
            for one in ended:
                target = tuple(one.tokens.tolist())
                assert one.log_probability == pytest.approx(every[target], rel=1e-9)
                assert one.score == pytest.approx(scores[target], rel=1e-9)


def test_greedy_search_takes_the_most_probable_token_at_each_step() -> None:
    lengths = set()
    for seed in range(6):
        model = model_of(seed=seed)
        for source, found in zip(X, model.predict(X, max_length=6), strict=True):
            tokens: list[int] = []
            while len(tokens) < 6:
                scores = model.forward([source], [tokens])[0, -1].copy()
                scores[model.bos] = -math.inf
                token = int(scores.argmax())
                if token == model.eos:
                    break
                tokens.append(token)
            assert found.tolist() == tokens
            lengths.add(len(tokens))
    assert len(lengths) > 2  # the test sees answers that end at several steps


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("beam", [1, 3])
def test_an_answer_does_not_depend_on_the_others(attention: bool, beam: int) -> None:
    model = model_of(attention, seed=2, scale=4.0)
    sources = [[*X[k % 4], k % 6] for k in range(40)]
    together = model.beam_search(sources, beam=beam, max_length=12)
    for batch_size, n_threads in ((1, 1), (7, 2), (256, 3)):
        apart = model.beam_search(sources, beam=beam, max_length=12, batch_size=batch_size, n_threads=n_threads)
        for a, b in zip(together, apart, strict=True):
            assert [(one.tokens.tolist(), *one[1:]) for one in a] == [(one.tokens.tolist(), *one[1:]) for one in b]


def test_greedy_is_the_best_of_a_beam_of_one() -> None:
    model = model_of(seed=3)
    greedy = model.predict(X, max_length=5)
    for one, found in zip(greedy, model.beam_search(X, beam=1, max_length=5), strict=True):
        assert one.tolist() == found[0].tokens.tolist()


def test_hypotheses_come_in_the_order_of_their_scores() -> None:
    for found in model_of(seed=5).beam_search(X, beam=4, max_length=6):
        scores = [one.score for one in found]
        assert 1 <= len(found) <= 4 and scores == sorted(scores, reverse=True)
        assert len({tuple(one.tokens.tolist()) for one in found}) == len(found)


def test_an_answer_is_cut_at_the_largest_length() -> None:
    model = model_of(seed=0)
    model.parameters()["decoder.3.bias"][model.eos] = -1000.0
    assert [len(one) for one in model.predict(X, max_length=3)] == [3] * 4
    for found in model.beam_search(X, beam=2, max_length=3):
        assert [(len(one.tokens), one.ended) for one in found] == [(3, False)] * 2
    model.parameters()["decoder.3.bias"][model.eos] = 1000.0
    assert [one.tolist() for one in model.predict(X, max_length=3, beam=2)] == [[]] * 4


def test_one_token_may_be_beginning_and_end() -> None:
    model = model_of(seed=1, bos=0, eos=0)
    for one in model.predict(X, max_length=6):
        assert 0 not in one.tolist()


def test_a_frozen_model_gives_the_same_answers() -> None:
    model = model_of(seed=2)
    before = model.predict(X, max_length=8), model.predict(X, max_length=8, beam=3)
    model.freeze()
    after = model.predict(X, max_length=8), model.predict(X, max_length=8, beam=3)
    for a, b in zip(before, after, strict=True):
        assert [one.tolist() for one in a] == [one.tolist() for one in b]
    with pytest.raises(RuntimeError, match="frozen"):
        model.fit(X, [[2]] * 4, verbose=0)


def test_a_final_softmax_changes_no_answer() -> None:
    model = model_of(seed=2)
    other = fl.EncoderDecoder(
        [fl.Embedding(6, 4), fl.LSTM(8, return_sequences=True)],
        [fl.Embedding(5, 4), fl.LSTM(8, return_sequences=True), fl.LuongAttention(), fl.Dense(5),
         fl.Activation("softmax")],
        dtype="float64",
    )  # fmt: skip
    other.load_state_dict(model.state_dict())
    for a, b in zip(model.beam_search(X, max_length=5), other.beam_search(X, max_length=5), strict=True):
        assert [one.tokens.tolist() for one in a] == [one.tokens.tolist() for one in b]
        assert [one.score for one in a] == [one.score for one in b]
    np.testing.assert_allclose(other.forward(X, [[2]] * 4), softmax(model.forward(X, [[2]] * 4)), rtol=1e-12)


def test_wrong_arguments_are_refused() -> None:
    model = model_of()
    for arguments, message in (
        ({}, "pass max_length"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 3, "beam": 0}, "beam"),
        ({"max_length": 3, "length_penalty": -1}, "length_penalty"),
        ({"max_length": 3, "n_best": 6}, "n_best is 6, expected at most the number of candidates, beam=5"),
    ):
        with pytest.raises(ValueError, match=message):
            model.beam_search(X, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"holds token 6 at \[case, step\] = \[0, 0\]"):
        model.predict([[6]], max_length=3)
    with pytest.raises(TypeError, match="target_lengths"):
        model.predict(X, target_lengths=[1])  # type: ignore[call-arg]
    model.flat_parameters[:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        model.predict(X, max_length=3)
