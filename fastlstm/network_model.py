"""What all models have in common: parameters by name and as one vector, freezing, scaling, metadata, files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from copy import copy
from typing import Any, TextIO, TypeVar

import numpy as np
import numpy.typing as npt

from ._checks import MANY, as_list, count, named_data, operand_type, short_repr
from ._typing import Array
from .data import SCALERS, Scaler
from .formats import safetensors
from .layers import Layer, quantized_layers, stored_tensors
from .network import Network
from .optimizers import Optimizer, TrainingKey
from .protocols import InferenceModel

__all__ = ["NetworkModel", "checked_layers", "drawn_seed", "own_scaler"]

_M = TypeVar("_M", bound="NetworkModel")


class NetworkModel:
    """Base class of the models: a network and what users do with its parameters.

    Attributes
    ----------
    network : Network
    training_key : TrainingKey
        What optimizers know the model by.
    own_optimizer : Optimizer or None
        Optimizer of the calls of `fit` that were not given one; None before the first of them.
    """

    network: Network
    target_scaler: Scaler | None
    training_key: TrainingKey
    own_optimizer: Optimizer | None
    _scaler: Scaler | None
    _metadata: dict[str, Any]

    @property
    def input_size(self) -> int | None:
        """Number of features of a step as users pass it; None before it is known."""
        raise NotImplementedError

    @property
    def layers(self) -> list[Layer]:
        """The layers, from the input to the output."""
        return self.network.layers

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of parameters and computation."""
        return self.network.dtype

    @property
    def precision(self) -> str:
        """Type of the operands of the LSTM layers' matrix products: ``"bfloat16"``, or the name of `dtype`."""
        return self.network.precision

    def to_precision(self: _M, precision: str | None) -> _M:
        """Return a copy of the model whose LSTM layers round the operands of matrix products to another type.

        Weights, sums, activations, cell states and gradients keep their type, so that one model may be trained in one
        precision and used in another. docs/bfloat16.md says what it gains and costs.

        Parameters
        ----------
        precision : {"bfloat16", "float32", "float64"} or None
            ``"bfloat16"`` for models of dtype float32; None or the name of the model's dtype: no rounding.

        Returns
        -------
        model
            A model with its own weights, which begins its own training.

        Raises
        ------
        TypeError, ValueError
            If the precision is none of these.
        RuntimeError
            If the model is quantized.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(32), fl.Dense(2)], input_size=3)
        >>> X = np.random.default_rng(0).normal(size=(100, 20, 3))
        >>> rounded = model.to_precision("bfloat16")
        >>> bool(abs(rounded.predict(X) - model.predict(X)).max() < 0.02)
        True
        """
        if quantized_layers(self.layers):
            raise RuntimeError("the model is quantized: call to_precision on the one of which it was made")
        model = copy(self)
        model.network.set_precision(operand_type(precision, self.dtype))
        return model

    @property
    def seed(self) -> int:
        """Seed of the initial weights, of dropout, and by default of the order of the training cases."""
        return self.network.seed

    @property
    def built(self) -> bool:
        """Whether the input size is known and the parameters exist."""
        return self.network.built

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is integer token ids, (batch, time)."""
        return self.network.takes_tokens

    @property
    def scaler(self) -> Scaler | None:
        """Scaling of the inputs; setting it stores a copy, so that two models never share one."""
        return self._scaler

    @scaler.setter
    def scaler(self, value: Scaler | None) -> None:
        self._scaler = own_scaler("scaler", value)

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes of the user, which are saved with the model; it can be changed, and set to another mapping."""
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, Any] | None) -> None:
        self._metadata = {} if value is None else named_data("metadata", value)

    # ------------------------------------------------------------------------------------------ freezing

    @property
    def frozen(self) -> bool:
        """Whether `freeze` has made the parameters read-only."""
        return self.network.parameters.frozen

    def freeze(self: _M) -> _M:
        """Make the parameters read-only, for serving, so that the weights are packed for the kernels only once.

        A model that is not frozen packs them in every call of `predict`, because they might have been written to. This
        takes most of the time of a call with few series and steps. A frozen model has one packed copy, which all
        threads and streams use; and `predict` computes arrays and lists of series in one call of C, so that many
        threads do not wait for each other. The results have the same bits.

        The parameters move to new memory, so that earlier views no longer refer to them; the gradients and all memory
        of training are freed. `fit`, ``forward(training=True)``, `backward`, `zero_grad`, `gradients`,
        `load_state_dict` and ``optimizer.step`` raise RuntimeError. A copy or pickle of a frozen model is frozen, but a
        saved file is not: `load` returns a model that is not frozen. Scalers do not change.

        Do not call it while another thread uses the model.

        Returns
        -------
        The model
            This one, so that ``model = fl.load(path).freeze()`` works.

        Raises
        ------
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3).freeze()
        >>> model.frozen, model.predict(np.zeros((1, 5, 3))).shape
        (True, (1, 2))
        """
        self.network.freeze()
        self.own_optimizer = None
        return self

    def unfreeze(self: _M) -> _M:
        """Undo `freeze`: make the parameters writable again, in new memory, with gradients of zero.

        Do not call it while another thread uses the model.

        Returns
        -------
        The model
            This one.
        """
        self.network.unfreeze()
        return self

    # ------------------------------------------------------------------------------------------ parameters

    @property
    def flat_parameters(self) -> Array:
        """All parameters in one vector."""
        return self.network.parameters.flat

    @flat_parameters.setter
    def flat_parameters(self, value: Array) -> None:
        _require_same("flat_parameters", value, self.flat_parameters)

    @property
    def flat_gradients(self) -> Array:
        """Gradients of all parameters, in the same layout; empty while the model is frozen."""
        return self.network.parameters.flat_gradients

    @flat_gradients.setter
    def flat_gradients(self, value: Array) -> None:
        _require_same("flat_gradients", value, self.flat_gradients)

    @property
    def trainable_ranges(self) -> list[slice] | None:
        """Parts of `flat_parameters` that an optimizer changes; None: all.

        The others are those of layers that are not ``trainable``, and running statistics.
        """
        return self.network.parameters.trainable_ranges

    def parameters(self) -> dict[str, Array]:
        """Return writable views of the parameters by name, such as ``"0.weight_ih_l0"`` for layer 0.

        Returns
        -------
        dict of str to ndarray
            Values that are written to the views are used from the next pass on. The views of a frozen model are
            read-only.

        Raises
        ------
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        >>> {name: p.shape for name, p in model.parameters().items() if name.startswith("1.")}
        {'1.weight': (2, 4), '1.bias': (2,)}
        """
        self.network.require_built()
        return self.network.parameters.named()

    def gradients(self) -> dict[str, Array]:
        """Return writable views of the gradients.

        Returns
        -------
        dict of str to ndarray
            Names and shapes as in `parameters`.

        Raises
        ------
        RuntimeError
            If the model is frozen or not built yet.
        """
        self.network.require_built()
        self.network.parameters.require_unfrozen("gradients")
        return self.network.parameters.named_gradients()

    def zero_grad(self) -> None:
        """Set all gradients to zero; `backward` adds to them.

        Raises
        ------
        RuntimeError
            If the model is frozen.
        """
        self.network.parameters.require_unfrozen("zero_grad")
        self.network.parameters.zero_gradients()

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters.

        Returns
        -------
        dict of str to ndarray
            Names and shapes as in `parameters`; writable also if the model is frozen.

        Raises
        ------
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model, twin = fl.Model([fl.LSTM(4)], input_size=3, seed=1), fl.Model([fl.LSTM(4)], seed=2)
        >>> twin.load_state_dict(model.state_dict())
        >>> np.array_equal(twin.flat_parameters, model.flat_parameters)
        True
        """
        return {name: value.copy() for name, value in self.parameters().items()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Replace the parameters.

        A model that is not built yet takes its input size from the tensors.

        Parameters
        ----------
        state : mapping of str to array
            Names and arrays as returned by `state_dict`. PyTorch tensors on the CPU are accepted.

        Raises
        ------
        TypeError
            If `state` is not a mapping, or a value is not an array.
        ValueError
            If a name is missing or unknown, or a shape differs. No parameter has changed then, nor after a MemoryError.
        RuntimeError
            If the model is frozen.
        """
        self.network.load_state_dict(state)

    def reset_training(self) -> None:
        """Let the next call of `fit` begin a new training with the current weights.

        Every optimizer forgets the moments and the numbers of updates and epochs of this model, and the random numbers
        of dropout begin again. A copy of the model and a model that `load` returns have no moments and begin with epoch
        1 as well; a `Checkpoint` saves all that is needed to continue.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
        >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
        >>> history = model.fit(X, y, loss="mse", epochs=2, verbose=0)
        >>> model.fit(X, y, loss="mse", epochs=1, verbose=0).first_epoch
        3
        >>> model.reset_training()
        >>> model.fit(X, y, loss="mse", epochs=1, verbose=0).first_epoch
        1
        """
        self.training_key = TrainingKey()
        self.own_optimizer = None
        self.network.passes = 0

    # ------------------------------------------------------------------------------------------ tables

    def summary(self: InferenceModel, file: TextIO | None = None) -> None:
        """Print a table of the layers, their outputs, their numbers of parameters, and which are not trainable.

        Parameters
        ----------
        file : text file, optional
            File to print to, by default standard output.

        Raises
        ------
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import fastlstm as fl
        >>> fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3).summary()
        layer                   output      parameters
        0 LSTM(hidden_size=4)   (batch, 4)         144
        1 Dense(output_size=2)  (batch, 2)          10
        total                   float32            154
        """
        from .summary import text_summary  # few programs need it

        print(text_summary(self), file=sys.stdout if file is None else file)

    def _repr_html_(self: InferenceModel) -> str:
        from .summary import html_summary  # notebooks need it

        return html_summary(self)

    # ------------------------------------------------------------------------------------------ files

    def get_config(self) -> dict[str, Any]:
        """Return the model's architecture and settings, without its weights.

        Returns
        -------
        dict
            Data for JSON.
        """
        return {
            **self.network.get_config(),
            "input_size": self.input_size,
            "scaler": None if self.scaler is None else self.scaler.get_config(),
            **self._own_config(),
            # Checked again, since it may have been changed in place.
            **({"metadata": named_data("metadata", self.metadata)} if self.metadata else {}),
        }

    def _own_config(self) -> dict[str, Any]:
        """Return what `get_config` says of this kind of model only."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to one ``.safetensors`` file: architecture, parameters, scalers, names, metadata.

        The file is written atomically: after a crash or a kill, an older file is unchanged. Other tools can read the
        tensors, which are named as in `parameters`. `load` restores the model.

        Parameters
        ----------
        path : path
            The file, conventionally with the suffix ``.safetensors``.

        Raises
        ------
        OSError
            If the file cannot be written.
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model, X = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3), np.ones((5, 10, 3))
        >>> model.save("model.safetensors")
        >>> np.array_equal(fl.load("model.safetensors").predict(X), model.predict(X))
        True
        """
        safetensors.save(path, self.saved_tensors(), self.get_config())

    def saved_tensors(self) -> dict[str, Array]:
        """Return the tensors of the model's file.

        Returns
        -------
        dict of str to ndarray
            Views of the parameters, named as in `parameters`, and copies of the arrays of fitted scalers, such as
            ``"scaler.mean"``.

        Raises
        ------
        RuntimeError
            If the model is not built yet.
        """
        tensors = dict(self.parameters())
        names = self.network.parameters.names
        for index, layer in quantized_layers(self.layers):
            tensors.update({f"{names[index]}.{name}": tensor for name, tensor in stored_tensors(layer).items()})
        for name in SCALERS:
            scaler: Scaler | None = getattr(self, name)
            if scaler is not None and scaler.fitted:
                tensors.update({f"{name}.{key}": value for key, value in scaler.state().items()})
        return tensors

    def restore(self, tensors: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        """Set weights, scalers, number of passes and what is trainable to those of a model of the same layers.

        Parameters
        ----------
        tensors : mapping of str to ndarray
            Result of `saved_tensors`.
        config : mapping
            Result of `get_config`.
        """
        self.load_state_dict({name: value for name, value in tensors.items() if name.partition(".")[0] not in SCALERS})
        for name in SCALERS:
            scaler: Scaler | None = getattr(self, name)
            if scaler is not None:
                scaler.load_state(
                    {key.partition(".")[2]: value for key, value in tensors.items() if key.partition(".")[0] == name}
                )
        for layer, saved in zip(self.layers, config["layers"], strict=True):
            layer.trainable = saved.get("trainable", True)
        self.network.passes = count("steps", config["steps"], least=0)

    def __copy__(self: _M) -> _M:
        """Return a copy with its own network, scalers and metadata."""
        model = type(self).__new__(type(self))
        model.__dict__.update(self.__dict__, network=copy(self.network), training_key=TrainingKey(), own_optimizer=None)
        for name in (*SCALERS, "metadata"):
            setattr(model, name, getattr(self, name))  # which stores a copy
        return model


def checked_layers(example: str, **stacks: Any) -> list[list[Layer]]:
    """Return the layers of a new model as lists, one for each argument that a user gives; `example` is one of them."""
    checked = []
    for name, layers in stacks.items():
        stack = as_list(name, layers, f"layers such as {example}")
        if not stack or not all(isinstance(layer, Layer) for layer in stack):
            raise TypeError(f"{name} must be a list of layers such as {example}, got {short_repr(layers)}")
        checked.append(stack)
    every = [layer for stack in checked for layer in stack]
    if len({id(layer) for layer in every}) < len(every):
        raise ValueError("the same layer object is twice in the model: make a new object for each layer")
    if any(layer.parameters for layer in every):
        raise ValueError("a layer already belongs to another model: make new layer objects")
    return checked


def drawn_seed(seed: Any) -> int:
    """Return the seed of a new model; None: one that is drawn."""
    return int.from_bytes(os.urandom(4), "little") if seed is None else count("seed", seed, least=0, bits=MANY)


def _require_same(name: str, value: Array, own: Array) -> None:
    """Raise AttributeError unless both are one array, as after ``model.flat_parameters -= step``."""
    if value is not own:
        raise AttributeError(f"{name} cannot be replaced, because the layers hold views of it: write to {name}[:]")


def own_scaler(name: str, value: Scaler | None) -> Scaler | None:
    """Return a copy of a scaler; TypeError if it is none, ValueError if it cannot be undone, as a target's must be."""
    if value is not None and not isinstance(value, Scaler):
        raise TypeError(f"{name} must be a fl.Standardizer, a fl.RobustScaler or None, got {short_repr(value)}")
    if value is not None and name == "target_scaler":
        if value.missing != "error":
            raise ValueError(
                f"target_scaler has missing={value.missing!r}, which is for inputs: leave it out, targets that are "
                "missing (nan) have weight 0 in any case"
            )
        if value.per_series:
            raise ValueError(
                "target_scaler has per_series=True, expected one scale for all series, since predictions are returned "
                "in the original units: leave it out"
            )
    return copy(value)
