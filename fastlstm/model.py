"""The model: what users hold in their hands. The work is done on the floors below."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from ._checks import MANY, as_list, count, float_type, short_repr
from ._typing import Array, State
from .data import SCALERS, Standardizer
from .data.sequences import Sequences
from .formats import safetensors
from .inference import manual
from .inference.evaluate import evaluate
from .inference.metrics import Metrics
from .inference.predict import predict
from .inference.stream import Stream, new_stream
from .layers import Layer
from .losses import CrossEntropy, Loss, is_known
from .network import Network
from .optimizers import Optimizer
from .training import loop
from .training.callbacks import Callback
from .training.history import History
from .training.settings import ClassWeight, Settings

__all__ = ["Model"]


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
        stack = as_list("layers", layers, "layers such as [fl.LSTM(64), fl.Dense(2)]")
        if not stack or not all(isinstance(layer, Layer) for layer in stack):
            got = short_repr(layers)
            raise TypeError(f"layers must be a list of layers such as [fl.LSTM(64), fl.Dense(2)], got {got}")
        if len({id(layer) for layer in stack}) < len(stack):
            raise ValueError("the same layer object stands twice in the model: make one object for each place")
        if any(layer.parameters for layer in stack):
            raise ValueError("a layer belongs to another model already: make new layer objects")
        float_dtype = float_type(dtype)
        for name, value in (("scaler", scaler), ("target_scaler", target_scaler)):
            if value is not None and not isinstance(value, Standardizer):
                raise TypeError(f"{name} must be a fl.Standardizer or None, got {short_repr(value)}")
        self.network = Network(stack, float_dtype, count("seed", seed, least=0, bits=MANY))
        self.scaler = scaler
        self.target_scaler = target_scaler
        self.classes = None if classes is None else [str(name) for name in as_list("classes", classes, "names")]
        self.loss: Loss | None = None
        if self.takes_tokens:
            if input_size is not None:
                raise ValueError("a model that begins with an Embedding has no input_size: leave it out")
            self.build(0)
        elif input_size is not None:
            self.build(count("input_size", input_size))

    # ------------------------------------------------------------------------------------------ building

    @property
    def layers(self) -> list[Layer]:
        """The layers, from the input to the output."""
        return self.network.layers

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of parameters and computation."""
        return self.network.dtype

    @property
    def seed(self) -> int:
        """Seed of the initial weights, of dropout, and by default of the order of the training cases."""
        return self.network.seed

    @property
    def input_size(self) -> int | None:
        """Features of a step; 0 for token ids, None before the model is built."""
        return self.network.input_size

    @property
    def output_size(self) -> int:
        """Features of the output."""
        return self.network.output_size

    @property
    def per_step(self) -> bool:
        """Whether the output is (batch, time, features) rather than (batch, features)."""
        return self.network.per_step

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is integer token ids, (batch, time)."""
        return self.network.takes_tokens

    @property
    def built(self) -> bool:
        """Whether the input size is known and the parameters exist."""
        return self.network.built

    def build(self, input_size: int) -> None:
        """Make the parameters, drawn from the seed.

        Parameters
        ----------
        input_size : int
            Features of a step; 0 for a model that begins with an `Embedding`.

        Raises
        ------
        ValueError
            If the layers do not fit each other, or the model is built already for another size.
        """
        self.network.build(input_size)

    # ------------------------------------------------------------------------------------------ freezing

    @property
    def frozen(self) -> bool:
        """Whether `freeze` has made the parameters read-only."""
        return self.network.parameters.frozen

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
        self.network.freeze()
        return self

    def unfreeze(self) -> Model:
        """Makes the parameters writable again, in new memory, with gradients of zero; undoes `freeze`.

        Not while another thread uses the model.

        Returns
        -------
        Model
            This model.
        """
        self.network.unfreeze()
        return self

    # ------------------------------------------------------------------------------------------ parameters

    @property
    def flat_parameters(self) -> Array:
        """All parameters, one after the other."""
        return self.network.parameters.flat

    @property
    def flat_gradients(self) -> Array:
        """The gradients of all parameters, in the same layout; empty while the model is frozen."""
        return self.network.parameters.flat_gradients

    def parameters(self) -> dict[str, Array]:
        """Writable views of the parameters, by name: ``"0.weight_ih_l0"`` is that of layer 0.

        Returns
        -------
        dict of str to ndarray
            What is written to them is used from the next pass on. Read-only while the model is frozen.
        """
        self.network.require_built()
        return self.network.parameters.named()

    def gradients(self) -> dict[str, Array]:
        """Writable views of the gradients, named and shaped as `parameters`; RuntimeError while the model is frozen."""
        self.network.require_built()
        self.network.parameters.require_unfrozen("gradients")
        return self.network.parameters.named_gradients()

    def zero_grad(self) -> None:
        """Sets all gradients to zero; `backward` adds to them. RuntimeError while the model is frozen."""
        self.network.parameters.require_unfrozen("zero_grad")
        self.network.parameters.zero_gradients()

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
        self.network.load_state_dict(state)

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
        from .formats.torch.write import to_torch_state_dict  # few programs need it

        return to_torch_state_dict(self.network, prefixes)

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
        from .formats.onnx.write import save_onnx  # few programs need it

        save_onnx(self, path, with_lengths=with_lengths, dtype=dtype)

    # ------------------------------------------------------------------------------------------ passes

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
        return manual.forward(self.network, X, lengths, state, training, return_state, n_threads, checkpoint_every)

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
        return manual.backward(self.network, d_out, d_state, return_d_state)

    # ------------------------------------------------------------------------------------------ fit, predict, evaluate

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
        class_weight: ClassWeight | None = None,
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
        """Train a model.

        The model is built from the data if it is not built yet; its scaler or target scaler is fitted on the training
        part if it is not fitted yet. Everything is checked before any weight changes. Another call continues from the
        present weights.

        Parameters
        ----------
        X : array (n, T, F) or (n, T), memory map, or list of (T_i, F) arrays
            Inputs of any real type; read batch by batch.
        y : array or list of arrays
            Targets. Labels (n,), or (n, T) for a model with one output per step, as integers from 0 (-100: ignore
            this one) or strings; values (n,), (n, K), (n, T) or (n, T, K); for a list of series with one output
            per step, a list of (T_i,) or (T_i, K) arrays. For CTC a list of label sequences, or a padded array; see
            `fastlstm.losses.CTC`.
        lengths : int array (n,), optional
            Valid steps of each case of an array. What lies beyond is never read.
        loss : str or Loss, default "cross_entropy"
            ``"cross_entropy"`` (labels), ``"binary_cross_entropy"`` (0 and 1), ``"mse"``, ``"mae"``, ``"huber"``,
            ``"quantile"`` (values), ``"ctc"`` (sequences of labels that are not aligned with the steps), or an
            object such as ``fl.Huber(delta=0.5)``.
        optimizer : Optimizer or str, optional
            Default ``Adam(lr=1e-3)``. An optimizer object keeps its state between calls; its schedule starts
            anew.
        epochs : int, default 10
            Passes over the training data.
        batch_size : int, default 32
            Cases in each update; the last batch of an epoch may be smaller.
        validation_data : tuple, optional
            ``(X, y)``, ``(X, y, lengths)`` or ``(X, y, lengths, sample_weight)``, evaluated after each epoch; lengths
            may be None.
        validation_split : float, default 0.0
            Instead: the share of the data, drawn at random (with equal class shares if `y` is one label per
            case), that is kept out of training for validation. For overlapping windows of one series split by
            time yourself, or training cases will overlap the validation cases.
        class_weight : dict or "balanced", optional
            Weight of each class in the training loss, by label; classes not named have weight 1. "balanced" means
            ``positions / (classes * positions of the class)``. For labels, and for one column of binary targets.
        sample_weight : array (n,) or (n, T), optional
            Weight of each case or step in loss and metric, >= 0. Where it is 0, `y` is not looked at: values that
            are not known may be NaN there.
        shuffle : bool, default True
            Whether each epoch takes the cases in a new random order.
        callbacks : iterable of Callback
            What else is to happen; see `fastlstm.callbacks`.
        verbose : {0, 1, 2}, default 1
            1: a progress bar on stderr if that is a terminal. 2: one printed line per epoch. 0: nothing.
        metrics : list or dict of callables, optional
            Functions ``metric(y_true, y_pred) -> float`` for the validation data; see `evaluate`.
        n_threads : int, optional
            Threads to use; by default as configured. The result does not depend on it.
        seed : int, optional
            Seed of the order and of `validation_split`; by default that of the model.
        checkpoint_every : int, optional
            For long series: the LSTM layers keep their gates and cells of about so many steps only (rounded up to the
            steps over which a gradient is summed at a time) and the state before each such segment; the backward pass
            computes a segment's gates again before it goes through it (Chen et al. 2016, arXiv:1604.06174). Memory then
            goes with ``checkpoint_every + T / checkpoint_every``, least at the square root of T, rather than with T; a
            batch takes about a third longer; the results are the same bits. By default all steps are kept.
        tbptt_steps : int, optional
            Truncated back-propagation through time (Williams & Peng 1990), for series so long that one update for each
            would be few: the series of a batch are cut into segments of this many steps, each segment is an update, and
            the state is carried from segment to segment, but no gradient. Each series begins with the initial state of
            the layers; the order is random among series, never within one. For models that answer at each step and
            have one direction. Validation works the same way. Where lengths differ, the number of updates of an epoch
            depends on which series share a batch; schedules count those of the first epoch. By default each batch is
            one update.
        resume : path or bool, optional
            Continue a run that a `Checkpoint` saved: from this file, or, if True, from the newest file of the
            `Checkpoint` among the callbacks; True begins a run if there is none yet. Everything else is given as in the
            first call, also the data; what differs is refused. Only `epochs` may be another number, if the learning
            rates do not depend on it. The result has the same bits as that of a run without an interruption; see
            docs/checkpoints.md.

        Returns
        -------
        History
            ``"loss"``, ``"accuracy"`` (cross-entropies), ``"mae"`` (regression, in the original units of `y`) or
            ``"label_error_rate"`` (CTC), the same with ``"val_"``, and ``"lr"``. With a target scaler the loss is that
            of the scaled targets. After Ctrl-C `History.interrupted` is true and the model has the weights of that
            moment.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, the data hold NaN or infinity, or `resume` leads to another run. No weight has
            changed.
        OSError
            If the file to resume from cannot be read (no weight has changed), or a callback cannot write.
        RuntimeError
            If the model is frozen.
        TrainingDiverged
            If loss, gradient or weights become NaN or infinite. The model has the last weights whose loss was
            finite.
        """
        self.network.parameters.require_unfrozen("fit")
        settings = Settings.checked(
            self.seed,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            class_weight=class_weight,
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
        return loop.fit(
            self, X, y, settings, lengths=lengths, sample_weight=sample_weight, validation_data=validation_data
        )

    def predict(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> Any:
        """Outputs of a built model, batch by batch.

        Parameters
        ----------
        X : array (n, T, F) or (n, T), memory map, or list of (T_i, F) arrays
            Inputs, in the units of the training data: the model's scaler is applied here.
        lengths : int array (n,), optional
            Valid steps of each case of an array.
        batch_size : int, default 256
            Cases at a time; it bounds the memory and does not change the result.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        ndarray or list of ndarray
            (n, outputs); with one output per step (n, T, outputs), where steps beyond a length are zero, or for a
            list of series a list of (T_i, outputs) arrays. The model's dtype. Class scores (logits), or values in
            the original units if the model has a target scaler.

        Raises
        ------
        TypeError, ValueError
            If the input does not fit or holds NaN or infinity.
        """
        return predict(self, X, lengths, batch_size=batch_size, n_threads=n_threads)

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
        loss = CrossEntropy() if self.loss is None else self.loss
        return [loss.probabilities(one) for one in out] if isinstance(out, list) else loss.probabilities(out)

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
        out = self.predict(X, lengths, batch_size=batch_size, n_threads=n_threads)
        loss = CrossEntropy() if self.loss is None else self.loss
        return loss.decide(out, lengths, self.classes)

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
        """Loss and metrics of a built model on labelled data.

        Parameters
        ----------
        X, y, lengths
            Inputs and targets as in `Model.fit`.
        loss : str or Loss, optional
            By default the one that the model was trained with.
        sample_weight : array (n,) or (n, T), optional
            Weight of each case or step in the loss and in the loss's own metric.
        metrics : list or dict of callables, optional
            Functions ``metric(y_true, y_pred) -> float`` beside the loss's own metric; a list is named after the
            functions. They are given every position that counts at once: `y_true` (N,) labels or (N, K) values,
            and `y_pred` (N, outputs) as `predict` returns them. For a function of class labels, such as those of
            scikit-learn, pass ``lambda y, scores: f1_score(y, scores.argmax(1), average="macro")``.
        batch_size : int, default 256
            Cases at a time.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        dict of str to float
            ``"loss"``, then ``"accuracy"`` for the cross-entropies, ``"mae"`` for the regression losses or
            ``"label_error_rate"`` for CTC, then `metrics`. With a target scaler the loss is that of the scaled
            targets, as in training, and ``"mae"`` and `metrics` are in the original units. For several outputs with a
            target each ``"mae"`` is their mean, and ``"mae_0"``, ``"mae_1"``, ... are those of the single ones.

        Raises
        ------
        TypeError, ValueError
            If inputs, targets or weights do not fit the model or hold NaN or infinity.
        """
        return evaluate(
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
            ``stream.step(x)`` with x (batch_size, features) gives (batch_size, output_size) for this step, an array
            that the next step overwrites; ``stream.run(x)`` with x (batch_size, steps, features) gives (batch_size,
            steps, output_size). Where the layers keep only the last step, the answer of each step is that for the
            series so far. Token ids have no axis of features. Values are in the units of `predict`.

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
        self.network.require_built()
        rows = [("layer", "output", "parameters")]
        signals = self.network.signals()
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
        """Return everything about the model except its numbers, fit for JSON."""
        return {
            **self.network.get_config(),
            "classes": self.classes,
            # A file holds no code: it can say nothing of a loss that the user wrote.
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
        safetensors.save(path, self.saved_tensors(), self.get_config())

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
        self.network.passes = count("steps", config["steps"], least=0)

    def __copy__(self) -> Model:
        """A copy with a network of its own; the scalers are shared."""
        model = Model.__new__(type(self))
        model.__dict__.update(self.__dict__, network=copy(self.network))
        return model
