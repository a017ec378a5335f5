"""Models from the files that Keras writes, without Keras: with h5py alone (``fastlstm[keras]``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._checks import as_bool, short_repr
from ..._checks import path as checked_path
from ...layers import Activation, Embedding, Layer
from ...losses import get_loss
from ...model import Model
from ..json_object import json_object
from . import architecture
from .archive import Source, open_source
from .bare import described
from .graph import chain
from .weights import arrays_of, converted

__all__ = ["from_keras"]

Array = npt.NDArray[Any]

_LOSSES = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}


def from_keras(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    logits: bool = False,
    dtype: npt.DTypeLike | None = None,
    seed: int = 0,
) -> Model:
    """A model with the layers and weights of a file that Keras 2 or 3 wrote.

    Neither Keras nor TensorFlow is needed, only h5py (``pip install 'fastlstm[keras]'``). Nothing in the file is run.

    Parameters
    ----------
    path : path
        - ``.keras``, of ``model.save("model.keras")``;
        - ``.h5``, of ``model.save("model.h5")``;
        - ``.weights.h5``, of ``model.save_weights("model.weights.h5")``. It does not describe the layers: without
          `config` they are taken from the names and sizes of the weights, if these fit in one order only, with Keras's
          defaults for all that no weight tells (activations, masks, whether an LSTM goes backwards, how a Bidirectional
          merges); the last LSTM gives its last step.
    config : str, path or mapping, optional
        The description of a model of which `path` has only the weights: what ``model.to_json()`` gives, as a text, as
        the path of a file with it, or parsed.
    logits : bool, default False
        Leave the softmax or sigmoid at the end of the model out, as ``fit`` needs it with ``"cross_entropy"`` or
        ``"binary_cross_entropy"``: `Model.predict` gives scores, `Model.predict_proba` what Keras's ``predict`` gives.
    dtype : {"float32", "float64"}, optional
        Of the model. By default float64 if any weight is, else float32.
    seed : int, default 0
        The model's seed, for dropout and further training.

    Returns
    -------
    Model
        Built, with copies of the weights, all of them trainable. Its outputs are those of Keras's ``predict``, but for
        rounding.

    Raises
    ------
    ValueError
        If the file is damaged or no file of Keras's, its weights do not fit the description, or the model has a layer
        or an option that has no counterpart here. The message says which.
    ImportError
        If h5py is missing.
    OSError
        If the file cannot be read.

    Notes
    -----
    A model is a Sequential, or a Functional model whose layers follow each other, of InputLayer, LSTM,
    Bidirectional(LSTM), Dense, TimeDistributed(Dense), Embedding, Masking, Activation, ReLU, LeakyReLU, ELU,
    ThresholdedReLU, Softmax, Dropout, SpatialDropout1D, GaussianNoise, Identity, ActivityRegularization, and Flatten
    where it changes nothing. See docs/keras.md for their options.

    ``stateful=True`` is not kept: every series begins with a state of zeros; `Model.stream` and the ``state`` of
    `Model.forward` go on from another. Initializers, regularizers and constraints are not kept, nor which layers were
    not trainable, nor the optimizer.

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.from_keras("model.keras")  # doctest: +SKIP
    >>> model.predict(X)  # doctest: +SKIP
    """
    name, logits = checked_path(path), as_bool("logits", logits)
    text = _described_by(config)
    try:
        return _model(open_source(name), text, logits, dtype, seed)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _described_by(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The description that the caller gives."""
    if config is None or isinstance(config, Mapping):
        return config
    if isinstance(config, str) and config.lstrip().startswith("{"):
        return json_object(config, "config")
    if isinstance(config, (str, os.PathLike)):
        name = checked_path(config)
        with open(name, "rb") as file:
            return json_object(file.read(), f"config {name!r}")
    raise TypeError(
        f"config must be what model.to_json() gives, or the path of a file with it, got {short_repr(config)}"
    )


def _model(
    source: Source, config: Mapping[str, Any] | None, logits: bool, dtype: npt.DTypeLike | None, seed: int
) -> Model:
    version = source.version
    layers: Sequence[Mapping[str, Any]]
    if source.config is not None:
        if config is not None:
            raise ValueError("the file describes its model itself: leave config out")
        layers = chain(source.config)
    elif config is not None:
        layers = chain(config)
        if version is None:  # Keras 2 writes its version into the JSON, Keras 3 does not
            version = 2 if str(config.get("keras_version", "3")).startswith("2") else 3
    else:
        layers = described(source.weights, source.root)
    parts = architecture.parts(layers, version)
    parameters: dict[str, Array] = {}
    features: int | None = None
    takes: int | None = None
    stack: list[Layer] = []
    for part, sets in zip(parts, arrays_of(source.weights, source.root, parts), strict=True):
        ours, after = converted(part, sets, features)
        parameters.update({f"{len(stack)}.{name}": array for name, array in ours.items()})
        if takes is None and part.places:
            takes = sets[0][part.weights[0]].shape[0]
        features = after
        stack += part.layers
    if not parameters:
        raise ValueError("the model has no layer with weights")
    loss = None
    if logits:
        last = stack.pop()
        if not isinstance(last, Activation) or last.kind not in _LOSSES:
            raise ValueError(f"logits=True is for a model that ends with a softmax or a sigmoid, it ends with {last!r}")
        loss = get_loss(_LOSSES[last.kind])
    tokens = isinstance(stack[0], Embedding)
    dtype = np.result_type(np.float32, *parameters.values()) if dtype is None else dtype
    model = Model(stack, input_size=None if tokens else takes, dtype=dtype, seed=seed)
    model.loss = loss
    with np.errstate(over="ignore"):
        model.load_state_dict(parameters)
    for name, value in model.parameters().items():
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds numbers beyond {model.dtype.name}: leave dtype out")
    return model
