"""The model: layers over one flat parameter vector, and the verbs that users know."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from . import serialization, training
from ._checks import MANY, checkpoints, count, flag, float_type, listed, shown
from .buffers import aligned_zeros, sealed
from .callbacks import Callback
from .config import resolve_threads
from .data import SCALERS, Standardizer
from .decoding import ctc_decode
from .history import History
from .inference import Metrics
from .layers import (
    LSTM,
    Dense,
    Embedding,
    Layer,
    LayerTape,
    Tape,
    connect,
    layer_from_config,
    mixed_seed,
    stack_parameters,
    takes_tokens,
)
from .layers.skipping import backward_counting, forward_counting
from .losses import CTC, BinaryCrossEntropy, Loss, is_known
from .optimizers import Optimizer
from .reference import sigmoid, softmax
from .sequences import Sequences, as_sequences, plain_array, real_numbers
from .states import State, checked_states
from .stream import Stream, new_stream

__all__ = ["Model"]

Array = npt.NDArray[Any]


class Model:
    """A stack of layers that reads (batch, time, features) arrays.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output, e.g. ``[fl.LSTM(64), fl.Dense(9)]``.
    input_size : int, optional
        Features of a step. By default taken from the first data that the model sees; not for models that begin with an
        `Embedding`.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and computation. Inputs are converted.
    seed : int, default 0
        Seed of the initial weights, of dropout, and (unless `fit` gets its own) of the order of the training cases.
    scaler : Standardizer, optional
        Scales the inputs of `fit`, `predict` and `evaluate`; fitted on the training data if it is not fitted yet, and
        saved with the model.
    target_scaler : Standardizer, optional
        The same for the targets of a regression; predictions come back in the original units.
    classes : sequence of str, optional
        Names of the classes, for `predict_classes` and string labels. Learnt by `fit` from string labels.

    Attributes
    ----------
    flat_parameters, flat_gradients : ndarray, shape (n_parameters,)
        All parameters, and their gradients, one after the other. A frozen model has no gradients.
    output_size : int
        Features of the output.
    per_step : bool
        Whether the output is (batch, time, features) rather than (batch, features).

    Raises
    ------
    TypeError, ValueError
        If the layers do not fit each other, or an argument is wrong.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X, y = np.random.default_rng(0).standard_normal((8, 20, 3)), np.arange(8) % 2
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], seed=0)
    >>> history = model.fit(X, y, epochs=2, verbose=0)
    >>> model.predict(X).shape
    (8, 2)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_size: int | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int = 0,
        scaler: Standardizer | None = None,
        target_scaler: Standardizer | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.layers = listed("layers", layers, "layers such as [fl.LSTM(64), fl.Dense(2)]")
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise TypeError(f"layers must be a list of layers such as [fl.LSTM(64), fl.Dense(2)], got {shown(layers)}")
        if len({id(layer) for layer in self.layers}) < len(self.layers):
            raise ValueError("the same layer object stands twice in the model: make one object for each place")
        if any(layer.parameters for layer in self.layers):
            raise ValueError("a layer belongs to another model already: make new layer objects")
        self.dtype = float_type(dtype)
        for name, value in (("scaler", scaler), ("target_scaler", target_scaler)):
            if value is not None and not isinstance(value, Standardizer):
                raise TypeError(f"{name} must be a fl.Standardizer or None, got {shown(value)}")
        self.seed = count("seed", seed, least=0, bits=MANY)
        self.scaler = scaler
        self.target_scaler = target_scaler
        self.classes = None if classes is None else [str(name) for name in listed("classes", classes, "names")]
        self.loss: Loss | None = None
        self.input_size: int | None = None
        self.output_size = 0
        self.per_step = False
        self.flat_parameters = np.empty(0, self.dtype)
        self.flat_gradients = np.empty(0, self.dtype)
        self._steps = 0  # training passes so far: each draws its own dropout masks
        self._tapes = threading.local()
        self._frozen = False
        if self.takes_tokens:
            if input_size is not None:
                raise ValueError("a model that begins with an Embedding has no input_size: leave it out")
            self.build(0)
        elif input_size is not None:
            self.build(count("input_size", input_size))

    # ------------------------------------------------------------------------------------------ building

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is integer token ids, (batch, time)."""
        return takes_tokens(self.layers)

    @property
    def built(self) -> bool:
        """Whether the input size is known and the parameters exist."""
        return self.input_size is not None

    def build(self, input_size: int) -> None:
        """Makes the parameters, drawn from the seed.

        Parameters
        ----------
        input_size : int
            Features of a step; 0 for a model that begins with an `Embedding`.

        Raises
        ------
        ValueError
            If the layers do not fit each other, or the model is built already for another size.
        """
        if self.input_size is not None:
            if input_size != self.input_size:
                raise ValueError(
                    f"input_size is {input_size}, expected {self.input_size}, for which the model is built"
                )
            return
        signal = connect(self.layers, input_size)[-1]
        size = sum(math.prod(spec.shape) for _, _, spec in stack_parameters(self.layers))
        if size > sys.maxsize // 8:
            raise ValueError(f"the layers have {size} parameters, more than can be addressed: give them smaller sizes")
        parameters, gradients = aligned_zeros(size, self.dtype), aligned_zeros(size, self.dtype, place=1)
        rng, start = np.random.default_rng(self.seed), 0
        for _, _, spec in stack_parameters(self.layers):
            part = slice(start, start + math.prod(spec.shape))
            parameters[part].reshape(spec.shape)[...] = spec.initialize(rng, spec.shape)
            start = part.stop
        self._place(parameters, gradients)
        self.output_size, self.per_step = signal.features, signal.per_step
        self.input_size = input_size

    def _place(self, parameters: Array, gradients: Array | None) -> None:
        """Makes these flat vectors those of the model, and hands each layer its views of them.

        All that takes memory comes first: where there is none the model stays what it was.
        """
        views: list[tuple[Layer, dict[str, Array], dict[str, Array]]] = [(layer, {}, {}) for layer in self.layers]
        start = 0
        for index, _, spec in stack_parameters(self.layers):
            _, of_parameters, of_gradients = views[index]
            part = slice(start, start + math.prod(spec.shape))
            of_parameters[spec.name] = parameters[part].reshape(spec.shape)
            if gradients is not None:
                of_gradients[spec.name] = gradients[part].reshape(spec.shape)
            start = part.stop
        if gradients is None:
            gradients = np.empty(0, self.dtype)
        tapes = threading.local()  # what the tapes hold belongs to the old vectors
        for layer, of_parameters, of_gradients in views:
            layer.parameters, layer.gradients = of_parameters, of_gradients
        self.flat_parameters, self.flat_gradients, self._tapes = parameters, gradients, tapes

    def _build_from(self, inputs: Sequences) -> None:
        """Checks inputs, and builds the model for them if it is not built yet."""
        if self.input_size is not None and inputs.features != self.input_size:
            raise ValueError(
                f"{inputs.name} has {inputs.features} features, the model was built for {self.input_size}: "
                "the last axis must hold the features in the order of the training data"
            )
        inputs.check_finite(self.dtype)  # last: it may take long
        self.build(inputs.features)
        first = self.layers[0]
        if isinstance(first, Embedding):
            inputs.check_tokens(first.num_embeddings)

    def _require_built(self) -> None:
        if not self.built:
            raise RuntimeError(
                "the model is not built yet, its input size is unknown: call fit or forward first, or give input_size"
            )

    # ------------------------------------------------------------------------------------------ freezing

    @property
    def frozen(self) -> bool:
        """Whether `freeze` has made the parameters read-only."""
        return self._frozen

    def freeze(self) -> Model:
        """Makes the parameters read-only, for serving: each thread then arranges the weights for the kernels once.

        By default every `predict` arranges them anew, because anything might have written to them. That is most of the
        time of a call with few series and steps. The results are the same bits.

        The parameters move to new memory, so that views taken before do not reach them any more; the gradients and all
        memory of training are given back. `fit`, ``forward(training=True)``, `backward`, `zero_grad`, `gradients`,
        `load_state_dict` and ``optimizer.step`` raise RuntimeError. A copy or pickle of a frozen model is frozen; a
        saved file does not tell, what `load` gives is not frozen. Scalers are not concerned.

        Not while another thread uses the model.

        Returns
        -------
        Model
            This model, so that ``model = fl.load(path).freeze()`` does.

        Raises
        ------
        RuntimeError
            If the model is not built yet.
        """
        self._require_built()
        if not self._frozen:
            self._place(sealed(self.flat_parameters), None)
            self._frozen = True
        return self

    def unfreeze(self) -> Model:
        """Makes the parameters writable again, in new memory, with gradients of zero; undoes `freeze`.

        Not while another thread uses the model.

        Returns
        -------
        Model
            This model.
        """
        if self._frozen:
            parameters = aligned_zeros(self.flat_parameters.size, self.dtype)
            parameters[:] = self.flat_parameters
            self._place(parameters, aligned_zeros(parameters.size, self.dtype, place=1))
            self._frozen = False
        return self

    def _require_unfrozen(self, what: str) -> None:
        if self._frozen:
            raise RuntimeError(f"the model is frozen, its parameters are read-only: call unfreeze() before {what}")

    # ------------------------------------------------------------------------------------------ parameters

    def parameters(self) -> dict[str, Array]:
        """Writable views of the parameters, by name: ``"0.weight_ih_l0"`` is that of layer 0.

        Returns
        -------
        dict of str to ndarray
            What is written to them is used from the next pass on. Read-only while the model is frozen.
        """
        self._require_built()
        return {f"{k}.{name}": p for k, layer in enumerate(self.layers) for name, p in layer.parameters.items()}

    def gradients(self) -> dict[str, Array]:
        """Writable views of the gradients, named and shaped as `parameters`; RuntimeError while the model is frozen."""
        self._require_built()
        self._require_unfrozen("gradients")
        return {f"{k}.{name}": g for k, layer in enumerate(self.layers) for name, g in layer.gradients.items()}

    def zero_grad(self) -> None:
        """Sets all gradients to zero; `backward` adds to them. RuntimeError while the model is frozen."""
        self._require_unfrozen("zero_grad")
        self.flat_gradients.fill(0)

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters, by name; writable ones of a frozen model, too."""
        return {name: value.copy() for name, value in self.parameters().items()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Replaces the parameters.

        A model that is not built yet takes its input size from the tensors.

        Parameters
        ----------
        state : mapping of str to array
            As `state_dict` gives it. PyTorch tensors on the CPU will do.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs. No parameter has changed then, nor after a MemoryError.
        RuntimeError
            If the model is frozen.
        """
        self._require_unfrozen("load_state_dict")
        if not isinstance(state, Mapping):
            raise TypeError(f"state must map names to arrays, as state_dict() does, got a {type(state).__name__}")
        arrays = {name: plain_array(value, str(name)) for name, value in state.items()}
        if not self.built:
            first = next((k for k, layer in enumerate(self.layers) if isinstance(layer, (LSTM, Dense))), -1)
            weight = arrays.get(f"{first}.weight_ih_l0", arrays.get(f"{first}.weight"))
            if weight is None or weight.ndim != 2:
                raise ValueError(f"the tensors {sorted(arrays)} do not tell the input size: give Model its input_size")
            self.build(weight.shape[1])
        parameters = self.parameters()
        missing, unknown = sorted(parameters.keys() - arrays.keys()), sorted(arrays.keys() - parameters.keys(), key=str)
        if missing or unknown:
            raise ValueError(
                f"the tensors do not fit the model, expected the names of state_dict(): missing {missing}, "
                f"unknown {unknown}"
            )
        for name, parameter in parameters.items():
            if arrays[name].shape != parameter.shape:
                raise ValueError(f"{name} has shape {arrays[name].shape}, expected {parameter.shape}")
            if arrays[name].dtype.kind not in "fiu":
                raise ValueError(f"{name} has dtype {arrays[name].dtype}, expected real numbers")
        new = [arrays[name].reshape(-1) for name in parameters]  # in the order of the flat vector
        np.copyto(self.flat_parameters, np.concatenate(new, dtype=self.dtype, casting="unsafe") if new else 0)

    def to_torch_state_dict(self, prefixes: Sequence[str] | None = None) -> dict[str, Array]:
        """The parameters under the names that a PyTorch module has for them.

        ``module.load_state_dict({k: torch.from_numpy(v) for k, v in model.to_torch_state_dict().items()})`` puts them
        into a module of the same layers and sizes; `from_torch` is the way back. PyTorch is not needed.

        Parameters
        ----------
        prefixes : sequence of str, optional
            Names of the module's layers, one for each layer here that has parameters: ``["lstm", "fc"]`` gives
            ``"lstm.weight_ih_l0"``, ``"fc.weight"``. By default a model that is one LSTM has names without a prefix, as
            ``nn.LSTM`` itself, and others the index in `layers`, as ``nn.Sequential``: ``"0.weight_ih_l0"``.

        Returns
        -------
        dict of str to ndarray
            Copies, in the model's dtype and PyTorch's shapes.

        Raises
        ------
        RuntimeError
            If the model is not built yet.
        TypeError, ValueError
            If the prefixes are not as many different texts, or an LSTM has an option that PyTorch's has not
            (such as ``residual`` or ``peepholes``).
        """
        self._require_built()
        from .pytorch import to_torch_state_dict  # here: that module builds models

        return to_torch_state_dict(self, prefixes)

    def to_onnx(
        self, path: str | os.PathLike[str], *, with_lengths: bool = False, dtype: npt.DTypeLike = "float32"
    ) -> None:
        """Writes the model to an ONNX file (opset 17), for other runtimes. Needs ``pip install 'fastlstm[onnx]'``.

        The file's input ``x`` is (batch, time, features), or integer token ids (batch, time), its output ``y`` what
        `predict` gives, scalers included; batch and time may be of any size. `from_onnx` is the way back.

        Parameters
        ----------
        path : path
            Conventionally ending in ``.onnx``. Written whole or not at all.
        with_lengths : bool, default False
            The file gets a second input ``lengths``, int32 (batch,): the valid steps of each case, as in `predict`.
        dtype : {"float32", "float64"}, default "float32"
            Of the file's numbers. ONNX Runtime has no LSTM in float64.

        Raises
        ------
        ImportError
            Without the package onnx.
        ValueError
            If a layer computes what ONNX's operators cannot; the message names it and the option.
        RuntimeError
            If the model is not built yet.
        OSError
            If the file cannot be written.
        """
        from .onnx.writer import save_onnx  # here: that module knows all layers

        save_onnx(self, path, with_lengths=with_lengths, dtype=dtype)

    # ------------------------------------------------------------------------------------------ passes

    def _tape(self, training: bool) -> Tape:
        """This thread's tape; inference has one of its own, so that it does not disturb a pending backward pass."""
        name = "training" if training else "inference"
        tape: Tape | None = getattr(self._tapes, name, None)
        if tape is None:
            tape = Tape(len(self.layers))
            tape.dtype = self.dtype
            tape.training = training
            setattr(self._tapes, name, tape)
        return tape

    def _forward(
        self,
        x: Array,
        lengths: Array | None,
        training: bool,
        n_threads: int | None = None,
        checkpoint_every: int = 0,
    ) -> Array:
        """The output for one batch of checked inputs: a buffer that is valid until this thread's next pass."""
        tape = self._tape(training)
        tape.lengths = lengths
        tape.mask = None
        tape.frozen = self._frozen
        tape.n_threads = resolve_threads(n_threads)
        tape.checkpoint_every = checkpoint_every
        tape.pending = False
        if lengths is not None and self.layers[0].reads_padding:
            # What stands in the padding may be NaN, or no token at all; as zeros it does no harm.
            x = x.copy()
            x[np.arange(x.shape[1]) >= lengths[:, None]] = 0
        if training:
            self._steps += 1
        for index, (layer, mine) in enumerate(zip(self.layers, tape.layers, strict=True)):
            if training and layer.draws:
                mine.seed = mixed_seed(self.seed, self._steps, index)
            mine.skipped = None
            x = layer.forward(x, tape, mine) if tape.mask is None else forward_counting(layer, x, tape, mine)
        tape.out_shape = x.shape
        return x

    def _forward_from(
        self,
        states: Sequence[State | None] | None,
        x: Array,
        lengths: Array | None,
        training: bool,
        n_threads: int | None = None,
        checkpoint_every: int = 0,
    ) -> Array:
        """`_forward` from checked initial states, one for each LSTM layer object; None: from those of the layers."""
        recurrent = self._recurrent_tapes(self._tape(training))
        try:
            for mine, state in zip(recurrent, states or [None] * len(recurrent), strict=True):
                mine.state_in = state
            return self._forward(x, lengths, training, n_threads, checkpoint_every)
        finally:
            for mine in recurrent:
                mine.state_in = None

    def _final_states(self, training: bool) -> list[State]:
        """Copies of the states that this thread's last pass has ended in, one for each LSTM layer object."""
        tapes = self._recurrent_tapes(self._tape(training))
        return [(mine.state_out[0].copy(), mine.state_out[1].copy()) for mine in tapes if mine.state_out]

    def _backward(self, d_out: Array, need_dx: bool = False) -> Array | None:
        """Adds the gradients of this thread's last training pass; gives that of the input if it is wanted."""
        tape = self._tape(True)
        gradient: Array | None = d_out
        for index in reversed(range(len(self.layers))):
            assert gradient is not None
            layer, mine = self.layers[index], tape.layers[index]
            backward = layer.backward if mine.skipped is None else partial(backward_counting, layer)
            gradient = backward(gradient, tape, mine, need_dx or index > 0)
        return gradient

    def forward(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        state: State | Sequence[State] | None = None,
        training: bool = False,
        return_state: bool = False,
        n_threads: int | None = None,
        checkpoint_every: int | None = None,
    ) -> Any:
        """Runs the layers over one batch, for custom loops; `predict` is for everything else.

        No scaler is applied.

        Parameters
        ----------
        X : array (batch, time, features) or (batch, time), or list of (time, features) arrays
            Token ids (batch, time) for a model that begins with an `Embedding`.
        lengths : int array (batch,), optional
            Valid steps of each case; what lies beyond is never read.
        state : (h, c), or a list of one (h, c) for each LSTM layer object, optional
            Initial states, each (num_layers * directions, batch, hidden_size); by default zeros, or what a layer with
            ``learn_state`` has learnt. A direction that goes backward begins with its state at each case's end.
        training : bool, default False
            Apply dropout, and keep what `backward` needs. `X` must not change before `backward`, which reads it again.
        return_state : bool, default False
            Also give the final states, as a list of (h, c).
        n_threads : int, optional
            Threads to use; by default as configured. The result does not depend on it.
        checkpoint_every : int, optional
            With `training`: keep what `backward` needs of about so many steps only; see `fit`.

        Returns
        -------
        out : ndarray, shape (batch, time, output_size) or (batch, output_size)
            Zero or meaningless beyond a case's length.
        states : list of (h, c)
            Only with `return_state`.

        Raises
        ------
        TypeError, ValueError
            If the inputs do not fit the model or hold NaN or infinity.
        RuntimeError
            If the model is frozen and `training` is true.
        """
        training, return_state = flag("training", training), flag("return_state", return_state)
        if training:
            self._require_unfrozen("forward(training=True)")
        every = checkpoints(checkpoint_every)
        inputs = as_sequences(X, lengths, tokens=self.takes_tokens)
        self._build_from(inputs)
        x, batch_lengths = inputs.batch(slice(0, len(inputs)), self.dtype)
        states = self._checked_states(state, len(x))
        passes = self._steps
        try:
            out = self._forward_from(states, x, batch_lengths, training, n_threads, every).copy()
            result = (out, self._final_states(training)) if return_state else out
        except Exception:
            self._steps = passes  # tried again, it draws the same masks
            raise
        self._tape(training).pending = training
        return result

    def backward(
        self, d_out: npt.ArrayLike, d_state: State | Sequence[State] | None = None, return_d_state: bool = False
    ) -> Any:
        """Back-propagates through this thread's last ``forward(training=True)``, once; adds to the gradients.

        Parameters
        ----------
        d_out : array, the shape of that forward's output
            Gradient of the loss with respect to the output; beyond a case's length it is ignored.
        d_state : (h, c), or a list of one (h, c) for each LSTM layer object, optional
            Gradients with respect to the final states.
        return_d_state : bool, default False
            Also give the gradients with respect to the initial states, as a list of (h, c).

        Returns
        -------
        dX : ndarray, shape (batch, time, features), or None for token ids
            Gradient with respect to the input.
        d_states : list of (h, c)
            Only with `return_d_state`.

        Raises
        ------
        RuntimeError
            If there was no ``forward(training=True)`` before, or its backward has been taken already, or the model is
            frozen.
        ValueError
            If a shape differs.
        """
        self._require_unfrozen("backward")
        tape = self._tape(True)
        if not tape.pending:
            raise RuntimeError("backward needs a forward(..., training=True) before it, one for each backward")
        gradient = real_numbers(d_out, False, "d_out")
        if gradient.shape != tape.out_shape:
            raise ValueError(f"d_out has shape {gradient.shape}, expected that of the output, {tape.out_shape}")
        with np.errstate(over="ignore"):
            gradient = np.array(gradient, self.dtype, order="C")
        if tape.lengths is not None and self.per_step:
            gradient[np.arange(gradient.shape[1]) >= tape.lengths[:, None]] = 0
        recurrent = self._recurrent_tapes(tape)
        for mine, one in zip(recurrent, self._checked_states(d_state, len(gradient)), strict=True):
            mine.d_state_out = one
        tape.want_d_state = return_d_state
        tape.pending = False
        try:
            dx = self._backward(gradient, need_dx=True)
        finally:
            tape.want_d_state = False
            for mine in recurrent:
                mine.d_state_out = None
        dx = None if dx is None else dx.copy()
        if not return_d_state:
            return dx
        return dx, [mine.d_state_in for mine in recurrent]

    def _recurrent_tapes(self, tape: Tape) -> list[LayerTape]:
        return [mine for layer, mine in zip(self.layers, tape.layers, strict=True) if isinstance(layer, LSTM)]

    def _checked_states(self, state: State | Sequence[State] | None, batch: int) -> list[State | None]:
        """One (h, c), or None, for each LSTM layer object."""
        lstms = [layer for layer in self.layers if isinstance(layer, LSTM)]
        if state is None:
            return [None] * len(lstms)
        expected = [(*layer.state_shapes(batch), self.dtype) for layer in lstms]
        return list(checked_states([state] if isinstance(state, tuple) else state, expected, "LSTM layer objects"))

    # ------------------------------------------------------------------------------------------ the verbs

    def fit(
        self,
        X: Sequences | npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        lengths: npt.ArrayLike | None = None,
        loss: Loss | str = "cross_entropy",
        optimizer: Optimizer | str | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        class_weight: training.ClassWeight | None = None,
        sample_weight: npt.ArrayLike | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Callback] = (),
        verbose: int = 1,
        metrics: Metrics | None = None,
        n_threads: int | None = None,
        seed: int | None = None,
        checkpoint_every: int | None = None,
        tbptt_steps: int | None = None,
        resume: str | os.PathLike[str] | bool | None = None,
    ) -> History:
        self._require_unfrozen("fit")
        return training.fit(
            self,
            X,
            y,
            lengths=lengths,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            validation_split=validation_split,
            class_weight=class_weight,
            sample_weight=sample_weight,
            shuffle=shuffle,
            callbacks=callbacks,
            verbose=verbose,
            metrics=metrics,
            n_threads=n_threads,
            seed=seed,
            checkpoint_every=checkpoint_every,
            tbptt_steps=tbptt_steps,
            resume=resume,
        )

    def predict(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> Any:
        return training.predict(self, X, lengths, batch_size=batch_size, n_threads=n_threads)

    def predict_proba(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> Any:
        """Probabilities of a classifier.

        Parameters
        ----------
        X, lengths, batch_size, n_threads
            As in `predict`.

        Returns
        -------
        ndarray or list of ndarray
            As `predict` gives it, through a softmax over the outputs; through a sigmoid, one by one, if the model was
            trained with ``"binary_cross_entropy"``.

        Raises
        ------
        ValueError
            If the model was trained for regression.
        """
        out = self.predict(X, lengths, batch_size=batch_size, n_threads=n_threads)
        if self.loss is not None and self.loss.metric_name != "accuracy" and not isinstance(self.loss, CTC):
            raise ValueError(f"this model was trained for regression (loss={self.loss.name!r}): use predict")
        to_probabilities = sigmoid if isinstance(self.loss, BinaryCrossEntropy) else softmax
        if isinstance(out, list):
            return [to_probabilities(one) for one in out]
        return to_probabilities(out)

    def predict_classes(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> Any:
        """The most probable class of each case, or of each step.

        Parameters
        ----------
        X, lengths, batch_size, n_threads
            As in `predict`.

        Returns
        -------
        ndarray or list of ndarray, shape (n,), (n, T) or n times (T_i,)
            Names out of `classes` if the model has them, otherwise integers. After training with
            ``"binary_cross_entropy"``: 0 or 1 for each output, (n, K) or (n, T, K), without the last axis if K is 1.
            After training with ``"ctc"``: a list of each case's labels, as `ctc_decode` gives them without a beam.

        Raises
        ------
        ValueError
            If the model was trained for regression.
        """
        if isinstance(self.loss, CTC):
            out = self.predict(X, lengths, batch_size=batch_size, n_threads=n_threads)
            found = ctc_decode(out, None if isinstance(out, list) else lengths, blank=self.loss.blank)
            return found if self.classes is None else [np.asarray(self.classes)[labels] for labels in found]
        probabilities = self.predict_proba(X, lengths, batch_size=batch_size, n_threads=n_threads)
        if isinstance(probabilities, list):
            return [self._to_classes(one) for one in probabilities]
        return self._to_classes(probabilities)

    def _to_classes(self, probabilities: Array) -> Array:
        if isinstance(self.loss, BinaryCrossEntropy):
            chosen: Array = (probabilities >= 0.5).astype(np.int64)
            return chosen[..., 0] if chosen.shape[-1] == 1 else chosen
        index: Array = probabilities.argmax(axis=-1)
        return index if self.classes is None else np.asarray(self.classes)[index]

    def evaluate(
        self,
        X: Sequences | npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        lengths: npt.ArrayLike | None = None,
        loss: Loss | str | None = None,
        sample_weight: npt.ArrayLike | None = None,
        metrics: Metrics | None = None,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        return training.evaluate(
            self,
            X,
            y,
            lengths=lengths,
            loss=loss,
            sample_weight=sample_weight,
            metrics=metrics,
            batch_size=batch_size,
            n_threads=n_threads,
        )

    # One text for each verb: that of the function which does the work.
    fit.__doc__ = training.fit.__doc__
    predict.__doc__ = training.predict.__doc__
    evaluate.__doc__ = training.evaluate.__doc__

    def stream(self, batch_size: int = 1, n_threads: int | None = None) -> Stream:
        """The model for data that come in step by step.

        Parameters
        ----------
        batch_size : int, default 1
            Series side by side, each with a state of its own.
        n_threads : int, optional
            Threads to use; by default as configured. Small steps run on one.

        Returns
        -------
        Stream
            ``stream.step(x)`` with x (batch_size, features) gives (batch_size, output_size) for this step;
            ``stream.run(x)`` with x (batch_size, steps, features) gives (batch_size, steps, output_size). Both write to
            ``out=`` where that is given, and then allocate nothing. Where the layers keep only the last step, the
            answer of each step is that for the series so far. Token ids have no axis of features. Values are in the
            units of `predict`.

        Raises
        ------
        ValueError
            If a layer needs the end of a series: ``bidirectional``, ``reverse``. If a `Masking` does not see the data
            themselves. Of the stream, if a step is one to be skipped: leave it out.
        RuntimeError
            If the model is not built yet.
        """
        return new_stream(self, batch_size, n_threads)

    def summary(self, file: TextIO | None = None) -> None:
        """Prints a table of the layers, their outputs and their numbers of parameters.

        Parameters
        ----------
        file : text file, optional
            Where to; standard output by default.
        """
        self._require_built()
        rows = [("layer", "output", "parameters")]
        signals = connect(self.layers, self.input_size or 0)
        for index, (layer, signal) in enumerate(zip(self.layers, signals, strict=True)):
            shape = f"(batch, time, {signal.features})" if signal.per_step else f"(batch, {signal.features})"
            rows.append((f"{index} {layer!r}", shape, f"{sum(p.size for p in layer.parameters.values()):,}"))
        rows.append(("total", self.dtype.name, f"{self.flat_parameters.size:,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            line = f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}"
            print(line, file=sys.stdout if file is None else file)

    def __repr__(self) -> str:
        return f"Model([{', '.join(map(repr, self.layers))}])"

    # ------------------------------------------------------------------------------------------ files

    def get_config(self) -> dict[str, Any]:
        """Everything about the model but its numbers, JSON-able."""
        return {
            "layers": [{"type": type(layer).__name__, **layer.get_config()} for layer in self.layers],
            "input_size": self.input_size,
            "dtype": self.dtype.name,
            "seed": self.seed,
            "steps": self._steps,
            "classes": self.classes,
            # Of a loss that the user wrote a file can say nothing: it holds no code.
            "loss": self.loss.get_config() if self.loss is not None and is_known(self.loss) else None,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to one ``.safetensors`` file: architecture, parameters, scalers, names of the classes.

        The file appears whole or not at all: a crash or a kill in the middle leaves an older file as it was. Other
        tools can read the tensors, which are named as in `parameters`.

        Parameters
        ----------
        path : path
            Conventionally ending in ``.safetensors``.

        Raises
        ------
        OSError
            If the file cannot be written.
        RuntimeError
            If the model is not built yet.
        """
        serialization.save(path, self.saved_tensors(), self.get_config())

    def saved_tensors(self) -> dict[str, Array]:
        """What a file of the model holds beside `get_config`: views of the parameters, and fitted scalers."""
        tensors = dict(self.parameters())
        for name in SCALERS:
            scaler: Standardizer | None = getattr(self, name)
            if scaler is not None and scaler.fitted:
                tensors.update({f"{name}.{key}": value for key, value in scaler.state().items()})
        return tensors

    def restore(self, tensors: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        """Takes over `saved_tensors` and the number of training passes of a model that has the same layers."""
        self.load_state_dict({name: value for name, value in tensors.items() if name.partition(".")[0] not in SCALERS})
        for name in SCALERS:
            scaler: Standardizer | None = getattr(self, name)
            if scaler is not None:
                state = {key: tensors[f"{name}.{key}"] for key in ("mean", "scale") if f"{name}.{key}" in tensors}
                fitted = Standardizer.from_state(state)
                scaler.mean_, scaler.scale_ = fitted.mean_, fitted.scale_
        self._steps = count("steps", config["steps"], least=0)

    def __getstate__(self) -> dict[str, Any]:
        """For copy and multiprocessing: everything but the tapes, which belong to this process's threads."""
        state = self.__dict__.copy()
        del state["_tapes"]
        state["flat_gradients"] = None
        if self.built:
            state["flat_parameters"] = self.flat_parameters.copy()
        state["layers"] = [layer_from_config({"type": type(k).__name__, **k.get_config()}) for k in self.layers]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        parameters, input_size, frozen = state["flat_parameters"], state["input_size"], state["_frozen"]
        self.__dict__.update(state, flat_gradients=np.empty(0, state["dtype"]), input_size=None, _frozen=False)
        self._tapes = threading.local()
        if input_size is not None:
            self.build(input_size)
            self.flat_parameters[:] = parameters
        if frozen:
            self.freeze()
