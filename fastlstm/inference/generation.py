"""Generation of tokens by a model that predicts the next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core, _exact
from .._arguments import explain_arguments
from .._arrays import as_array
from .._checks import count, non_negative, short_repr
from .._typing import Array
from ..layers import Embedding
from ..network import Network
from ..protocols import InferenceModel
from .masked_stream import new_stream

__all__ = ["generate"]


@explain_arguments
def generate(
    model: InferenceModel,
    prompt: npt.ArrayLike | Sequence[npt.ArrayLike],
    steps: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    n_threads: int | None = None,
) -> Array:
    """Continue token series: repeatedly draw a token from the model's output and feed it in.

    Parameters
    ----------
    model : Model
        Model that begins with an `Embedding` and has one score (logit) per token as output, at each step or for the
        series so far; trained, for example, on ``X = tokens[:, :-1]``, ``y = tokens[:, 1:]``. If the last layer is
        ``Activation("softmax")``, the outputs are taken as probabilities. The model runs as a `Stream`, so that each
        token costs one step of the LSTM.
    prompt : int array (n, T) or (T,), or list of n int arrays (T_i,)
        Beginnings of the series, at least one token each.
    steps : int
        Number of tokens to generate for each series.
    temperature : float, default 1.0
        Divisor of the scores before the softmax: below 1, probable tokens become more probable; 0 always takes the most
        probable token (the first of equals).
    top_k : int, optional
        Draw only from this many most probable tokens.
    top_p : float in (0, 1], optional
        Draw only from the most probable tokens that together have at least this probability, after `temperature` and
        `top_k` (nucleus sampling, Holtzman et al. 2020).
    seed : int, default 0
        Seed of the draws. The tokens of a series depend only on the seed, the series' prompt and its index among the
        prompts, neither on the other prompts nor on the number of threads.
    n_threads : int, optional
        Threads to use; by default as configured.

    Returns
    -------
    ndarray of int64, shape (n, steps), or (steps,) for a prompt (T,)
        The new tokens, without the prompt.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a token is not in the table, or the model does not read tokens, has another number
        of outputs, or cannot be streamed.
    RuntimeError
        If the model is not built yet.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> tokens = np.arange(400).reshape(4, 100) % 5
    >>> model = fl.Model([fl.Embedding(5, 4), fl.LSTM(16, return_sequences=True), fl.Dense(5)], seed=0)
    >>> history = model.fit(tokens[:, :-1], tokens[:, 1:], epochs=40, optimizer=fl.Adam(0.02), verbose=0)
    >>> fl.generate(model, [3, 4, 0], 6, temperature=0).tolist()
    [1, 2, 3, 4, 0, 1]
    """
    network = getattr(model, "network", None)
    if isinstance(network, Network) and not network.is_chain:
        raise ValueError(
            "generate continues a series, and an EncoderDecoder answers it with another one: use its predict"
        )
    table = network.layers[0] if isinstance(network, Network) else None
    if not isinstance(network, Network) or not isinstance(table, Embedding):
        raise ValueError("generate needs a model that reads tokens: one whose first layer is an fl.Embedding")
    if network.output_size != table.num_embeddings or model.target_scaler is not None:
        raise ValueError(
            f"the model reads {table.num_embeddings} tokens and has {network.output_size} outputs: generate needs "
            f"one score for each token, so a last layer fl.Dense({table.num_embeddings}), and no target_scaler"
        )
    steps = count("steps", steps)
    temperature = non_negative("temperature", temperature)
    k = table.num_embeddings if top_k is None else min(count("top_k", top_k), table.num_embeddings)
    if top_p is not None and not (isinstance(top_p, (int, float, np.floating)) and 0 < top_p <= 1):
        raise ValueError(f"top_p must be a number above 0 and at most 1, got {short_repr(top_p)}")
    seed = count("seed", seed, least=0, bits=64)
    prompts, single = _prompts(prompt)
    final = network.final_activation()
    if final is not None and final.kind != "softmax":
        raise ValueError(f"the model ends with {final.kind}: generate needs scores, or a final softmax")
    probabilities = final is not None

    n, ends = len(prompts), np.array([len(one) for one in prompts])
    series = np.zeros((n, int(ends.max()) + steps), np.int64)
    for row, one in zip(series, prompts, strict=True):
        row[: len(one)] = one
    stream = new_stream(model, n, n_threads)
    shortest = int(ends.min())
    scores = stream.run(series[:, :shortest])[:, -1]
    for t in range(shortest, series.shape[1]):
        # No draw for series whose prompt continues, nor for finished ones, which run on with token 0.
        drawing = np.flatnonzero((ends <= t) & (t < ends + steps))
        if len(drawing):
            z = scores[drawing].astype(np.float64)
            if probabilities:
                z = _exact.log(z)
            if temperature == 0:
                series[drawing, t] = z.argmax(axis=1)
            else:
                chance = np.array([_uniform(seed, int(row), int(t - ends[row])) for row in drawing])
                series[drawing, t] = _draw(z / temperature, k, 1.0 if top_p is None else float(top_p), chance)
        if t + 1 < series.shape[1]:
            scores = stream.step(series[:, t])
    new = np.stack([row[end : end + steps] for row, end in zip(series, ends, strict=True)])
    return np.asarray(new[0] if single else new)


def _prompts(prompt: Any) -> tuple[list[Array], bool]:
    """Return the prompts as a list, and whether a single prompt (T,) was given."""
    if isinstance(prompt, (list, tuple)) and len(prompt) and as_array(prompt[0], "prompt[0]").ndim == 1:
        given, single = list(prompt), False
    else:
        array = as_array(prompt, "prompt")
        if array.ndim not in (1, 2):
            raise ValueError(f"prompt has shape {array.shape}, expected (n, T), (T,) or a list of (T,)")
        given, single = ([array], True) if array.ndim == 1 else (list(array), False)
    prompts = [as_array(one, f"prompt[{i}]") for i, one in enumerate(given)]
    for index, one in enumerate(prompts):
        if one.ndim != 1 or one.dtype.kind not in "iu" or not len(one):
            raise ValueError(
                f"prompt {index} has shape {one.shape} and type {one.dtype}, expected at least one integer token (T,)"
            )
    if not prompts:
        raise ValueError("there is no prompt: expected at least one")
    return prompts, single


def _uniform(seed: int, row: int, step: int) -> float:
    """Return a number in [0, 1) from 53 bits of Philox, whose counter is different for each row and step."""
    high, low, _, _ = _core.philox(seed, (row << 32) + step)
    return ((high << 21) + (low >> 11)) / 2**53


def _draw(z: Array, top_k: int, top_p: float, chance: Array) -> Array:
    """Draw a column for each row of scores by inverting the cumulative distribution at `chance`, in [0, 1)."""
    p = _exact.exp(z - z.max(axis=1, keepdims=True))
    order = None
    if top_k < z.shape[1] or top_p < 1:
        order = np.argsort(-z, axis=1, kind="stable")[:, :top_k]
        p = np.take_along_axis(p, order, axis=1)
        sums = p.cumsum(axis=1)  # in their order, with any NumPy
        p[sums - p >= top_p * sums[:, -1:]] = 0
    sums = p.cumsum(axis=1)
    # Rounding may leave even the last sum too small; then take the last column of positive probability.
    place = np.minimum((sums <= chance[:, None] * sums[:, -1:]).sum(axis=1), (sums < sums[:, -1:]).sum(axis=1))
    return place if order is None else np.take_along_axis(order, place[:, None], axis=1)[:, 0]
