"""Training, files and names of tokens of encoder-decoders."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

RNG = np.random.default_rng(0)
X = [RNG.integers(2, 8, n) for n in RNG.integers(1, 6, 60)]
Y = [one[::-1].copy() for one in X]


def model_of(**more: Any) -> fl.EncoderDecoder:
    return fl.EncoderDecoder(
        [fl.Embedding(8, 4), fl.Dropout(0.1), fl.LSTM(8, return_sequences=True)],
        [fl.Embedding(8, 4), fl.LSTM(8, return_sequences=True), fl.LuongAttention(), fl.Dense(8)],
        **more,
    )


def padded(sequences: list[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(one) for one in sequences])
    array = np.full((len(sequences), lengths.max()), fill)
    for row, one in zip(array, sequences, strict=True):
        row[: len(one)] = one
    return array, lengths


def test_arrays_with_lengths_and_lists_give_the_same_bits() -> None:
    lists, arrays, marked = model_of(), model_of(), model_of()
    lists.fit(X, Y, epochs=2, verbose=0)
    (source, lengths), (target, target_lengths) = padded(X, -7), padded(Y, 99)
    arrays.fit(source, target, lengths=lengths, target_lengths=target_lengths, epochs=2, verbose=0)
    marked.fit(source, padded(Y, -100)[0], lengths=lengths, epochs=2, verbose=0)
    np.testing.assert_array_equal(arrays.flat_parameters, lists.flat_parameters)
    np.testing.assert_array_equal(marked.flat_parameters, lists.flat_parameters)
    assert arrays.evaluate(source, target, lengths=lengths, target_lengths=target_lengths) == lists.evaluate(X, Y)


def test_names_and_ids_give_the_same_bits() -> None:
    names = ["<s>", "</s>", *"abcdef"]
    ids, words = model_of(), model_of(source_tokens=names, target_tokens=names, bos="<s>", eos="</s>")
    ids.fit(X, Y, epochs=2, verbose=0)
    words.fit(
        ["".join(names[k] for k in one) for one in X], [[names[k] for k in one] for one in Y], epochs=2, verbose=0
    )
    np.testing.assert_array_equal(words.flat_parameters, ids.flat_parameters)
    answers = words.predict_tokens(["abc", ["f", "a"]])
    assert answers == [[names[k] for k in one] for one in ids.predict([[2, 3, 4], [7, 2]])]
    with pytest.raises(ValueError, match=r"X\[1\] holds the token 'z', which is none of source_tokens"):
        words.predict(["abc", "az"])
    with pytest.raises(ValueError, match=r"X holds names of tokens, and the model knows none: give it source_tokens"):
        ids.predict(["abc"])
    with pytest.raises(ValueError, match="no names of tokens"):
        ids.predict_tokens(X)


def test_loss_and_accuracy_are_those_of_all_tokens_and_ends() -> None:
    model = model_of()
    model.fit(X, Y, epochs=3, verbose=0)
    out = model.forward(X, Y)
    losses, right = [], []
    for row, target in zip(out, Y, strict=True):
        wanted = [*target, model.eos]
        z = row[: len(wanted)].astype("f8")
        losses += (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(wanted)), wanted]).tolist()
        right += (z.argmax(axis=1) == wanted).tolist()
    found = model.evaluate(X, Y)
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)  # float32
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert model.evaluate(X, Y, batch_size=7)["loss"] == pytest.approx(found["loss"], rel=1e-6)  # float32


def test_a_weight_of_zero_leaves_a_case_out() -> None:
    weight = np.r_[np.ones(30), np.zeros(30)]
    model = model_of()
    model.fit(X, Y, epochs=1, verbose=0)
    part = model.evaluate(X[:30], Y[:30])
    assert model.evaluate(X, Y, sample_weight=weight) == pytest.approx(part, rel=1e-6)  # float32
    before = model.flat_parameters.copy()
    model.fit(X, Y, sample_weight=weight, epochs=1, verbose=0)
    assert not np.array_equal(before, model.flat_parameters)


def test_validation_is_measured_and_stops_the_training() -> None:
    model = model_of()
    stop = fl.EarlyStopping(patience=1, min_delta=10.0)
    history = model.fit(X, Y, validation_data=(X[:9], Y[:9]), epochs=20, callbacks=[stop], verbose=0)
    assert sorted(history.history) == ["accuracy", "loss", "lr", "val_accuracy", "val_loss"] and history.epochs == 2
    parts = model_of().fit(X, Y, validation_split=0.25, epochs=2, verbose=0)
    assert len(parts.history["val_loss"]) == 2
    with pytest.raises(ValueError, match="both validation_data and validation_split"):
        model.fit(X, Y, validation_data=(X, Y), validation_split=0.2, verbose=0)
    with pytest.raises(ValueError, match="validation_data must be"):
        model.fit(X, Y, validation_data=X[0], verbose=0)  # type: ignore[arg-type]


def test_calls_of_one_epoch_have_the_bits_of_one_call() -> None:
    one, several = model_of(), model_of()
    one.fit(X, Y, epochs=3, verbose=0)
    for _ in range(3):
        several.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_array_equal(several.flat_parameters, one.flat_parameters)


def test_a_run_continues_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole = model_of()
    whole.fit(X, Y, epochs=4, verbose=0)
    begun = model_of()
    begun.fit(X, Y, epochs=2, verbose=0, callbacks=[fl.Checkpoint(path)])
    assert np.array_equal(fl.load(path).flat_parameters, begun.flat_parameters)
    resumed = model_of()
    resumed.fit(X, Y, epochs=4, verbose=0, callbacks=[fl.Checkpoint(path)], resume=True)
    np.testing.assert_array_equal(resumed.flat_parameters, whole.flat_parameters)
    with pytest.raises(ValueError, match="started with other data"):
        model_of().fit(X, X, epochs=4, verbose=0, callbacks=[fl.Checkpoint(path)], resume=True)


def test_a_file_gives_the_model_back(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    names = ["<s>", "</s>", *"abcdef"]
    model = model_of(source_tokens=names, target_tokens=names, bos="</s>", eos="<s>")
    with pytest.raises(ValueError, match="Y.0. holds 1 at 0, which is bos"):
        model.fit(X, [[1]] * 60, verbose=0)
    model.fit(X, Y, epochs=1, verbose=0)
    model.metadata = {"made": "today"}
    model.save(path)
    best = tmp_path / "best.safetensors"
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[fl.ModelCheckpoint(best, monitor="loss")])
    for file, twin in ((best, model), (path, fl.load(path))):
        other: Any = fl.load(file)
        assert other.get_config() == twin.get_config() and (other.bos, other.eos) == (1, 0)
        assert [a.tolist() for a in other.predict(X, beam=2)] == [a.tolist() for a in twin.predict(X, beam=2)]
    assert fl.load(path).metadata == {"made": "today"}
    bytes_before = path.read_bytes()
    fl.load(path).save(path)
    assert path.read_bytes() == bytes_before


def test_sources_of_numbers_keep_their_scaler_in_the_file(tmp_path: Path) -> None:
    series = [RNG.standard_normal((len(one), 2)) * 50 + 1000 for one in X]
    model = fl.EncoderDecoder(
        [fl.LSTM(4)], [fl.Embedding(8, 3), fl.LSTM(4, return_sequences=True), fl.Dense(8)], scaler=fl.Standardizer()
    )
    model.fit(series, Y, epochs=1, verbose=0)
    model.save(tmp_path / "m.safetensors")
    other = fl.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.forward(series, Y), model.forward(series, Y))
    np.testing.assert_array_equal(copy.copy(model).forward(series, Y), model.forward(series, Y))


def test_copies_and_pickles_are_models_of_their_own() -> None:
    model = model_of()
    model.fit(X, Y, epochs=1, verbose=0)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.forward(X, Y), model.forward(X, Y))
        assert other.predict(X[:2])[0].tolist() == model.predict(X[:2])[0].tolist()
        other.flat_parameters[:] = 0
        assert model.flat_parameters.any()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    from fastlstm.formats import safetensors

    model = model_of()
    tensors, config = model.saved_tensors(), model.get_config()
    path = tmp_path / "m.safetensors"
    layers = config["layers"]
    big = [*layers[:2], {**layers[2], "num_layers": 10**9}, layers[3], {**layers[4], "num_layers": 10**9}, *layers[5:]]
    for change, message in (
        ({"encoder_layers": 0}, "encoder_layers"),
        ({"encoder_layers": 7}, "encoder_layers is 7, expected fewer than the 7 layers"),
        ({"encoder_layers": "x"}, "encoder_layers"),
        ({"layers": []}, "."),
        ({"layers": [3]}, "described by 3"),
        ({"layers": big}, "missing"),
        ({"bos": 9}, "bos is 9"),
        ({"source_tokens": ["a"]}, "source_tokens has 1 names"),
        ({"target_tokens": 5}, "target_tokens"),
        ({"longest_target": -1}, "longest_target"),
        ({"dtype": "int8"}, "dtype"),
        ({"scaler": {"name": "nothing"}}, "."),
    ):
        safetensors.save(path, tensors, {**config, **change})
        with pytest.raises(ValueError, match=message):
            fl.load(path)
    for name in list(config):
        if name not in ("encoder_layers", "input_size"):  # this is not read of a model of tokens
            safetensors.save(path, tensors, {k: v for k, v in config.items() if k != name})
            with pytest.raises(ValueError, match="is missing"):
                fl.load(path)
    safetensors.save(path, {k: v for k, v in tensors.items() if "decoder.3" not in k}, config)
    with pytest.raises(ValueError, match="missing"):
        fl.load(path)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (X, Y[:-1], "Y has 59 cases, X has 60"),
        (X, [*Y[:-1], [2, 1]], r"Y\[59\] holds 1 at 1, which is eos: the model puts it there itself"),
        (X, [*Y[:-1], [0]], r"Y\[59\] holds 0 at 0, which is bos"),
        (X, [*Y[:-1], [8]], r"Y\[59\] holds 8 at 0, expected ids in \[0, 8\)"),
        (X, [*Y[:-1], [-2]], r"Y\[59\] holds -2 at 0, expected ids"),
        (X, [*Y[:-1], [2.5]], "integer"),
        ([*X[:-1], np.array([8])], Y, r"holds token 8 at \[case, step\] = \[59, 0\]"),
        ([*X[:-1], np.array([], int)], Y, "X"),
        (X, None, "Y"),
        (X, np.tile([2, -100, 3], (60, 1)), r"Y\[0, 2\] is 3, but a row must hold ids and then -100 as padding"),
        (X, np.tile([2, -1, -1], (60, 1)), r"Y\[0, 1\] is -1, .* give target_lengths for other padding"),
    ],
)
def test_data_that_do_not_fit_are_refused(source: Any, target: Any, message: str) -> None:
    model = model_of()
    before = model.flat_parameters.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(source, target, verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert model.longest_target == 0


def test_lengths_of_targets_are_checked() -> None:
    model, (source, lengths) = model_of(), padded(X, 0)
    target = np.full((60, 3), 2)
    for numbers, message in (
        ([4] * 60, "target_lengths hold 4 to 4, expected 0 to 3"),
        ([1] * 59, "target_lengths must be 60 integers"),
        ([1.5] * 60, "target_lengths must be 60 integers"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(source, target, lengths=lengths, target_lengths=numbers, verbose=0)
    with pytest.raises(ValueError, match="target_lengths are for an array of tokens"):
        model.fit(X, Y[0], target_lengths=[1] * 60, verbose=0)


def test_functions_for_chains_refuse_such_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastlstm.cli import main

    model: Any = fl.EncoderDecoder(
        [fl.Embedding(8, 4), fl.LSTM(4)], [fl.Embedding(8, 4), fl.LSTM(4, return_sequences=True), fl.Dense(8)]
    )
    with pytest.raises(ValueError, match="use its predict"):
        fl.generate(model, [2], 3)
    with pytest.raises(ValueError, match="an encoder with a decoder"):
        fl.Stream(model)
    model.save(tmp_path / "m.safetensors")
    assert main(["info", str(tmp_path / "m.safetensors")]) == 0
    assert "EncoderDecoder([Embedding(" in capsys.readouterr().out


def test_nothing_in_gives_nothing_out() -> None:
    model = model_of()
    assert model.predict([], max_length=3) == [] and model.beam_search([], max_length=3) == []
    assert model.predict(np.zeros((0, 5), int), max_length=3) == []


def test_what_is_no_list_of_sources_is_refused() -> None:
    names = ["<s>", "</s>", *"abcdef"]
    model: Any = model_of(source_tokens=names, target_tokens=names, bos="<s>", eos="</s>")
    with pytest.raises(TypeError, match=r"X is a single string, expected a list of sequences: pass \['abc'\]"):
        model.predict("abc", max_length=3)
    with pytest.raises(TypeError, match=r"Y is a single string, expected a list of sequences: pass \['cba'\]"):
        model.fit(["abc"], "cba", verbose=0)
    with pytest.raises(ValueError, match=r"X has shape \(\), expected a \(batch, time\) array of token ids"):
        model.predict(np.array(3), max_length=3)


def test_what_is_no_scaler_is_refused() -> None:
    with pytest.raises(TypeError, match="scaler must be a fl.Standardizer, .* got 'standard'"):
        model_of(scaler="standard")
    with pytest.raises(ValueError, match="scaler is for sources of numbers .* got sources of tokens"):
        model_of(scaler=fl.Standardizer())


def test_the_table_of_layers_names_both_parts(capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of()
    model.summary()
    printed = capsys.readouterr().out
    assert "encoder.2 LSTM(" in printed and "decoder.2 LuongAttention(" in printed
    assert "encoder.0" in model._repr_html_() and repr(model).startswith("EncoderDecoder([Embedding(")
