"""Read models from files that Keras wrote; h5py is needed (``fastlstm[keras]``), Keras is not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..._checks import as_bool, short_repr
from ..._checks import path as checked_path
from ..._typing import Array
from ...layers import Activation, Flatten, Layer
from ...losses import Loss, get_loss
from ...model import Model
from ..foreign import advice
from ..json_object import json_object
from .architecture import parts as parts_of
from .archive import Source, open_source
from .assumed import Activations, assumptions, with_activations
from .bare import described
from .carried import carried_chain
from .graph import chain
from .pair import is_pair, pair_of
from .weights import arrays_of, converted, give_weights

__all__ = ["from_keras"]


_LOSSES = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}


def from_keras(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    activations: Activations | None = None,
    logits: bool = False,
    dtype: npt.DTypeLike | None = None,
    loss: Loss | str | None = None,
    seed: int = 0,
    bos: int | None = None,
    eos: int | None = None,
) -> Model:
    """Return a model with the layers and weights of a file that Keras 2 or 3 wrote.

    Neither Keras nor TensorFlow is needed, only h5py (``pip install 'fastlstm[keras]'``). No code in the file is run.

    Parameters
    ----------
    path : path
        - ``.keras``, written by ``model.save("model.keras")``;
        - ``.h5``, written by ``model.save("model.h5")``;
        - ``.weights.h5``, written by ``model.save_weights("model.weights.h5")``. Such a file does not describe the
          layers. Without `config` they are inferred from the names and sizes of the weights, if these fit in only one
          order. Everything else gets Keras's defaults (activations, masks, whether an LSTM goes backwards, how a
          Bidirectional merges); the last LSTM returns its last step. A warning lists all that is assumed.
    config : str, path or mapping, optional
        The description of the model, if `path` has only the weights: the result of ``model.to_json()`` as a string, as
        the path of a file with it, or parsed.
    activations : mapping or sequence, optional
        The activations of the layers, if `path` has only the weights and there is no `config`: by the names of the
        layers as the warning shows them (``{"dense": "relu", "dense_1": "softmax"}``), or a list with one for each
        layer that has weights, in their order, None for Keras's default. For an LSTM it is the name of its
        ``activation``, or a pair with its ``recurrent_activation``.
    logits : bool, default False
        Drop the softmax or sigmoid at the end of the model, as ``fit`` with the loss ``"cross_entropy"`` or
        ``"binary_cross_entropy"`` requires: `Model.predict` then returns scores, and `Model.predict_proba` returns what
        Keras's ``predict`` returns.
    dtype : {"float32", "float64"}, optional
        Floating-point type of the model. By default float64 if any weight is, else float32.
    loss : str or Loss, optional
        Loss of the training, which says what the outputs are: ``"cross_entropy"`` (scores of exclusive classes),
        ``"binary_cross_entropy"`` (independent scores), ``"mse"`` (values) and others. Without it `predict_proba`,
        `predict_classes` and `evaluate` need a final sigmoid or softmax.
    seed : int, default 0
        The model's seed, for dropout and further training.
    bos, eos : int, optional
        Of a file with an encoder and a decoder: the ids of the tokens with which targets begin and end.

    Returns
    -------
    Model, or EncoderDecoder
        A built model with copies of the weights, all of them trainable. Its outputs equal those of Keras's ``predict``
        except for rounding.

    Raises
    ------
    ValueError
        If the file is damaged or not a Keras file, its weights do not fit the description, or the model has a layer or
        an option that has no counterpart here. The message names it.
    ImportError
        If h5py is missing.
    OSError
        If the file cannot be read.
    TypeError
        If an argument has another type.

    Warns
    -----
    UserWarning
        If the file has weights only and there is no `config`: all that is assumed about the layers.

    Notes
    -----
    Supported are Sequential models, Functional models that are a chain of layers, and encoders with decoders as in
    Keras's tutorial on sequence-to-sequence learning: LSTM layers with ``return_state=True``, in one direction or both,
    whose states are the ``initial_state`` of the decoder's, and at most an Attention with a Concatenate; the file is
    that of the training model. A decoder that reads one-hot vectors gets a fixed table of them. A chain whose outputs
    are states, or that begins with states from inputs, is a `Model`, whose `predict` takes and returns them.

    The supported layers are InputLayer, LSTM, Bidirectional(LSTM), Conv1D, MaxPooling1D, AveragePooling1D,
    BatchNormalization, LayerNormalization, Dense, TimeDistributed(Dense), Embedding, Masking, Activation, ReLU,
    LeakyReLU, ELU, ThresholdedReLU, Softmax, Dropout, SpatialDropout1D, GaussianNoise, Identity,
    ActivityRegularization, and Flatten of a fixed number of steps. See docs/keras.md for their options.

    ``stateful=True`` is not kept: every series begins with a state of zeros; use `Model.stream` or the ``state`` of
    `Model.forward` to continue from another state. Not kept either are initializers, regularizers, constraints, which
    layers were not trainable, and the optimizer.

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.from_keras("model.keras")  # doctest: +SKIP
    >>> model.predict(X)  # doctest: +SKIP
    """
    name, logits = checked_path(path), as_bool("logits", logits)
    text = _described_by(config)
    known = None if loss is None else get_loss(loss)
    try:
        source = open_source(name)
        if source.config is not None and is_pair(source.config):
            chosen = {"config": config, "activations": activations, "logits": logits or None, "loss": loss}
            if given := [argument for argument, value in chosen.items() if value is not None]:
                raise ValueError(
                    f"the file describes an encoder and a decoder, whose outputs are scores or probabilities of tokens "
                    f"in any case: omit {', '.join(given)}"
                )
            return cast("Model", pair_of(source, bos, eos, dtype, seed))  # the type of nearly all files
        if bos is not None or eos is not None:
            raise ValueError("bos and eos are for an encoder with a decoder, which the file does not hold: omit them")
        model, assumed = _model(source, text, activations, logits, dtype, seed)
        model.loss = model.loss if known is None else known
    except ValueError as error:
        more = advice(name, "from_keras")
        raise ValueError(f"{name}: {error}{f'; {more}' if more else ''}") from error
    if assumed:
        warnings.warn(
            f"{name}: the file has weights only, and does not describe the layers. from_keras assumes that "
            f"{'; that '.join(assumed)}. State it with config=model.to_json() (or the path of a file with it), or the "
            "activations alone with activations={name of a layer: name of its activation}",
            UserWarning,
            stacklevel=2,
        )
    return model


def _described_by(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the description that the caller passes, parsed."""
    if config is None or isinstance(config, Mapping):
        return config
    if isinstance(config, str) and config.lstrip().startswith("{"):
        return json_object(config, "config")
    if isinstance(config, (str, os.PathLike)):
        name = checked_path(config)
        with open(name, "rb") as file:
            return json_object(file.read(), f"config {name!r}")
    raise TypeError(
        f"config must be the result of model.to_json() or the path of a file with it, got {short_repr(config)}"
    )


