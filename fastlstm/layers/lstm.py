"""LSTM layer: stacked, in one or two directions; the kernels compute one layer in one direction.

The file is long because `forward`, `backward` and `stages` mirror each other option by option; they are read together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._checks import as_bool, below_one, count, short_repr
from .._draws import Draws, mixed_seed
from .._typing import Array
from ..activations import ActivationLike
from ..cell import PLAIN, Cell, CellWeights
from .base import Layer, Matrix, ParameterSpec, Signal
from .cells import cell_specs, cell_weights, make_cell
from .chrono import CHRONO, checked_forget_bias, chrono_biases, needed_steps
from .context import LayerCache, PassContext
from .initializers import checked_initializer, initializer, zeros
from .merge import MERGES, join, merged_size, outputs, split
from .quantization import MOST_TERMS, with_limits
from .registry import register
from .stages import Stage, StageState

__all__ = ["LSTM"]


class Direction(NamedTuple):
    """One direction of one stacked layer, with the names of its parameters."""

    state_index: int
    """Index among the states."""
    reverse: bool
    """Whether it runs from the last valid step of each case to the first step."""
    suffix: str
    weight_ih: str
    weight_hh: str
    bias_ih: str
    bias_hh: str
    h0: str
    c0: str


# Random numbers of a training pass other than dropout; each kind has its own seeds.
_CELL, _INPUT = 1, 2


@register
class LSTM(Layer):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    Arguments that ``torch.nn.LSTM`` has too mean the same as there, and the parameters have its names and layout.
    docs/layers.md has the equations.

    Parameters
    ----------
    hidden_size : int
        Number of units of each layer and direction.
    num_layers : int, default 1
        Number of stacked layers.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    dropout : float in [0, 1), default 0
        Dropout between the layers: in training, the probability that an output of a layer, except the last, is set to
        zero before the next layer reads it.
    bidirectional : bool, default False
        Whether a second direction reads each series from its last valid step to its first (Graves & Schmidhuber 2005).
    return_sequences : bool, default False
        Whether to return the output of every step, (batch, time, features), or only each direction's output at its
        final step, (batch, features). As in Keras.
    forget_bias : float, "chrono", ("chrono", T) or None, default 1.0
        Initial bias of the forget gate; 1 lets gradients through from the start (Gers et al. 2000, Jozefowicz et al.
        2015). ``("chrono", T)`` is for memories over up to T steps: the units get different biases, log(u) with u
        uniform in [1, T - 1], and the input gate the negative ones (Tallec & Ollivier 2018). ``"chrono"`` alone takes
        for T the longest series of the first `fit`, or the steps of a `RepeatVector` before it. None draws the bias
        like the others, as PyTorch does.
    reverse : bool, default False
        Whether a one-directional layer reads each series from its last valid step to its first. The output of a step
        keeps the position of the step; the final step is the first one. Not with `bidirectional`.
    merge : {"concat", "sum", "mean", "product"}, default "concat"
        How each bidirectional layer merges the outputs of its directions: side by side, forward direction first, or
        element by element. Only with `bidirectional`.
    residual : bool, default False
        Whether each layer except the first adds its input, after dropout, to its output (He et al. 2016, Wu et al.
        2016).
    learn_state : bool, default False
        Whether the initial states are parameters, the same for all cases; they start at zero. They are used if a pass
        is given no state.
    weight_init, recurrent_init : str, default "uniform"
        Initial values of ``weight_ih`` and ``weight_hh``: ``"uniform"`` draws from +-1/sqrt(hidden_size), as PyTorch
        does; the others are ``"glorot_uniform"``, ``"glorot_normal"`` (Glorot & Bengio 2010), ``"he_uniform"``,
        ``"he_normal"`` (He et al. 2015), ``"lecun_uniform"``, ``"lecun_normal"`` (LeCun et al. 1998), ``"orthogonal"``
        (Saxe et al. 2014) and ``"zeros"``, each applied to the matrix of one gate.
    proj_size : int, default 0
        Size of h if it differs from hidden_size: a matrix ``weight_hr`` projects the cell's output (Sak et al. 2014).
        0: no projection.
    peepholes : bool, default False
        Whether the gates of each unit read the cell state of this unit (Gers & Schmidhuber 2000).
    coupled : bool, default False
        Whether the forget gate is 1 - the input gate (Greff et al. 2015). Three gates have weights then, i, g, o, and
        the bias of the input gate starts at -forget_bias.
    layer_norm : bool, default False
        Whether to normalise the products with the input, those with h, and the cell state that the output activation
        reads, each with a gain (Ba et al. 2016).
    gate_clip, cell_clip, output_clip : float > 0, optional
        Limits of the absolute net inputs of the gates and the candidate, of the cell state (Sak et al. 2014), and of
        the input of the output activation.
    gate_activation, cell_activation, output_activation : str or tuple (name, alpha, beta)
        Activations of the gates i, f, o, of the candidate g, and of the cell state on output; by default ``"sigmoid"``,
        ``"tanh"``, ``"tanh"``. `fl.Activation` lists the names.
    recurrent_dropout : float in [0, 1), default 0
        Probability that a candidate g is set to zero in training, with a new mask at each step; the cell state is kept
        (Semeniuta et al. 2016).
    variational_dropout : float in [0, 1), default 0
        Probability that the gates read 0 instead of a unit of h in training, the same units at all steps (Gal &
        Ghahramani 2016).
    input_dropout : float in [0, 1), default 0
        The same for the input of each layer.
    zoneout_h, zoneout_c : float in [0, 1), default 0
        Probability that a unit of h, or of c, keeps its value of the previous step in training (Krueger et al. 2017);
        inference uses the expectation.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or two arguments exclude each other. When the model is
        built, if the forget bias is ``"chrono"`` and there are no series yet.

    Notes
    -----
    Parameters: ``weight_ih_l{k}`` (4 * hidden_size, input), ``weight_hh_l{k}`` (4 * hidden_size, hidden_size),
    ``bias_ih_l{k}``, ``bias_hh_l{k}`` (4 * hidden_size), with `learn_state` also ``h0_l{k}``, ``c0_l{k}``
    (hidden_size); the second direction has the suffix ``_reverse``. Gates are in the order i, f, g, o. Biases are drawn
    uniformly from +-1/sqrt(hidden_size).

    With a projection, h has proj_size features, and so have the columns of ``weight_hh``, the output and ``h0``;
    ``weight_hr_l{k}`` is (proj_size, hidden_size). ``peepholes_l{k}`` (3, hidden_size) belong to i, f, o. With coupled
    gates, read 3 for 4 and 2 for 3 in these shapes. Layer normalisation has ``gain_ih_l{k}``, ``gain_hh_l{k}`` (4 *
    hidden_size), ``gain_c_l{k}``, ``bias_c_l{k}`` (hidden_size); ``bias_ih`` and ``bias_hh`` are the biases of the
    normalised products.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(8, num_layers=2, bidirectional=True, return_sequences=True)], input_size=3)
    >>> model.forward(np.zeros((5, 10, 3))).shape
    (5, 10, 16)
    """

    touches_padding = False
    input_weight = "weight_ih_l0"
    supports_mask = True

    def __init__(
        self,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        return_sequences: bool = False,
        forget_bias: float | str | Sequence[Any] | None = 1.0,
        reverse: bool = False,
        merge: str = "concat",
        residual: bool = False,
        learn_state: bool = False,
        weight_init: str = "uniform",
        recurrent_init: str = "uniform",
        proj_size: int = 0,
        peepholes: bool = False,
        coupled: bool = False,
        layer_norm: bool = False,
        gate_clip: float | None = None,
        cell_clip: float | None = None,
        output_clip: float | None = None,
        gate_activation: ActivationLike = "sigmoid",
        cell_activation: ActivationLike = "tanh",
        output_activation: ActivationLike = "tanh",
        recurrent_dropout: float = 0.0,
        variational_dropout: float = 0.0,
        input_dropout: float = 0.0,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden_size = count("hidden_size", hidden_size)
        self.num_layers = count("num_layers", num_layers)
        self.bias = as_bool("bias", bias)
        self.dropout = below_one("dropout", dropout)
        self.bidirectional = as_bool("bidirectional", bidirectional)
        self.repeats_output = not self.bidirectional
        self.directions = 2 if self.bidirectional else 1
        self.return_sequences = as_bool("return_sequences", return_sequences)
        self.forget_bias = checked_forget_bias(forget_bias)
        self.reverse = as_bool("reverse", reverse)
        self.merge = merge
        self.residual = as_bool("residual", residual)
        self.learn_state = as_bool("learn_state", learn_state)
        self.weight_init = checked_initializer("weight_init", weight_init)
        self.recurrent_init = checked_initializer("recurrent_init", recurrent_init)
        self.proj_size = count("proj_size", proj_size, least=0)
        self.peepholes = as_bool("peepholes", peepholes)
        self.input_dropout = below_one("input_dropout", input_dropout)
        options: dict[str, Any] = {
            "coupled": coupled,
            "layer_norm": layer_norm,
            "gate_clip": gate_clip,
            "cell_clip": cell_clip,
            "output_clip": output_clip,
            "gate_activation": gate_activation,
            "cell_activation": cell_activation,
            "output_activation": output_activation,
            "recurrent_dropout": recurrent_dropout,
            "variational_dropout": variational_dropout,
            "zoneout_h": zoneout_h,
            "zoneout_c": zoneout_c,
        }
        self.cell = make_cell(options)
        # In the types of JSON, so that a model and its file have equal settings.
        self._options = {
            name: (list(v) if isinstance(v, tuple) else v)
            if v is None or name.endswith("_activation")
            else getattr(self.cell, name)
            for name, v in options.items()
        }
        self.kernel_cell: Cell | None = self.cell
        """The cell as passed to the kernels: None for the standard cell."""
        if self.cell == PLAIN and not self.proj_size and not self.peepholes:
            self.kernel_cell = None
        self.state_size = self.proj_size or self.hidden_size
        """Size of h, in one direction."""
        self.input_size = 0
        self._longest: int | None = None  # steps of the series for which the layer is built, if known
        self._chrono_steps: int | None = None  # of the drawn biases
        shares = (self.dropout, self.input_dropout, self.cell.recurrent_dropout, self.cell.variational_dropout)
        self.is_stochastic = any((*shares, self.cell.zoneout_h, self.cell.zoneout_c))
        self._check_combination()

    def _check_combination(self) -> None:
        if not self.bias and isinstance(self.forget_bias, (str, list)):
            raise ValueError(f"forget_bias={self.forget_bias!r} draws biases, and bias=False has none: leave one out")
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                "dropout of an LSTM acts between its layers and num_layers is 1: put a fl.Dropout after it instead"
            )
        if self.reverse and self.bidirectional:
            raise ValueError(
                "reverse=True is for one direction, and bidirectional=True has both: leave one of them out"
            )
        if not isinstance(self.merge, str) or self.merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(map(repr, MERGES))}, got {short_repr(self.merge)}")
        if self.merge != "concat" and not self.bidirectional:
            raise ValueError(f"merge={self.merge!r} is for two directions: set bidirectional=True, or leave it out")
        if self.residual and self.num_layers == 1:
            raise ValueError(
                "residual=True adds the input of each layer above the first, and num_layers is 1: use more layers"
            )
        if self.residual and self.merge != "concat" and not self.return_sequences:
            raise ValueError(
                f"residual=True with merge={self.merge!r} needs return_sequences=True: the final outputs of the two "
                "directions belong to different steps, so that there is no single input to add to the merged output"
            )

    @property
    def output_size(self) -> int:
        """Number of features of the output."""
        return merged_size(self.merge, self.state_size) if self.bidirectional else self.state_size

    @property
    def needs_longest(self) -> bool:  # type: ignore[override]
        """Whether the forget gate's bias depends on the longest training series."""
        return bool(self.forget_bias == CHRONO)

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("an LSTM reads numbers and gets token ids: put a fl.Embedding before it")
        if not signal.per_step:
            raise ValueError(
                "an LSTM reads (batch, time, features) and gets (batch, features): "
                "set return_sequences=True in the LSTM before it"
            )
        self.input_size = signal.features
        self._longest = signal.longest if signal.steps is None else signal.steps
        return Signal(self.output_size, self.return_sequences)

    def streaming_obstacle(self) -> str | None:
        if self.bidirectional:
            return (
                "is bidirectional: its second direction begins at the end of a series, which is not known yet when the "
                "series arrives in segments; use bidirectional=False"
            )
        if self.reverse:
            return (
                "has reverse=True: it begins at the end of a series, which is not known yet when the series arrives in "
                "segments; use reverse=False"
            )
        return None

    def _directions_by_layer(self) -> Iterator[list[Direction]]:
        """Yield the directions of each layer, in the order of the states; lazily: a file may claim any number."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0", "c0")
        for layer in range(self.num_layers):
            directions = []
            for d in range(self.directions):
                suffix = f"_l{layer}_reverse" if d else f"_l{layer}"
                index = layer * self.directions + d
                directions.append(Direction(index, self.reverse or d == 1, suffix, *(name + suffix for name in names)))
            yield directions

    @cached_property
    def _layers(self) -> list[list[Direction]]:
        """The directions of all layers as a list, for the passes."""
        return list(self._directions_by_layer())

    def state_shapes(self, batch: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Return the shapes of h and c of all layers and directions."""
        count = self.num_layers * self.directions
        return (count, batch, self.state_size), (count, batch, self.hidden_size)

    # ------------------------------------------------------------------------------------------ parameters

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        gates = self.cell.gates * self.hidden_size
        bound = 1 / math.sqrt(self.hidden_size)
        weight = initializer(self.weight_init, bound, blocks=self.cell.gates)
        recurrent = initializer(self.recurrent_init, bound, blocks=self.cell.gates)
        uniform = initializer("uniform", bound)

        of_input, of_forget = slice(self.hidden_size), slice(self.hidden_size, 2 * self.hidden_size)

        def with_forget(forget: float | Array | None, draws: Draws, shape: tuple[int, ...]) -> Array:
            bias = uniform(draws, shape)
            if forget is None:
                return bias
            if not self.cell.coupled:
                bias[of_forget] = forget
            if self.cell.coupled or self._chrono_steps is not None:  # coupled: 1 - sigmoid(-b) = sigmoid(b)
                bias[of_input] = -forget
            return bias

        def bias_ih(draws: Draws, shape: tuple[int, ...]) -> Array:
            steps = self._chrono_steps = needed_steps(self.forget_bias, self._longest)
            forget = self.forget_bias if steps is None else chrono_biases(draws, self.hidden_size, steps)
            return with_forget(forget, draws, shape)

        def bias_hh(draws: Draws, shape: tuple[int, ...]) -> Array:
            return with_forget(None if self.forget_bias is None else 0.0, draws, shape)

        for layer, directions in enumerate(self._directions_by_layer()):
            inputs = self.output_size if layer else self.input_size
            for direction in directions:
                yield ParameterSpec(direction.weight_ih, (gates, inputs), weight)
                yield ParameterSpec(direction.weight_hh, (gates, self.state_size), recurrent)
                if self.bias:
                    yield ParameterSpec(direction.bias_ih, (gates,), bias_ih)
                    yield ParameterSpec(direction.bias_hh, (gates,), bias_hh)
                yield from cell_specs(self.cell, self.hidden_size, self.proj_size, self.peepholes, direction.suffix)
                if self.learn_state:
                    yield ParameterSpec(direction.h0, (self.state_size,), zeros)
                    yield ParameterSpec(direction.c0, (self.hidden_size,), zeros)

    # ------------------------------------------------------------------------------------------ weights of 8 bits

    def quantizing_obstacle(self) -> str | None:
        if self.kernel_cell is not None:
            return "has another cell than the plain one, whose h is not certain to lie between -1 and 1"
        if max(self.input_size, self.output_size) > MOST_TERMS:
            return f"has more than {MOST_TERMS} inputs or units"
        for direction in chain(*self._layers) if self.learn_state else ():
            if not np.abs(self.parameters[direction.h0]).max() <= 1:
                return "has learnt an initial h beyond -1 or 1"
        return None

    def quantized_matrices(self) -> Iterator[Matrix]:
        for layer, directions in enumerate(self._layers):
            for direction in directions:
                yield Matrix(direction.weight_ih, f"x_l{layer}")
                yield Matrix(direction.weight_hh, None)

    # ------------------------------------------------------------------------------------------ passes

    def _passes(self, cache: LayerCache) -> list[tuple[_core.LSTMPass, CellWeights | None]]:
        """Return each direction's pass and cell weights; always the same objects."""
        passes: list[tuple[_core.LSTMPass, CellWeights | None]] | None = cache.saved.get("passes")
        if passes is None:
            passes = [(_core.LSTMPass(), self._cell_weights(self.parameters, w.suffix)) for w in chain(*self._layers)]
            cache.saved["passes"] = passes
        return passes

    def _cell_weights(self, arrays: Mapping[str, Array], suffix: str) -> CellWeights | None:
        """Return one direction's cell weights, or their gradients; None for the standard cell."""
        return None if self.kernel_cell is None else cell_weights(arrays, suffix)

    def _input_mask(self, layer: int, shape: tuple[int, int], ctx: PassContext, cache: LayerCache) -> Array:
        """Draw the factors (batch, 1, features) of a layer's input; the backward pass draws the same factors again."""
        mask = cache.buffers.get("input_mask", shape, ctx.dtype)
        mask.fill(1)
        seed = mixed_seed(cache.seed, _INPUT, layer)
        _core.dropout(mask, mask, self.input_dropout, seed, ctx.n_threads, first_row=ctx.first_row)
        return mask[:, None]

    def _learnt_state(self, ctx: PassContext, cache: LayerCache, batch: int) -> tuple[Array, Array]:
        """Return the initial states that are parameters, repeated for each case."""
        of_h, of_c = self.state_shapes(batch)
        h0, c0 = cache.buffers.get("h0", of_h, ctx.dtype), cache.buffers.get("c0", of_c, ctx.dtype)
        for direction in chain(*self._layers):
            h0[direction.state_index] = self.parameters[direction.h0]
            c0[direction.state_index] = self.parameters[direction.c0]
        return h0, c0

    def _outputs(
        self, cache: LayerCache, layer: int, shape: tuple[int, int, int], ctx: PassContext
    ) -> tuple[Array, Sequence[Array]]:
        """Return the array for a layer's output, and those for its directions' outputs, each of this shape."""
        if self.bidirectional:
            return outputs(self.merge, cache.buffers, f"y{layer}", shape, ctx.dtype)
        y = cache.buffers.get(f"y{layer}", shape, ctx.dtype)
        return y, (y,)

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        batch, time, _ = x.shape
        parameters, buffers, passes, cell = self.parameters, cache.buffers, self._passes(cache), self.kernel_cell
        top = self.num_layers - 1
        of_h, of_c = self.state_shapes(batch)
        hn, hn_rows = buffers.rows("hn", of_h, ctx.dtype)
        cn, cn_rows = buffers.rows("cn", of_c, ctx.dtype)
        h0, c0 = cache.state_in or (None, None)
        if self.learn_state:
            cache.saved["learnt"] = h0 is None
            if h0 is None:
                h0, c0 = self._learnt_state(ctx, cache, batch)
        y: Array | None = None
        for layer, directions in enumerate(self._layers):
            y, parts = None, None
            if layer < top or self.return_sequences:
                y, parts = self._outputs(cache, layer, (batch, time, self.state_size), ctx)
            if ctx.training and self.input_dropout:
                mask = self._input_mask(layer, (batch, x.shape[2]), ctx, cache)
                x = np.multiply(x, mask, out=x if layer else buffers.get("x", x.shape, ctx.dtype))
            if ctx.observe is not None:
                ctx.observe(f"x_l{layer}", x, ctx.lengths)
            for d, direction in enumerate(directions):
                k = direction.state_index
                lstm, cell_weights = passes[k]
                lstm.forward(
                    x,
                    parameters[direction.weight_ih],
                    parameters[direction.weight_hh],
                    parameters.get(direction.bias_ih),
                    parameters.get(direction.bias_hh),
                    lengths=ctx.lengths,
                    h0=None if h0 is None else h0[k],
                    c0=None if c0 is None else c0[k],
                    y=None if parts is None else parts[d],
                    hn=hn_rows[k],
                    cn=cn_rows[k],
                    reverse=direction.reverse,
                    training=ctx.training,
                    recompute_every=ctx.recompute_every,
                    packed=ctx.packed,
                    n_threads=ctx.n_threads,
                    cell=cell,
                    cell_weights=cell_weights,
                    seed=mixed_seed(cache.seed, _CELL, k) if cell is not None and ctx.training else 0,
                    first_row=ctx.first_row,
                    bf16=self.bfloat16 and self.quantized is None,
                    quantized=self.quantized is not None,
                    x_limits=None if self.quantized is None else self.quantized.limits[f"x_l{layer}"],
                )
            if y is None or parts is None:
                break
            if self.merge != "concat":
                join(self.merge, parts[0], parts[1], y)
            # The following works in place, because no backward pass reads the output of its own layer.
            if self.residual and layer:
                np.add(y, x, out=y)
            if layer < top:
                if ctx.training and self.dropout:
                    seed = mixed_seed(cache.seed, layer)
                    _core.dropout(y, y, self.dropout, seed, ctx.n_threads, first_row=ctx.first_row)
                x = y
        cache.state_out = hn, cn
        cache.saved["time"] = time
        return self._final(hn_rows, x, ctx, cache) if y is None else y

    def _final(self, hn: list[Array], x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        """Return the output of the final step, from the final states and the input of the top layer."""
        if not (self.bidirectional or self.residual):
            return hn[-1]
        out = cache.buffers.get("out", (len(x), self.output_size), ctx.dtype)
        if self.bidirectional:
            join(self.merge, hn[-2], hn[-1], out)
        else:
            np.copyto(out, hn[-1])
        if self.residual:
            for place, columns in self._ends(x, ctx):
                out[:, columns] += x[place]
        return out

    def _ends(self, x: Array, ctx: PassContext) -> Iterator[tuple[Any, slice]]:
        """Yield for each direction the index of its final step in x, and its output columns."""
        rows = np.arange(len(x))
        last = x.shape[1] - 1 if ctx.lengths is None else ctx.lengths - 1
        for d, direction in enumerate(self._layers[-1]):
            columns = slice(d * self.state_size, (d + 1) * self.state_size)
            yield (rows, 0 if direction.reverse else last, columns), columns

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        batch, time = len(dy), cache.saved["time"]
        gradients, passes = self.wanted_gradients, self._passes(cache)
        learnt = self.learn_state and self.trainable and cache.saved["learnt"]
        of_h, of_c = self.state_shapes(batch)
        # Gradients of the final states, one for each direction; None: zeros.
        dhn: list[Array | None] = [None] * len(passes)
        dcn, dh0, dc0 = dhn, dhn, dhn
        if cache.d_state_out is not None:
            dhn, dcn = list(cache.d_state_out[0]), list(cache.d_state_out[1])
        if not self.return_sequences:
            dhn = self._with_final(dy, dhn, ctx, cache)
        d_start: tuple[Array, Array] | None = None
        if ctx.want_d_state:
            d_start = cache.d_state_in = np.empty(of_h, ctx.dtype), np.empty(of_c, ctx.dtype)
        elif learnt:
            d_start = cache.buffers.get("dh0", of_h, ctx.dtype), cache.buffers.get("dc0", of_c, ctx.dtype)
        if d_start is not None:
            dh0, dc0 = list(d_start[0]), list(d_start[1])
        d_sequence: Array | None = dy if self.return_sequences else None
        dx: Array | None = None
        for layer in reversed(range(self.num_layers)):
            inputs = self.output_size if layer else self.input_size
            dx = None
            if layer or need_dx:  # two buffers in turn: dx of the layer above is read while this one is written
                dx = cache.buffers.get(f"dx{layer % 2}", (batch, time, inputs), ctx.dtype)
            parts = None if d_sequence is None else self._d_outputs(d_sequence, layer, ctx, cache)
            for d in reversed(range(self.directions)):
                direction = self._layers[layer][d]
                k = direction.state_index
                passes[k][0].backward(
                    dy=None if parts is None else parts[d],
                    dhn=dhn[k],
                    dcn=dcn[k],
                    dx=dx,
                    dx_add=d < self.directions - 1,
                    dweight_ih=gradients.get(direction.weight_ih),
                    dweight_hh=gradients.get(direction.weight_hh),
                    dbias_ih=gradients.get(direction.bias_ih),
                    dbias_hh=gradients.get(direction.bias_hh),
                    dh0=dh0[k],
                    dc0=dc0[k],
                    n_threads=ctx.n_threads,
                    d_cell_weights=self._cell_weights(gradients, direction.suffix),
                )
            if dx is None:
                continue  # the first layer, if the gradient of the input is not needed
            if layer and self.residual and d_sequence is not None:
                np.add(dx, d_sequence, out=dx)
            elif layer and self.residual:
                for place, columns in self._ends(dx, ctx):
                    dx[place] += dy[:, columns]
            if self.input_dropout:
                dx *= self._input_mask(layer, (batch, inputs), ctx, cache)
            if layer and self.dropout:
                seed = mixed_seed(cache.seed, layer - 1)
                _core.dropout(dx, dx, self.dropout, seed, ctx.n_threads, first_row=ctx.first_row)
            d_sequence = dx
        if d_start is not None and learnt:
            for direction in chain(*self._layers):
                # Summed case by case, so that the order does not depend on the number of threads.
                gradients[direction.h0] += np.add.reduce(d_start[0][direction.state_index], axis=0)
                gradients[direction.c0] += np.add.reduce(d_start[1][direction.state_index], axis=0)
        return dx

    def _d_outputs(self, dy: Array, layer: int, ctx: PassContext, cache: LayerCache) -> Sequence[Array]:
        """Return the gradient of each direction's output, from the gradient of the layer's output."""
        if not self.bidirectional:
            return (dy,)
        first = second = dy
        if self.merge == "product":
            _, (first, second) = self._outputs(cache, layer, (*dy.shape[:2], self.state_size), ctx)
        return split(self.merge, dy, first, second, cache.buffers)

    def _with_final(
        self, dy: Array, dhn: list[Array | None], ctx: PassContext, cache: LayerCache
    ) -> list[Array | None]:
        """Return the gradients of the final states; the gradient of the output is added to those of the top layer."""
        assert cache.state_out is not None
        hn = cache.state_out[0]
        directions = self.directions
        parts = split(self.merge, dy, hn[-2], hn[-1], cache.buffers) if self.bidirectional else (dy,)
        _, final = cache.buffers.rows("dhn", (directions, len(dy), self.state_size), ctx.dtype)
        for part, given, into in zip(parts, dhn[-directions:], final, strict=True):
            if given is None:
                np.copyto(into, part)
            else:
                np.add(given, part, out=into)
        return [*dhn[:-directions], *final]

    # ------------------------------------------------------------------------------------------ stages

    def stages(self) -> list[Stage]:
        result: list[Stage] = []
        top = self.num_layers - 1
        for layer in range(self.num_layers):
            below = len(result)
            final = layer == top and not self.return_sequences
            result.append(self._layer_stage(layer, return_sequences=not final or self.residual))
            if self.residual and layer:
                result.append(Stage("add", self.output_size, side={"addend": below}))
            if final and self.residual:
                ends = {"bidirectional": self.bidirectional, "reverse": self.reverse}
                result.append(Stage("final", self.output_size, settings=ends))
        return result

    def _layer_stage(self, layer: int, return_sequences: bool) -> Stage:
        weights: dict[str, Array] = {}
        states: list[StageState] = []
        for tail in ("", "_reverse")[: self.directions]:
            of_direction = f"_l{layer}{tail}"
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *CellWeights._fields):
                if name + of_direction in self.parameters:
                    weights[name + tail] = self.parameters[name + of_direction]
            for name, size in (("h", self.state_size), ("c", self.hidden_size)):
                states.append(StageState(name + tail, size, self.parameters.get(f"{name}0{of_direction}")))
        if self.quantized is not None:
            for tail in ("", "_reverse")[: self.directions]:
                weights = with_limits(weights, self.quantized.limits[f"x_l{layer}"], tail)
        settings = {
            **({} if self.quantized is None else {"quantized": True}),
            "bf16": self.bfloat16 and self.quantized is None,
            "cell": self.cell,
            "hidden_size": self.hidden_size,
            "proj_size": self.proj_size,
            "bidirectional": self.bidirectional,
            "reverse": self.reverse,
            "merge": self.merge,
            "return_sequences": return_sequences,
        }
        return Stage("lstm", self.output_size, weights, settings, states=tuple(states))

    def get_config(self) -> dict[str, Any]:
        return {
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "return_sequences": self.return_sequences,
            "forget_bias": [CHRONO, self._chrono_steps] if self._chrono_steps and self.parameters else self.forget_bias,
            "reverse": self.reverse,
            "merge": self.merge,
            "residual": self.residual,
            "learn_state": self.learn_state,
            "weight_init": self.weight_init,
            "recurrent_init": self.recurrent_init,
            "proj_size": self.proj_size,
            "peepholes": self.peepholes,
            "input_dropout": self.input_dropout,
            **self._options,
        }
