"""The public model; the floors below do the work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ._arguments import explain_arguments
from ._checks import as_bool, as_list, count, distinct_names, float_type, operand_type, short_repr
from ._typing import Array, Dataset, State
from .data import Scaler
from .data.sequences import Sequences
from .inference import manual
from .inference.evaluate import evaluate
from .inference.inputs import input_features
from .inference.metrics import Metrics
from .inference.outputs import OUTPUT_KINDS, OutputKind, check_link, decide, loss_of, output_kind, probabilities
from .inference.predict import in_shape, predict
from .layers import Layer
from .losses import Loss, get_loss, is_known
from .network import Network
from .network_model import NetworkModel, checked_layers, drawn_seed, own_scaler
from .optimizers import Optimizer, TrainingKey

if TYPE_CHECKING:
    from .formats.c.report import CReport
    from .inference.quantizing import QuantizationReport
    from .inference.stream import Stream
    from .training.callbacks import Callback
    from .training.history import History
    from .training.messages import Communicator
    from .training.settings import ClassWeight

__all__ = ["Model"]


class Model(NetworkModel):
    """A stack of layers that reads arrays (batch, time, features).

    Parameters
    ----------
    layers : sequence of Layer
        The layers from the input to the output, for example ``[fl.LSTM(64), fl.Dense(9)]``.
    input_size : int, optional
        Number of features of a step, by default taken from the first data. Leave it out if the model begins with an
        `Embedding`. It is the number of features that you pass: a scaler with ``missing="mask"`` adds its channels to
        it, and, since it knows them only when it is fitted, lets the model be built by `fit`.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and computation, to which inputs are converted.
    precision : {"bfloat16", "float32", "float64"}, optional
        Type to which the operands of the LSTM layers' matrix products are rounded; by default `dtype`, so that they are
        not. ``"bfloat16"``, with dtype float32, makes large layers up to three times as fast on processors that have
        instructions for it (docs/bfloat16.md); weights, sums, activations, cell states and gradients stay float32.
    seed : int or None, default 0
        Seed of the initial weights, of dropout, and (unless `fit` gets its own) of the order of the training cases.
        None draws a seed, which `seed` then tells.
    scaler : Standardizer or RobustScaler, optional
        Scaling of the inputs of `fit`, `predict` and `evaluate`. The model works with a copy, which is fitted on the
        training data if it is not fitted yet, and saved with the model. With ``missing="mask"`` the inputs may have
        missing values (NaN); the layers then read indicator channels beside the features. See docs/missing.md.
    target_scaler : Standardizer or RobustScaler, optional
        The same for the targets of a regression; predictions are returned in the original units. Missing targets need
        no setting.
    classes : sequence of str, optional
        Names of the classes, for `predict_classes` and string labels; for binary cross-entropy with one output those of
        0 and 1. `fit` sets them when the labels are strings.
    feature_names : sequence of str, optional
        Names of the features, in the order of the last axis, such as the ``features`` of `fastlstm.data.from_frame`;
        for messages, tables and the model's file.

    Attributes
    ----------
    loss : Loss or None
        Loss of the training. Setting it says what the outputs of a model are whose weights come from elsewhere.
    output_kind : str or None
        What the outputs are, from the loss or a final sigmoid or softmax.
    target_shape : tuple of int or None
        Axes of the values that `fit` was given as targets, after those of cases and steps; None for labels.
    own_optimizer : Optimizer or None
        Optimizer of the calls of `fit` that were not given one; None before the first of them.
    quantization_report : QuantizationReport or None
        What `quantize` has changed, in the model that it has returned; not saved.
    metadata : dict
        What you want to remember of the model, such as its name, version and date: data for JSON, saved with the model.
        ``fastlstm info`` shows it.
    flat_parameters, flat_gradients : ndarray, shape (n_parameters,)
        All parameters in one vector, and their gradients in another. A frozen model has no gradients.
    output_size : int
        Number of features of the output.
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

    _features: int | None = None
    """Number of features that the user has given, if the scaler adds channels to them."""

    @explain_arguments
    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_size: int | None = None,
        dtype: npt.DTypeLike = "float32",
        precision: str | None = None,
        seed: int | None = 0,
        scaler: Scaler | None = None,
        target_scaler: Scaler | None = None,
        classes: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        (stack,) = checked_layers("[fl.LSTM(64), fl.Dense(2)]", layers=layers)
        float_dtype = float_type(dtype)
        self.network = Network(stack, float_dtype, drawn_seed(seed), operand_type(precision, float_dtype))
        self.scaler = scaler
        self.target_scaler = target_scaler
        self.classes = None if classes is None else [str(name) for name in as_list("classes", classes, "names")]
        self._feature_names: list[str] | None = None
        self.metadata = None
        self._loss: Loss | None = None
        self._stored_kind: OutputKind | None = None
        self.target_shape: tuple[int, ...] | None = None
        self.training_key = TrainingKey()
        self.own_optimizer: Optimizer | None = None
        self.quantization_report: QuantizationReport | None = None
        if self.takes_tokens:
            if input_size is not None:
                raise ValueError("a model that begins with an Embedding has no input_size: leave it out")
            self.build(0)
        elif input_size is not None:
            self.build(count("input_size", input_size))
        self.feature_names = feature_names

    # ------------------------------------------------------------------------------------------ building

    @property
    def input_size(self) -> int | None:
        """Number of features of a step as users pass it; 0 for token ids, None before it is known.

        The layers read more than these, if the scaler adds channels for missing values.
        """
        scaler = self.scaler
        unknown = scaler is not None and scaler.missing != "error" and not scaler.fitted and not self.takes_tokens
        if not self.built or (unknown and self._features is not None):
            return self._features
        return input_features(self)

    @property
    def output_size(self) -> int:
        """Number of features of the output."""
        return self.network.output_size

    @property
    def per_step(self) -> bool:
        """Whether the output is (batch, time, features) rather than (batch, features)."""
        return self.network.per_step

    @property
    def target_scaler(self) -> Scaler | None:
        """Scaling of the targets; setting it stores a copy."""
        return self._target_scaler

    @target_scaler.setter
    def target_scaler(self, value: Scaler | None) -> None:
        self._target_scaler = own_scaler("target_scaler", value)

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the features, in the order of the last axis of X; None if they have none.

        It can be set to a sequence of strings, one for each feature.
        """
        return None if self._feature_names is None else list(self._feature_names)

    @feature_names.setter
    def feature_names(self, value: Sequence[str] | None) -> None:
        if value is not None and self.takes_tokens:
            raise ValueError("a model that begins with an Embedding reads token ids, which have no features to name")
        names = None if value is None else distinct_names("feature_names", value)
        if names is not None and self.input_size not in (None, len(names)):
            raise ValueError(
                f"feature_names has {len(names)} names, expected {self.input_size}: one for each feature of the model"
            )
        self._feature_names = names

    @property
    def loss(self) -> Loss | None:
        """Loss of the training, which says what the outputs are; None if it is not known.

        It can be set to a loss or its name, for a model whose weights come from elsewhere.
        """
        return self._loss

    @loss.setter
    def loss(self, value: Loss | str | None) -> None:
        loss = None if value is None else get_loss(value)
        if loss is not None:
            check_link(self.network, loss)
        self._loss = loss

    @property
    def output_kind(self) -> OutputKind | None:
        """What the outputs are: of the loss, or of a final sigmoid or softmax; None if neither is known.

        One of "class_scores" and "class_probabilities" (exclusive classes), "binary_scores" and "binary_probabilities"
        (independent ones), "sequence_scores" and "sequence_probabilities" (CTC), and "values".
        """
        kind = output_kind(self.network, self._loss)
        return self._stored_kind if kind is None else kind

    def build(self, input_size: int) -> None:
        """Create the parameters and draw their initial values from the seed.

        Parameters
        ----------
        input_size : int
            Number of features of a step; 0 for a model that begins with an `Embedding`.

        Raises
        ------
        TypeError
            If `input_size` is not an integer.
        ValueError
            If the layers do not fit each other, or the model is already built for another size.

        Notes
        -----
        With a scaler of ``missing="mask"`` that is not fitted the number of channels is not known yet: `fit` then
        creates the parameters.
        """
        self._build(input_size, None)

    def build_to_load(self, input_size: int) -> None:
        """Do `build` for weights that are loaded next, without drawing others: `numpy.random` takes 10 ms to import."""
        self._build(input_size, np.zeros(1))

    def _build(self, input_size: int, values: Array | None) -> None:
        size = count("input_size", input_size, least=0 if self.takes_tokens else 1)
        scaler, known = self.scaler, self.input_size
        if scaler is None or scaler.missing == "error" or self.takes_tokens:
            self.network.build(size, values)
            return
        for expected, what in ((known, "of the model"), (scaler.features, "on which the scaler was fitted")):
            if expected is not None and size != expected:
                raise ValueError(f"input_size is {size}, expected {expected}, the number of features {what}")
        self._features = size
        if scaler.fitted or scaler.missing == "mask-all":
            self.network.build(size + (scaler.added_channels if scaler.fitted else size), values)

    def warm_up(self, steps: int = 1, batch_size: int = 1, n_threads: int | None = None) -> Model:
        """Compute a prediction for zeros, so that the first real one finds everything prepared.

        A service calls it when it starts: a frozen model packs its weights then, and memory and threads are ready.

        Parameters
        ----------
        steps : int, default 1
            Steps of the series; with as many as the service will get, its memory is reserved, too.
        batch_size : int, default 1
            Number of series.
        n_threads : int, optional
            As in `predict`.

        Returns
        -------
        Model
            This model, so that ``model = fl.load(path).freeze().warm_up()`` works.

        Raises
        ------
        TypeError, ValueError
            If an argument is not an integer of at least 1.
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3).freeze().warm_up(steps=100)
        """
        self.network.require_built()
        shape = count("batch_size", batch_size), count("steps", steps)
        if self.takes_tokens:
            self.predict(np.zeros(shape, np.int64), n_threads=n_threads)
        else:
            self.predict(np.zeros((*shape, input_features(self)), self.dtype), n_threads=n_threads)
        return self

    # ------------------------------------------------------------------------------------------ weights of 8 bits

    @property
    def quantized(self) -> bool:
        """Whether layers have weights of 8 bits: `quantize`."""
        return any(layer.quantized is not None for layer in self.layers)

    @explain_arguments
    def quantize(
        self,
        calibrate: Sequences | npt.ArrayLike | Dataset | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        skip: Sequence[int] | int = (),
        n_threads: int | None = None,
    ) -> Model:
        """Return a model for prediction whose LSTM and Dense layers have weights of 8 bits.

        Its file takes about a quarter of the size, and large layers are computed two to three times as fast. Each unit
        has a scale of its own; h, which lies between -1 and 1, and the inputs of the layers are rounded to 255 levels;
        the sums of products are exact, and activations and cells are computed in float32. docs/precision.md says what
        this costs and gains.

        The result is frozen: it predicts, evaluates, streams and is saved, and `load` gives it back with the same bits.
        It cannot be trained, changed or unfrozen, nor exported by `to_onnx` and `to_c`. This model does not change.

        Parameters
        ----------
        calibrate : array, list or data set, optional
            Typical inputs, as `predict` takes them; some hundred series are enough. Each feature of each layer's input
            then has a scale of its own, from its largest magnitude; what lies beyond it later is cut to it. Without
            them each row of inputs is scaled by its own largest magnitude at each step, so that a feature that is
            always much larger than the others takes their accuracy.
        lengths : int array (n,), optional
            Valid steps of each case of an array.
        skip : int or list of int, optional
            Numbers of layers that keep their weights; `quantization_report` of a first attempt says which change the
            outputs most.
        n_threads : int, optional
            Threads for the predictions of the calibration data.

        Returns
        -------
        Model
            Its `quantization_report` lists the layers and, with `calibrate`, the change of the outputs.

        Raises
        ------
        TypeError, ValueError
            If the data or `skip` do not fit, the model's dtype is not float32, no layer can be quantized, or a weight
            is not finite.
        RuntimeError
            If the model has no weights, or is quantized already.

        Notes
        -----
        LSTM layers with other cells than the plain one (projections, peepholes, layer normalization, dropout of states,
        other activations) keep float32, as do all other layers; the report says why.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(32), fl.Dense(2)], input_size=3)
        >>> X = np.random.default_rng(0).normal(size=(100, 20, 3))
        >>> small = model.quantize(X)
        >>> bool(abs(small.predict(X) - model.predict(X)).max() < 0.01)
        True
        >>> small.save("small.safetensors")
        >>> np.array_equal(fl.load("small.safetensors").predict(X), small.predict(X))
        True
        """
        from .inference.quantizing import quantize  # few programs need it

        model = copy(self)
        model.quantization_report = quantize(model, calibrate, lengths, skip=skip, n_threads=n_threads)
        return model

    # ------------------------------------------------------------------------------------------ parameters

    def to_torch_state_dict(self, prefixes: Sequence[str] | None = None) -> dict[str, Array]:
        """Return the parameters under the names that a PyTorch module gives them.

        ``module.load_state_dict({k: torch.from_numpy(v) for k, v in model.to_torch_state_dict().items()})`` loads them
        into a module of the same layers and sizes; `from_torch` does the reverse. PyTorch is not needed.

        Parameters
        ----------
        prefixes : sequence of str, optional
            Names of the module's layers, one for each layer of this model that has parameters: ``["lstm", "fc"]`` gives
            ``"lstm.weight_ih_l0"``, ``"fc.weight"``. By default the names of a model of a single LSTM have no prefix,
            as in ``nn.LSTM``, and others have the index in `layers`, as in ``nn.Sequential``: ``"0.weight_ih_l0"``.

        Returns
        -------
        dict of str to ndarray
            Copies, in the model's dtype and PyTorch's shapes.

        Raises
        ------
        RuntimeError
            If the model is not built yet.
        TypeError, ValueError
            If the prefixes are not different strings, one for each layer with parameters, or an LSTM has an option that
            PyTorch's LSTM does not have (such as ``residual`` or ``peepholes``).

        Examples
        --------
        >>> import fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        >>> list(model.to_torch_state_dict(["lstm", "fc"]))[-2:]
        ['fc.weight', 'fc.bias']
        """
        from .formats.torch.write import to_torch_state_dict  # few programs need it

        return to_torch_state_dict(self.network, prefixes)

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        *,
        with_lengths: bool = False,
        with_state: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        """Write the model to an ONNX file (opset 17) for other runtimes; needs ``pip install 'fastlstm[onnx]'``.

        The input ``x`` of the file is (batch, time, features), or integer token ids (batch, time); its output ``y`` is
        the result of `predict`, including scalers. Batch and time may have any size. `from_onnx` reads such files.

        Parameters
        ----------
        path : path
            The file, conventionally with the suffix ``.onnx``. It is written atomically.
        with_lengths : bool, default False
            Whether the file has a second input ``lengths``, int32 (batch,): the valid steps of each case, as in
            `predict`.
        with_state : bool, default False
            Whether the file has the states of the LSTM layers as inputs and outputs, so that series continue from call
            to call: for layer number i the inputs ``state_i_h`` (num_layers, batch, hidden_size or proj_size) and
            ``state_i_c`` (num_layers, batch, hidden_size), zeros for new series, and the outputs ``final_i_h`` and
            ``final_i_c``. `from_onnx` does not read such files.
        dtype : {"float32", "float64"}, default "float32"
            Type of the file's numbers. ONNX Runtime has no LSTM in float64. If a mean of the model's scaler exceeds
            1024 times its scale, such as that of a time in seconds, ``x`` is float64 in any case, and scaled before it
            is rounded; the same holds for ``y`` and the target scaler.

        Raises
        ------
        ImportError
            If the package onnx is not installed.
        ValueError
            If ONNX's operators cannot compute a layer; the message names the layer and the option. With `with_state`
            also if the model remembers more of a series than the states of its LSTM layers, or it has none.
        RuntimeError
            If the model is not built yet.
        OSError
            If the file cannot be written.
        """
        from .formats.onnx.write import save_onnx  # few programs need it

        save_onnx(self, path, with_lengths=with_lengths, with_state=with_state, dtype=dtype)

    def to_c(
        self,
        name: str,
        directory: str | os.PathLike[str] | None = None,
        *,
        dtype: str = "float32",
        calibrate: Any = None,
        selftest: int = 10,
        style: str = "files",
    ) -> CReport:
        """Write the model as C for microcontrollers: C99 without malloc, stdio, libm or static state.

        The code answers step by step, in raw units, with the bits of `stream` (``dtype="float32"``), and takes what
        `stream` takes; docs/firmware.md has the details. `fastlstm.compiled` runs it on this machine.

        Parameters
        ----------
        name : str
            Prefix of the files and of all names in them: ``"pf"`` gives pf.h, pf.c, pf_init, pf_step, PF_INPUTS.
        directory : path, optional
            Folder for the files, which is made if it does not exist. None: they are in the report only.
        dtype : {"float32", "int8"}, default "float32"
            ``"int8"``: weights of 8 bits, activations of 16 bits and integer sums, for processors that compute float
            in software, and a quarter of the memory; the report says what it costs in accuracy.
        calibrate : array or list of series, or (X, y), for int8 only
            Typical inputs in raw units, as for `predict`, from which the ranges of the activations are taken. With
            targets y, as for `evaluate`, the report has the accuracy, or the root mean squared error, of both forms.
        selftest : int, default 10
            Number of steps of the self-test that the files contain.
        style : {"files", "header"}, default "files"
            ``"header"``: a single header, with the code where ``NAME_IMPLEMENTATION`` is defined.

        Returns
        -------
        CReport
            The files with their sizes; ``print`` shows them.

        Raises
        ------
        RuntimeError
            If the model is not built yet.
        ValueError
            If the model cannot be streamed, for example since it is bidirectional, or C cannot have it; the message
            says what to change.
        OSError
            If a file cannot be written.

        Examples
        --------
        >>> import fastlstm as fl
        >>> report = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3).to_c("pf")
        >>> list(report.files), report.inputs, report.outputs, report.ram_bytes
        (['pf.h', 'pf.c'], 3, 2, 96)
        """
        from .formats.c.export import export_c  # few programs need it

        return export_c(self, name, directory, dtype=dtype, calibrate=calibrate, selftest=selftest, style=style)

    # ------------------------------------------------------------------------------------------ passes

    def forward(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        state: State | Sequence[State] | None = None,
        training: bool = False,
        return_state: bool = False,
        n_threads: int | None = None,
        recompute_every: int | None = None,
    ) -> Any:
        """Run the layers over one batch, for custom training loops and for states; otherwise use `predict`.

        Scalers are not applied: where the scaler has indicator channels, pass ``model.scaler.transform(X)``.

        Parameters
        ----------
        X : array (batch, time, features) or (batch, time), or list of (time, features) arrays
            Inputs in the units of the network; token ids (batch, time) for a model that begins with an `Embedding`.
        lengths : int array (batch,), optional
            Valid steps of each case; later steps are padding, which is never read.
        state : (h, c), or a list of one (h, c) for each LSTM layer object, optional
            Initial states, each (num_layers * directions, batch, hidden_size); by default zeros, or the learnt state of
            a layer with ``learn_state``. A reverse direction starts with its state at the last valid step of a case.
        training : bool, default False
            Whether to apply dropout and to store what `backward` needs.
        return_state : bool, default False
            Whether to return the final states too, as a list of (h, c).
        n_threads : int, optional
            Threads to use; by default as configured. The result does not depend on it.
        recompute_every : int, optional
            With `training`, store the gates of about this many steps only; see `fit`.

        Returns
        -------
        out : ndarray, shape (batch, time, output_size) or (batch, output_size)
            The output, a new array. At padded steps it is zero or meaningless.
        states : list of (h, c)
            Only with `return_state`.

        Raises
        ------
        TypeError, ValueError
            If the inputs do not fit the model or hold NaN or infinity.
        RuntimeError
            If the model is frozen and `training` is true.

        Examples
        --------
        A long series in two segments, with the state carried over:

        >>> import numpy as np, fastlstm as fl
        >>> model, X = fl.Model([fl.LSTM(4)], input_size=3), np.ones((1, 20, 3))
        >>> _, state = model.forward(X[:, :10], return_state=True)
        >>> np.array_equal(model.forward(X[:, 10:], state=state), model.forward(X))
        True
        """
        added = 0 if self.scaler is None else self.scaler.added_channels
        return manual.forward(
            self.network, X, lengths, state, training, return_state, n_threads, recompute_every, added
        )

    def backward(
        self, d_out: npt.ArrayLike, d_state: State | Sequence[State] | None = None, return_d_state: bool = False
    ) -> Any:
        """Back-propagate once through this thread's last ``forward(training=True)``; add to the gradients.

        The gradients of layers with ``trainable = False`` stay zero.

        Parameters
        ----------
        d_out : array of the shape of the output
            Gradient of the loss with respect to the output; it is ignored at padded steps.
        d_state : (h, c), or a list of one (h, c) for each LSTM layer object, optional
            Gradients with respect to the final states, by default zeros.
        return_d_state : bool, default False
            Whether to return the gradients with respect to the initial states too, as a list of (h, c).

        Returns
        -------
        dX : ndarray, shape (batch, time, features), or None for token ids
            Gradient with respect to the input.
        d_states : list of (h, c)
            Only with `return_d_state`.

        Raises
        ------
        RuntimeError
            If there was no ``forward(training=True)``, or backward was already called for it, or the model is frozen.
        TypeError, ValueError
            If an array does not hold real numbers, or its shape differs.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        >>> X, target, optimizer = np.ones((8, 5, 3)), np.ones((8, 2)), fl.SGD(0.1)
        >>> for step in range(3):
        ...     model.zero_grad()
        ...     out = model.forward(X, training=True)
        ...     dX = model.backward(out - target)
        ...     optimizer.step(model)
        """
        return manual.backward(self.network, d_out, d_state, return_d_state)

    # ------------------------------------------------------------------------------------------ fit, predict, evaluate

    @explain_arguments
    def fit(
        self,
        X: Sequences | npt.ArrayLike | Dataset,
        y: npt.ArrayLike | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        loss: Loss | str = "cross_entropy",
        optimizer: Optimizer | str | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, ...] | Dataset | None = None,
        validation_split: float = 0.0,
        class_weight: ClassWeight | None = None,
        sample_weight: npt.ArrayLike | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Callback] = (),
        verbose: int = 1,
        metrics: Metrics | None = None,
        n_threads: int | None = None,
        seed: int | None = None,
        recompute_every: int | None = None,
        tbptt_steps: int | None = None,
        shards: int = 1,
        communicator: Communicator | None = None,
        partitioned: bool = False,
        deadline: float = 600.0,
        resume: str | os.PathLike[str] | bool | None = None,
        on_interrupt: Literal["raise", "return"] = "raise",
    ) -> History:
        """Train the model.

        The model is built from the data if it is not built yet; scalers that are not fitted yet are fitted on the
        training part. All arguments are checked before any weight changes.

        Another call continues the training: the weights, the optimizer's moments, the number of the epoch, on which the
        order of the cases depends, and the random numbers of dropout go on, so that 20 calls of one epoch have the bits
        of one call of 20 epochs. See `optimizer` for what restarts, and `reset_training`.

        Parameters
        ----------
        X : array (n, T, F) or (n, T), memory map, list of (T_i, F) arrays, or data set
            Inputs of any real type, read batch by batch. Without `y` a data set: an object with ``__len__`` and
            ``__getitem__``, such as a ``torch.utils.data.Dataset``, whose item i is one case, a tuple ``(x, y)`` or
            ``(x, y, weight)`` with x (T_i, F) or (T_i,). A thread reads the next batches while this one is computed,
            and only these are in memory. The result has the bits of the same cases in a list; see docs/datasets.md. A
            table (DataFrame) is refused: pass ``df.to_numpy()[None]`` for one series, or a list of arrays. Steps that a
            `Masking` or an `Embedding` masks count in no statistic, loss or metric; their targets are not read. Values
            may be missing (NaN) if the model's scaler has ``missing="mask"``.
        y : array or list of arrays, optional
            Targets; left out for a data set. Labels (n,), or (n, T) for a model with one output per step, as integers
            from 0 (-100: ignored) or strings, of which binary cross-entropy takes two; values (n,), (n, K), (n, T) or
            (n, T, K); for a list of series with one output per step, a list of (T_i,) or (T_i, K) arrays. After
            ``RepeatVector(T)`` each case has T steps. For CTC a list of label sequences, or a padded array; see
            `fastlstm.CTC`. Values that are missing (NaN) have weight 0, as if they had been left out; of several
            outputs each by itself. Labels may not be missing.
        lengths : int array (n,), optional
            Valid steps of each case of an array. Later steps are padding, which is never read.
        loss : str or Loss, default "cross_entropy"
            ``"cross_entropy"`` (labels), ``"binary_cross_entropy"`` (0 and 1), ``"mse"``, ``"mae"``, ``"huber"``,
            ``"quantile"`` (values), ``"ctc"`` (sequences of labels that are not aligned with the steps), or an
            object such as ``fl.Huber(delta=0.5)``.
        optimizer : Optimizer or str, optional
            By default ``Adam(lr=1e-3)``. None or a name stands for an optimizer that the model keeps from call to call,
            as `own_optimizer`, until another name is given. An optimizer object keeps a state for each model; a new
            object begins with moments of zero and epoch 1. In each call schedules start again that depend on `epochs`
            (`CosineLR`, `OneCycleLR`); the others go on.
        epochs : int, default 10
            Number of passes over the training data.
        batch_size : int, default 32
            Number of cases in each update; the last batch of an epoch may be smaller.
        validation_data : tuple or data set, optional
            ``(X, y)``, ``(X, y, lengths)`` or ``(X, y, lengths, sample_weight)``, evaluated after each epoch; lengths
            may be None. Or a data set, also as ``(data_set,)``.
        validation_split : float, default 0.0
            Share of the data in [0, 1) that is used for validation instead of training, drawn at random (stratified by
            class if `y` is one label per case); cannot be combined with `validation_data`. Overlapping windows of one
            series must be split by time with `split`, or else the training cases overlap the validation cases.
        class_weight : dict or "balanced", optional
            Weight of each class in the training loss, by label; classes that are not named have weight 1. "balanced"
            means ``positions / (classes * positions of the class)``. For labels, and for one column of binary targets.
        sample_weight : array (n,) or (n, T), or list of arrays (T_i,), optional
            Weight of each case or step in loss and metric, >= 0. Where it is 0, `y` is not read. For the updates, all
            weights together (those of `class_weight` included) are divided by their mean over the training data, and
            the gradient of a batch is the sum of the weighted gradients divided by the number of its positions (cases
            or steps that are neither padding nor ignored nor missing), so that weights act in batches of any size. The
            loss that is reported is the weighted mean.
        shuffle : bool, default True
            Whether each epoch takes the cases in a new random order.
        callbacks : iterable of Callback, default ()
            Objects whose hooks are called during training, such as `EarlyStopping`; see `fastlstm.callbacks`.
        verbose : {0, 1, 2}, default 1
            1: a progress bar on stderr or, where that is no terminal, a line now and then; a bar in a notebook. 2: one
            printed line per epoch. 0: nothing.
        metrics : list or dict of callables, optional
            Functions ``metric(y_true, y_pred) -> float`` for the validation data; see `evaluate`.
        n_threads : int, optional
            Threads to use; by default as configured. The result does not depend on it.
        seed : int, optional
            Seed of the order of the cases and of `validation_split`, by default the model's seed.
        recompute_every : int, optional
            Gradient checkpointing, for long series: the LSTM layers store their gates and cells for about this many
            steps only (rounded up to the steps over which a gradient is summed at a time) and the state at the
            beginning of each such segment; the backward pass computes the gates of a segment again (Chen et al. 2016,
            arXiv:1604.06174). Memory is then proportional to ``recompute_every + T / recompute_every`` instead of T,
            and least if `recompute_every` is the square root of T; a batch takes about a third longer; the results
            have the same bits. By default all steps are stored.
        tbptt_steps : int, optional
            Truncated back-propagation through time (Williams & Peng 1990), for series so long that one update per batch
            would be too few: the series of a batch are cut into segments of this many steps, each segment is one
            update, and the state, but no gradient, is carried from segment to segment. Each series begins with the
            initial state of the layers; the order is random among series, never within one. The model must have one
            direction and an output for each step. Validation works in the same way. If lengths differ, the number of
            updates of an epoch depends on which series share a batch; schedules assume that of the first epoch. By
            default each batch is one update.
        shards : int, default 1
            Number of parts in which the cases of each batch are divided, as evenly as possible. The gradient of each
            part is computed alone, and they are summed in a fixed order, so that the result depends on this number, in
            its last digits, and not on where the parts are computed; random masks are those of the whole batch. Memory
            for a training pass is that of one part, unless a `BatchNorm` is trained, which has the statistics of the
            whole batch. See docs/shards.md.
        communicator : mpi4py communicator, optional
            Processes that compute the shards together, for example ``MPI.COMM_WORLD`` in a program that is started by
            ``mpiexec -n 4 python -m mpi4py program.py``. All call `fit` with the same model, data and arguments, and
            all end with the same weights, which have the bits of the same `shards` in one process. Rank 0 alone prints
            and writes. `shards` must be at least the number of processes.
        partitioned : bool, default False
            Whether X, y, lengths, weights and `validation_data` are the part of this process of the communicator: rank
            0 has the first cases, rank 1 those that follow, and so on; a part may be empty (None). The result has the
            bits of one process that has all data. Inputs are sent to the processes that compute with them, targets to
            all.
        deadline : float, default 600.0
            Seconds that a process of the communicator waits for another one. If one raises an exception, or has not
            answered by then, all raise an error that names it.
        resume : path or bool, optional
            Continue a run that a `Checkpoint` has saved: from this file or, if True, from the newest file of the
            `Checkpoint` among the callbacks; if there is none yet, True starts a new run. All other arguments,
            including the data, must be those of the first call; differences are refused. Only `epochs` may differ, if
            the learning rates do not depend on it. The result has the same bits as that of an uninterrupted run; see
            docs/checkpoints.md.
        on_interrupt : {"raise", "return"}, default "raise"
            What Ctrl-C does. It is taken after the current batch, says on stderr where the training was, lets every
            `Checkpoint` among the callbacks save, and then raises KeyboardInterrupt, whose ``history`` is the record so
            far, or returns this record. A second Ctrl-C does not wait for the batch.

        Returns
        -------
        History
            ``"loss"``, ``"accuracy"`` (cross-entropies), ``"mae"`` (regression, in the original units of `y`) or
            ``"label_error_rate"`` (CTC), the same with ``"val_"``, and ``"lr"``. With a target scaler the loss is that
            of the scaled targets. `History.interrupted` says whether Ctrl-C has ended the training.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, the data hold infinity, or NaN that nothing handles, or `resume` is a different
            run. No weight has changed. The cases of a data set are checked when they are read: a bad case is named
            before the update of its batch, and the weights are those of the updates before.
        OSError
            If the file to resume from cannot be read (no weight has changed), or a callback cannot write.
        RuntimeError
            If the model is frozen, or a data set raises an exception, which is the cause of this one, or another
            process of the communicator has failed.
        KeyboardInterrupt
            After Ctrl-C, unless `on_interrupt` is "return"; the model has the weights of that moment.
        TrainingDiverged
            If loss, gradient or weights become NaN or infinite. The model has the last weights whose loss was finite.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> X = np.random.default_rng(0).standard_normal((32, 10, 2))
        >>> y = (X[:, :, 0].sum(axis=1) > 0).astype(int)
        >>> model = fl.Model([fl.LSTM(8), fl.Dense(2)], scaler=fl.Standardizer())
        >>> history = model.fit(X, y, epochs=20, optimizer=fl.Adam(0.02), validation_split=0.25, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'loss', 'lr', 'val_accuracy', 'val_loss']
        """
        from .training import loop  # here, because a process that only predicts does without the training
        from .training.prepare import prepare
        from .training.settings import Settings

        self.network.parameters.require_unfrozen("fit")
        settings = Settings.checked(
            self.seed,
            self.own_optimizer,
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
            recompute_every=recompute_every,
            tbptt_steps=tbptt_steps,
            shards=shards,
            communicator=communicator,
            partitioned=partitioned,
            deadline=deadline,
            resume=resume,
            on_interrupt=on_interrupt,
        )
        data = partial(
            prepare,
            self,
            settings,
            X,
            y,
            lengths=lengths,
            sample_weight=sample_weight,
            validation_data=validation_data,
        )
        return loop.fit(self, settings, data)

    @explain_arguments
    def predict(
        self,
        X: Sequences | npt.ArrayLike | Dataset,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
        state: State | Sequence[State] | None = None,
        return_state: bool = False,
    ) -> Any:
        """Return the outputs for any number of cases, computed batch by batch.

        Parameters
        ----------
        X : array (n, T, F) or (n, T), memory map, list of (T_i, F) arrays, or data set
            Inputs in the units of the training data; the model's scaler is applied to them. The items of a data set may
            be series alone, or tuples as in `fit`, of which only the series is used.
        lengths : int array (n,), optional
            Valid steps of each case of an array.
        batch_size : int, default 256
            Largest number of cases computed at a time; it limits the memory and does not change the result. If lengths
            differ much, fewer cases are computed at a time, so that padding takes no more memory than the series.
        n_threads : int, optional
            Threads to use; by default as configured.
        state : (h, c), or a list of one (h, c) for each LSTM layer object, optional
            States from which the series continue, each (num_layers, n, hidden_size or proj_size): what an earlier call
            returned. By default the series begin.
        return_state : bool, default False
            Whether to return the states after the last valid step of each case, too. Calls for consecutive steps, each
            with the state of the one before, give the bits of one call for all steps.

        Returns
        -------
        ndarray or list of ndarray, or (these, list of (h, c))
            (n, outputs); with one output per step (n, T, outputs), where padding is zero, or for a list of series or a
            data set a list of (T_i, outputs) arrays; after ``RepeatVector(T)`` always (n, T, outputs). In place of the
            axis of the outputs are the axes that the targets of `fit` had, if these were values: (n,) for y (n,), and
            (n, 2, 3) for y (n, 2, 3). In the model's dtype: what the last layer gives, so scores (logits), or
            probabilities after a final sigmoid or softmax. If the model has a target scaler: values in the original
            units, float64.

        Raises
        ------
        TypeError, ValueError
            If the input does not fit or holds infinity, or NaN in a feature for which the scaler has no indicator
            channel. If states do not fit, or the model remembers more of a series than the states of its LSTM layers,
            as pooling does: then use `stream`.
        RuntimeError
            If the model has no weights: it was never fitted, loaded or built.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        >>> model.predict(np.zeros((5, 10, 3))).shape
        (5, 2)
        >>> model.predict([np.zeros((10, 3)), np.zeros((7, 3))]).shape  # series of different lengths
        (2, 2)
        >>> out, state = model.predict(np.zeros((5, 10, 3)), return_state=True)
        >>> model.predict(np.zeros((5, 1, 3)), state=state).shape  # the eleventh step
        (5, 2)
        """
        states: list[State] | None = [] if as_bool("return_state", return_state) else None
        out = predict(self, X, lengths, batch_size=batch_size, n_threads=n_threads, state=state, states=states)
        shaped = in_shape(out, self.target_shape)
        return shaped if states is None else (shaped, states)

    @explain_arguments
    def predict_proba(
        self,
        X: Sequences | npt.ArrayLike | Dataset,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> Any:
        """Return the class probabilities of a classifier.

        Parameters
        ----------
        X, lengths, batch_size, n_threads
            As in `predict`.

        Returns
        -------
        ndarray or list of ndarray
            (n, K) or (n, T, K): softmax of the scores of exclusive classes, or sigmoid of each independent score
            (``"binary_cross_entropy"``), where a single output gives (n,) or (n, T). The outputs themselves, if the
            model ends with the softmax or sigmoid.

        Raises
        ------
        TypeError, ValueError
            As in `predict`, or if the outputs are values, or it is not known what they are (see `loss`).

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        >>> model.loss = "cross_entropy"  # as fit sets it
        >>> model.predict_proba(np.zeros((5, 10, 3))).sum(axis=1).round(4).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
        """
        loss_of(self)
        return probabilities(self, predict(self, X, lengths, batch_size=batch_size, n_threads=n_threads))

    @explain_arguments
    def predict_classes(
        self,
        X: Sequences | npt.ArrayLike | Dataset,
        lengths: npt.ArrayLike | None = None,
        *,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> Any:
        """Return the most probable class of each case or step.

        Parameters
        ----------
        X, lengths, batch_size, n_threads
            As in `predict`.

        Returns
        -------
        ndarray or list of ndarray, shape (n,), (n, T) or n times (T_i,)
            Class names if the model has `classes`, else integers. After training with ``"binary_cross_entropy"``: 0 or
            1 for each output, (n, K) or (n, T, K); if K is 1, without the last axis, and as names if there are two.
            After training with ``"ctc"``: a list of the labels of each case, as from `ctc_decode` with
            ``beam_width=1``, where masked steps are left out.

        Raises
        ------
        TypeError, ValueError
            As in `predict`, or if the outputs are values, or it is not known what they are (see `loss`).

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> X = np.array([0.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1)
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)])
        >>> history = model.fit(X, ["off", "off", "on", "on"], epochs=100, optimizer=fl.Adam(0.05), verbose=0)
        >>> model.predict_classes(X).tolist()
        ['off', 'off', 'on', 'on']
        """
        aligned = loss_of(self).aligned
        out = predict(self, X, lengths, batch_size=batch_size, n_threads=n_threads, without_masked=not aligned)
        if isinstance(X, Sequences):
            lengths = X.lengths
        # Lengths that belong to the inputs only say nothing about the outputs.
        return decide(self, out, lengths if self.network.output_steps is None else None, self.classes)

    @explain_arguments
    def evaluate(
        self,
        X: Sequences | npt.ArrayLike | Dataset,
        y: npt.ArrayLike | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        loss: Loss | str | None = None,
        sample_weight: npt.ArrayLike | None = None,
        metrics: Metrics | None = None,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        """Measure loss and metrics on labelled data.

        Parameters
        ----------
        X, y, lengths
            Inputs and targets, or a data set, as in `fit`; masked steps count neither in the loss nor in a metric.
        loss : str or Loss, optional
            The loss, by default that of the training.
        sample_weight : array (n,) or (n, T), or list of arrays (T_i,), optional
            Weight of each case or step in the loss and in the loss's own metric.
        metrics : list or dict of callables, optional
            Functions ``metric(y_true, y_pred) -> float`` in addition to the loss's own metric; those of a list are
            named after the functions. Each is called once, with all positions that count: `y_true` (N,) labels or
            (N, K) values, and `y_pred` (N, outputs) as `predict` returns them. `fastlstm.metrics` has such functions,
            those of classes included. For functions of class labels from elsewhere, such as those of scikit-learn, pass
            a dict with ``lambda y, scores: f1_score(y, scores.argmax(1), average="macro")``.
        batch_size : int, default 256
            Largest number of cases computed at a time; see `predict`.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        dict of str to float
            ``"loss"``, then ``"accuracy"`` for the cross-entropies, ``"mae"`` for the regression losses or
            ``"label_error_rate"`` for CTC, then `metrics`. With a target scaler the loss is that of the scaled targets,
            as in training, and ``"mae"`` and `metrics` are in the original units. For several outputs with a target
            each, ``"mae"`` is the mean over the outputs, and ``"mae_0"``, ``"mae_1"``, ... belong to single outputs.

        Raises
        ------
        TypeError, ValueError
            If inputs, targets or weights do not fit the model or hold NaN or infinity.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)], input_size=3)
        >>> X, y = np.zeros((5, 10, 3)), np.zeros((5, 1))
        >>> list(model.evaluate(X, y, loss="mse", metrics={"largest": lambda y, p: abs(p - y).max()}))
        ['loss', 'mae', 'largest']
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

    @explain_arguments
    def stream(self, batch_size: int = 1, n_threads: int | None = None) -> Stream:
        """Return a stream, which computes the outputs step by step as the data arrive.

        Parameters
        ----------
        batch_size : int, default 1
            Number of parallel series, each with its own state.
        n_threads : int, optional
            Threads to use; by default as configured. Small steps use one thread.

        Returns
        -------
        Stream
            ``stream.step(x)`` with x (batch_size, features) returns (batch_size, output_size) for this step;
            ``stream.run(x)`` with x (batch_size, steps, features) returns (batch_size, steps, output_size). With
            ``out=`` both write to that array and allocate nothing. If the model has one output per series, the output
            of each step is that for the series so far. Token ids have no feature axis. Values are in the units of
            `predict`. A step that the model masks leaves the state of its series unchanged; its output is that of
            `predict`, in general the output of the step before.

        Raises
        ------
        ValueError
            If a layer needs the end of a series (``bidirectional``, ``reverse``), or the scaler (``per_series``), or a
            `Masking` reads the output of other layers.
        RuntimeError
            If the model is not built yet.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        >>> X, stream = np.ones((1, 10, 3)), model.stream()
        >>> for t in range(10):
        ...     out = stream.step(X[:, t])
        >>> np.array_equal(out, model.predict(X))
        True
        """
        from .inference.masked_stream import new_stream  # a process that only predicts needs none

        return new_stream(self, batch_size, n_threads)

    def __repr__(self) -> str:
        rounding = "" if self.precision == self.dtype.name else f", precision={self.precision!r}"
        return f"Model([{', '.join(map(repr, self.layers))}]{rounding})"

    # ------------------------------------------------------------------------------------------ files

    def _own_config(self) -> dict[str, Any]:
        return {
            "target_scaler": None if self.target_scaler is None else self.target_scaler.get_config(),
            "classes": self.classes,
            "feature_names": self.feature_names,
            # A file holds no code, so it cannot describe a loss that a user wrote.
            "loss": self.loss.get_config() if self.loss is not None and is_known(self.loss) else None,
            "output_kind": self.output_kind,
            "target_shape": None if self.target_shape is None else list(self.target_shape),
        }

    def restore_outputs(self, kind: Any, target_shape: Any) -> None:
        """Set what a file says of the outputs; ValueError if it is not possible."""
        if kind is not None and kind not in OUTPUT_KINDS:
            raise ValueError(f"output_kind is {short_repr(kind)}, expected one of {', '.join(OUTPUT_KINDS)}")
        shape = None
        if target_shape is not None:
            shape = tuple(count("target_shape", size) for size in as_list("target_shape", target_shape, "sizes"))
        self._stored_kind, self.target_shape = kind, shape