def _model(
    source: Source,
    config: Mapping[str, Any] | None,
    activations: Activations | None,
    logits: bool,
    dtype: npt.DTypeLike | None,
    seed: int,
) -> tuple[Model, list[str]]:
    """Return the model, and what is assumed about it."""
    version = source.version
    layers: Sequence[Mapping[str, Any]]
    assumed: list[str] = []
    if activations is not None and (source.config is not None or config is not None):
        which = "the file itself" if source.config is not None else "config"
        raise ValueError(f"{which} describes the model and its activations: omit activations")
    if source.config is not None:
        if config is not None:
            raise ValueError("the file itself describes its model: omit config")
        layers = carried_chain(source.config) or chain(source.config)
    elif config is not None:
        layers = chain(config)
        if version is None:  # Keras 2 writes its version to the JSON, Keras 3 does not
            version = 2 if str(config.get("keras_version", "3")).startswith("2") else 3
    else:
        layers, stated = with_activations(described(source.weights, source.root), activations)
        assumed = assumptions(layers, stated)
    parts = parts_of(layers, version)
    parameters: dict[str, Array] = {}
    features: int | None = None
    input_size: int | None = None
    joined = 1  # steps that are features by now
    stack: list[Layer] = []
    for part, sets in zip(parts, arrays_of(source.weights, source.root, parts), strict=True):
        own, out_features = converted(part, sets, features)
        parameters.update({f"{len(stack)}.{name}": array for name, array in own.items()})
        joined *= part.layers[0].steps if part.layers and isinstance(part.layers[0], Flatten) else 1
        name = part.layers[0].input_weight if part.layers else None
        if input_size is None and name is not None and name in own:
            size = part.layers[0].input_size_of(own[name])
            input_size = None if size is None else size // joined
        features = out_features
        stack += part.layers
    if not parameters:
        raise ValueError("the model has no layer with weights")
    loss = None
    if logits:
        last = stack.pop()
        if not isinstance(last, Activation) or last.kind not in _LOSSES:
            raise ValueError(
                f"logits=True needs a model that ends with a softmax or a sigmoid, got {last!r} at its end"
            )
        loss = get_loss(_LOSSES[last.kind])
    tokens = stack[0].takes_tokens
    dtype = np.result_type(np.float32, *parameters.values()) if dtype is None else dtype
    model = Model(stack, input_size=None if tokens else input_size, dtype=dtype, seed=seed)
    model.loss = loss
    give_weights(model, parameters)
    return model, assumed
