"""`EncoderDecoder.fit(shards=, communicator=)`: the gradients of the whole batch, and the bits of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from team import Member, together

import fastlstm as fl
from fastlstm.training.early import EarlySum

RNG = np.random.default_rng(4)
COUNT = 23
TOKENS = [RNG.integers(2, 8, n) for n in RNG.integers(1, 7, COUNT)]
NUMBERS = RNG.standard_normal((COUNT, 6, 3))
LENGTHS = RNG.integers(1, 7, COUNT)
TARGETS = [RNG.integers(2, 8, n) for n in RNG.integers(0, 6, COUNT)]
WEIGHTS = RNG.uniform(0, 2, COUNT) * (RNG.random(COUNT) < 0.7)
SEQUENCE: dict[str, Any] = {"return_sequences": True}


def model_of(name: str, dtype: str = "float32") -> fl.EncoderDecoder:
    decoder = [fl.Embedding(8, 4), fl.LSTM(8, recurrent_dropout=0.2, **SEQUENCE), fl.LuongAttention(), fl.Dense(8)]
    if name == "tokens":
        encoder = [fl.Embedding(8, 4), fl.Dropout(0.1), fl.LSTM(4, bidirectional=True, zoneout_h=0.1, **SEQUENCE)]
    elif name == "masked tokens":
        encoder = [fl.Embedding(8, 4, mask_token=3), fl.LSTM(8, recurrent_dropout=0.3, **SEQUENCE)]
        decoder.insert(2, fl.Dropout(0.2))
    elif name == "states alone":
        encoder, decoder = [fl.LSTM(8)], [fl.Embedding(8, 4), fl.LSTM(8, **SEQUENCE), fl.Dense(8)]
    else:
        encoder = [fl.LayerNorm(), fl.LSTM(8, **SEQUENCE)]
    scaler = fl.Standardizer() if name == "numbers" else None
    return fl.EncoderDecoder(encoder, decoder, seed=2, dtype=dtype, scaler=scaler)


RUNS: dict[str, dict[str, Any]] = {
    "tokens": {"X": TOKENS, "validation_split": 0.3},
    "masked tokens": {"X": TOKENS, "validation_data": (TOKENS[:9], TARGETS[:9])},
    "numbers": {"X": NUMBERS, "lengths": LENGTHS, "sample_weight": WEIGHTS},
    "states alone": {"X": NUMBERS, "sample_weight": WEIGHTS},
}


def train(name: str, communicator: Any = None, dtype: str = "float32", **more: Any) -> tuple[Any, Any, int]:
    model = model_of(name, dtype)
    given = {"epochs": 2, "batch_size": 8, "verbose": 0, "shards": 4, "n_threads": 1, **RUNS[name], **more}
    history = model.fit(given.pop("X"), TARGETS, communicator=communicator, **given)
    return model.flat_parameters.copy(), history.history, model.network.passes


@pytest.mark.parametrize("shards", [2, 3, 8, 11])
@pytest.mark.parametrize("name", RUNS)
def test_several_shards_train_as_one(name: str, shards: int) -> None:
    weights, history, passes = train(name, dtype="float64", shards=1)
    found = train(name, dtype="float64", shards=shards)
    np.testing.assert_allclose(found[0], weights, atol=1e-9)  # sums in another order, over six steps of Adam
    assert list(found[1]) == list(history) and found[2] == passes
    for key, values in history.items():
        np.testing.assert_allclose(found[1][key], values, rtol=1e-9)


@pytest.mark.parametrize("least", [0, 2**20], ids=["divided", "whole"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", RUNS)
def test_any_number_of_processes_gives_the_same_bits(
    name: str, size: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_SLICE", least)
    expected = train(name)
    for found in together(size, lambda member: train(name, member)):
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]


@pytest.mark.parametrize("name", ["tokens", "numbers"])
def test_gradients_of_the_decoder_are_added_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_SLICE", 0)
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_EARLY", 0)
    told: list[int] = []
    known_from = EarlySum.known_from
    monkeypatch.setattr(EarlySum, "known_from", lambda self, one: (told.append(one), known_from(self, one)))
    expected = train(name, shards=3)
    assert not told
    for found in together(3, lambda member: train(name, member, shards=3)):
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]
    starts = model_of(name)
    starts.fit(RUNS[name]["X"], TARGETS, epochs=1, verbose=0)
    assert set(told) == set(starts.network.parameters.starts)


def test_another_number_of_processes_continues_to_the_same_bits(tmp_path: Path) -> None:
    class Kill(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            self.epoch = epoch

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if (self.epoch, batch) == (2, 1):
                raise RuntimeError("killed")

    path = tmp_path / "run.safetensors"
    expected = train("tokens", epochs=3)

    def begin(member: Member) -> Any:
        return train("tokens", member, epochs=3, callbacks=[fl.Checkpoint(path, every_batches=1), Kill()])

    assert all(str(error).endswith("killed") for error in together(4, begin))
    for found in together(2, lambda member: train("tokens", member, epochs=3, resume=path)):
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]


def test_what_is_refused() -> None:
    decoder = [fl.Embedding(8, 4), fl.LSTM(8, **SEQUENCE), fl.BatchNorm(), fl.Dense(8)]
    model = fl.EncoderDecoder([fl.Embedding(8, 4), fl.LSTM(8)], decoder)
    with pytest.raises(ValueError, match="shards=2 computes each part of a batch alone, and decoder: layer 2"):
        model.fit(TOKENS, TARGETS, shards=2, verbose=0)
    decoder = [fl.Embedding(8, 4), fl.LSTM(8, **SEQUENCE), fl.Dense(8)]
    model = fl.EncoderDecoder([fl.Embedding(8, 4), fl.BatchNorm(), fl.LSTM(8)], decoder)
    with pytest.raises(ValueError, match="and encoder: layer 1"):
        model.fit(TOKENS, TARGETS, shards=2, verbose=0)
    model.fit(TOKENS, TARGETS, epochs=1, verbose=0)
    other = [TARGETS[1], *TARGETS[1:]]

    def run(member: Member) -> Any:
        given = (TARGETS, other)[member.rank]
        return model_of("tokens").fit(TOKENS, given, shards=2, communicator=member, verbose=0)

    assert all("data differs between rank 0 and rank 1" in str(error) for error in together(2, run))
