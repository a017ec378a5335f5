"""The layer that adds noise in training."""

import numpy as np
import pytest

import fastlstm as fl


def noise_of(model, x, **arguments):
    """Return what the model's only layer adds to its input in one training pass."""
    return model.forward(x, training=True, **arguments) - x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_normal_with_the_given_deviation(dtype):
    model = fl.Model([fl.GaussianNoise(0.5)], dtype=dtype)
    noise = noise_of(model, np.zeros((50, 40, 10), dtype))
    assert noise.dtype == dtype
    # 20,000 values: mean and deviation have standard errors of 0.0035 and 0.0025; 4.5 of them are allowed.
    assert abs(noise.mean()) < 0.016 and abs(noise.std() - 0.5) < 0.0113
    assert abs((np.abs(noise) < 0.5).mean() - 0.6827) < 0.015  # the share within one deviation, error 0.0033
    # No two cases, steps or features share their noise.
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_noise_is_new_in_each_pass_and_decided_by_the_seed():
    x = np.zeros((3, 4, 2), np.float32)
    first, same, other = (fl.Model([fl.GaussianNoise(1.0)], seed=seed) for seed in (5, 5, 6))
    noise = noise_of(first, x)
    assert np.array_equal(noise, noise_of(same, x, n_threads=2))
    assert not np.isclose(noise, noise_of(first, x)).any()
    assert not np.isclose(noise, noise_of(other, x)).any()


def test_two_layers_add_different_noise():
    x = np.zeros((3, 4, 2), np.float32)
    one = noise_of(fl.Model([fl.GaussianNoise(1.0)], seed=5), x)
    two = noise_of(fl.Model([fl.GaussianNoise(1.0), fl.GaussianNoise(1.0)], seed=5), x)
    assert not np.isclose(two - one, one).any()


def test_inference_and_no_noise_change_nothing():
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    assert np.array_equal(fl.Model([fl.GaussianNoise(2.0)]).forward(x), x)
    assert np.array_equal(fl.Model([fl.GaussianNoise(0.0)]).forward(x, training=True), x)


def test_the_gradient_passes_through():
    model = fl.Model([fl.Dense(3), fl.GaussianNoise(1.0)], input_size=2, dtype="float64")
    x, d_out = np.ones((2, 5, 2)), np.random.default_rng(0).standard_normal((2, 5, 3))
    model.forward(x, training=True)
    dx = model.backward(d_out)
    # Sums of 3 products in float64: a few ulp.
    np.testing.assert_allclose(dx, d_out @ model.parameters()["0.weight"], rtol=1e-13)
    np.testing.assert_allclose(model.gradients()["0.bias"], d_out.sum((0, 1)), rtol=1e-13)


def test_padding_does_not_matter():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 3)).astype(np.float32)
    x[1, 4:] = np.nan
    model = fl.Model([fl.GaussianNoise(0.1), fl.LSTM(4), fl.Dense(2)], input_size=3)
    model.forward(x, lengths=[6, 4], training=True)
    model.backward(np.ones((2, 2), np.float32))
    assert all(np.isfinite(gradient).all() for gradient in model.gradients().values())


def test_save_and_load(tmp_path):
    model = fl.Model([fl.GaussianNoise(0.25), fl.LSTM(4)], input_size=3)
    model.save(tmp_path / "model.safetensors")
    assert repr(fl.load(tmp_path / "model.safetensors").layers[0]) == "GaussianNoise(stddev=0.25)"


@pytest.mark.parametrize(("stddev", "error"), [(-1.0, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_wrong_deviations(stddev, error):
    with pytest.raises(error, match="stddev must"):
        fl.GaussianNoise(stddev)


def test_token_ids_are_refused():
    with pytest.raises(ValueError, match="after the fl.Embedding"):
        fl.GaussianNoise(1.0).build(fl.layers.Signal(0, True, tokens=True))
