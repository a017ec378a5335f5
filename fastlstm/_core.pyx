# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The C kernels as seen from Python: check the arrays, release the GIL, call C. Nothing else.

Every function takes the number of threads as an argument and works on arrays of one dtype, float32 or float64. A wrong
array raises ValueError or TypeError here; below this file nothing is checked again. ``csrc/fastlstm.h`` says what the
kernels compute; ``_core.pxd`` declares it for Cython.
"""
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport PTRDIFF_MAX, SIZE_MAX, uintptr_t
from libc.float cimport FLT_MAX
from libc.math cimport INFINITY, isfinite
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from fastlstm._array_checks cimport (
    array_of, array_shape, check_shape, check_tokens, check_two_axes, data_of, dtype_of, has_shape, INT64, lengths_of,
    like, optional_of, rows_of, series_of, shape1, shape2, shape3, sizes, thread_count, type_name, type_number,
    vector_of,
)

from .cell import NO_CELL_WEIGHTS, NORM_EPS, PLAIN, CellWeights

cnp.import_array()


# ------------------------------------------------------------------ instruction sets and build

def isa():
    """Return the name of the instruction set in use."""
    return fl_isa_active().decode()


def available_isas():
    """Return the names of the instruction sets that this machine can run, best last."""
    return [fl_isa_name(k).decode() for k in range(fl_isa_count())]


def set_isa(str name not None):
    """Choose the instruction set; not while kernels run in other threads."""
    if fl_isa_select(name.encode()) != 0:
        raise ValueError(f"instruction set {name!r} is not available here; choose one of {available_isas()}")


def lanes():
    """Return the elements per vector of the instruction set in use, by dtype."""
    return {"float32": fl_isa_lanes(FL_F32), "float64": fl_isa_lanes(FL_F64)}


def fused():
    """Return whether the instruction set in use has a fused multiply-add: all that have one give the same bits."""
    return bool(fl_isa_fused())


def openmp():
    """Return whether the kernels were built with OpenMP."""
    return bool(fl_has_openmp())


def openmp_max_threads():
    """Return OpenMP's own limit (what threadpoolctl sets); 1 without OpenMP."""
    return fl_openmp_max_threads()


def set_openmp_max_threads(int n):
    """Set OpenMP's own limit for the calling thread, as omp_set_num_threads does; without OpenMP do nothing."""
    fl_openmp_set_max_threads(n)


def openmp_bound_processors():
    """Return the number of processors of the process if OpenMP binds threads to them, 0 if not."""
    return fl_openmp_bound_processors()


def calls_at_once():
    """Return how many calls compute at the same time if one more begins now; see ``fl_calls_at_once``."""
    return fl_calls_at_once()


def always_wake(bint always):
    """Set whether small work goes to several threads even if they sleep; see ``fl_always_wake``."""
    fl_always_wake(always)


def allow_vnni(bint allow):
    """Set whether sums of 8-bit integers may use VNNI, which changes no result; for tests."""
    fl_allow_vnni(allow)


def allow_byte_tiles(bint allow):
    """Set whether sums of 8-bit integers may use AMX, which changes no result; for tests."""
    fl_allow_byte_tiles(allow)


def bf16_way():
    """Return how products of numbers of 16 bits are computed here: "wide", "dots" or "tiles" (csrc/kernels/bf16.h)."""
    return ("wide", "dots", "tiles")[fl_bf16_way() - 1]


def choose_bf16(str way not None):
    """Set the best way of computing products of numbers of 16 bits that may be taken; for tests."""
    fl_bf16_choose(1 + ("wide", "dots", "tiles").index(way))


def compiler():
    """Return the compiler that built the kernels."""
    return FASTLSTM_COMPILER.decode()


# ------------------------------------------------------------------ memory

cdef class Workspace:
    """Memory that grows to the largest request and is kept: the steady state of training allocates nothing.

    One thread at a time may use a workspace.
    """

    def __reduce__(self):
        return Workspace, ()  # a copy is empty

    cdef void *reserve(self, size_t size) except? NULL:
        if size == SIZE_MAX or size > <size_t>(SIZE_MAX // 8):
            raise MemoryError("this batch needs more memory than can be addressed: use smaller batches")
        if size > self.size:
            self.memory = None  # before the new one is made: the two never exist at the same time
            self.size = 0
            self.memory = np.empty(size + 63, dtype=np.uint8)
            self.data = <void *>((<uintptr_t>cnp.PyArray_DATA(self.memory) + 63) & ~<uintptr_t>63)
            self.size = size
        return self.data

    @property
    def nbytes(self):
        """Bytes held."""
        return self.size


include "_core_packed.pxi"


# ------------------------------------------------------------------ LSTM

cdef int _function(fl_function *to, str name, function) except -1:
    to.kind = _activation(function.number)
    to.alpha = function.alpha
    to.beta = function.beta
    if not (isfinite(to.alpha) and isfinite(to.beta)):
        raise ValueError(f"{name} is {function!r}: its parameters must be finite")
    return 0


cdef int _settings(fl_lstm_cell *to, cell) except -1:
    """Copy the settings of a `fastlstm.cell.Cell`, but not its weights."""
    _function(&to.gate, "gate_activation", cell.gate_activation)
    _function(&to.cell, "cell_activation", cell.cell_activation)
    _function(&to.output, "output_activation", cell.output_activation)
    to.coupled = cell.coupled
    to.layer_norm = cell.layer_norm
    to.norm_eps = NORM_EPS
    to.gate_clip, to.cell_clip, to.output_clip = cell.gate_clip, cell.cell_clip, cell.output_clip
    to.recurrent_dropout, to.variational_dropout = cell.recurrent_dropout, cell.variational_dropout
    to.zoneout_h, to.zoneout_c = cell.zoneout_h, cell.zoneout_c
    for limit in (to.gate_clip, to.cell_clip, to.output_clip):
        if not limit >= 0:
            raise ValueError(f"a clipping limit is {limit}, expected 0 or more, or infinity for none")
    for share in (to.recurrent_dropout, to.variational_dropout, to.zoneout_h, to.zoneout_c):
        if not 0 <= share < 1:
            raise ValueError(f"a probability of dropout or zoneout is {share}, expected 0 or more and less than 1")
    return 0


cdef int _cell_weights(fl_lstm_cell *to, cell_weights, int dtype, ptrdiff_t gates, ptrdiff_t hidden) except -1:
    """Set the weights of a cell that is not the plain one, and its projection."""
    to.projection = 0
    weight_hr, peepholes, gain_ih, gain_hh, gain_c, bias_c = cell_weights
    if weight_hr is not None:
        if not isinstance(weight_hr, cnp.ndarray) or np.ndim(weight_hr) != 2 or len(weight_hr) < 1:
            raise ValueError(f"weight_hr has shape {np.shape(weight_hr)}, expected (projection, {hidden})")
        to.projection = len(weight_hr)
    to.weight_hr = optional_of(weight_hr, "weight_hr", dtype, shape2(to.projection, hidden), False)
    to.peepholes = optional_of(peepholes, "peepholes", dtype, shape2(gates - 1, hidden), False)
    if to.layer_norm and (gain_ih is None or gain_hh is None or gain_c is None or bias_c is None):
        raise ValueError("layer normalisation needs gain_ih, gain_hh, gain_c and bias_c")
    to.gain_ih = optional_of(gain_ih, "gain_ih", dtype, shape1(gates * hidden), False)
    to.gain_hh = optional_of(gain_hh, "gain_hh", dtype, shape1(gates * hidden), False)
    to.gain_c = optional_of(gain_c, "gain_c", dtype, shape1(hidden), False)
    to.bias_c = optional_of(bias_c, "bias_c", dtype, shape1(hidden), False)
    return 0


cdef inline ptrdiff_t _gates(const fl_lstm_pass *lstm) noexcept:
    return 3 if lstm.cell != NULL and lstm.cell.coupled else 4


cdef inline ptrdiff_t _recurrent(const fl_lstm_pass *lstm) noexcept:
    """Return the size of h."""
    return lstm.cell.projection if lstm.cell != NULL and lstm.cell.projection else lstm.hidden


cdef int _lstm_weights(fl_lstm_pass *lstm, fl_lstm_cell *cell, int dtype, ptrdiff_t inputs, cnp.ndarray weight_ih,
                       cnp.ndarray weight_hh, bias_ih, bias_hh, cell_weights) except -1:
    """Set the weights and sizes of a pass; ``cell``, with its settings, is NULL for the plain one."""
    cdef ptrdiff_t gates
    lstm.cell = cell
    lstm.input = inputs
    lstm.hidden = cnp.PyArray_DIM(weight_hh, 1)
    gates = _gates(lstm)
    if cell != NULL:
        if isinstance(cell_weights.weight_hr, cnp.ndarray) and cell_weights.weight_hr.ndim == 2:
            lstm.hidden = cell_weights.weight_hr.shape[1]
        _cell_weights(cell, cell_weights, dtype, gates, lstm.hidden)
    if inputs < 1 or lstm.hidden < 1:
        raise ValueError(f"input size {inputs} and hidden size {lstm.hidden} must be 1 or more")
    lstm.weight_ih = array_of(weight_ih, "weight_ih", dtype, shape2(gates * lstm.hidden, inputs), False)
    lstm.weight_hh = array_of(weight_hh, "weight_hh", dtype, shape2(gates * lstm.hidden, _recurrent(lstm)), False)
    lstm.bias_ih = optional_of(bias_ih, "bias_ih", dtype, shape1(gates * lstm.hidden), False)
    lstm.bias_hh = optional_of(bias_hh, "bias_hh", dtype, shape1(gates * lstm.hidden), False)
    return 0


cdef class LSTMPass:
    """One LSTM layer in one direction, over one batch after the other.

    It owns the workspace in which a training forward pass leaves what the backward pass needs. One thread at a time may
    use it; concurrent callers need one each.
    """

    def __cinit__(self):
        self.workspace = Workspace()
        self.lstm.training = 0
        self.lstm.packed = NULL
        self.lstm.cell = NULL
        self.isa = NULL
        self.busy = False

    cdef int enter(self) except -1:
        if self.busy:
            raise RuntimeError("this LSTMPass is in use by another thread: give each thread its own")
        self.busy = True
        return 0

    def forward(self, cnp.ndarray x not None, cnp.ndarray weight_ih not None, cnp.ndarray weight_hh not None,
                bias_ih=None, bias_hh=None, *, lengths=None, h0=None, c0=None, y=None, hn=None, cn=None,
                bint reverse=False, bint training=False, ptrdiff_t recompute_every=0, PackedWeights packed=None,
                n_threads=1, cell=None, cell_weights=None, uint64_t seed=0, ptrdiff_t first_row=0,
                bint bf16=False, bint quantized=False, x_limits=None):
        """Run the layer; see ``fl_lstm_forward`` in csrc/fastlstm.h. Results go to y, hn, cn where given.

        ``cell`` is a ``fastlstm.cell.Cell`` and ``cell_weights`` its ``fastlstm.cell.CellWeights``, for all cells
        except the plain one; ``seed`` is that of the cell's masks, and row b has those of row ``first_row + b``.
        ``x`` must not change until ``backward`` has read it again. ``packed``: where weights that nobody can write to
        are kept packed, for inference. ``bf16``: the operands of its products are rounded to bfloat16. ``quantized``:
        in 8 bits; ``x_limits`` (input,): the largest magnitude of each feature of x, None for a scale of each row and
        step.
        """
        cdef fl_lstm_pass *lstm = &self.lstm
        cdef fl_dtype dtype
        cdef Shape series, state, state_h
        cdef _Packed weights = None
        self.enter()
        try:
            if recompute_every < 0:
                raise ValueError(f"recompute_every is {recompute_every}, expected 0 (keep all steps) or more")
            lstm.n_threads = thread_count(n_threads)
            lstm.training = 0  # until this pass is complete there is nothing to go back through
            self.dtype = dtype = dtype_of(x, "x")
            if cnp.PyArray_NDIM(x) != 3 or cnp.PyArray_NDIM(weight_hh) != 2:
                raise ValueError(f"x has {x.ndim} axes and weight_hh {weight_hh.ndim}, expected (batch, time, input) "
                                 "and (4 * hidden, hidden)")
            if cell is None and cell_weights is not None:
                raise ValueError("cell_weights belong to a cell: give the cell, too")
            if cell is not None and cell is not self.settings:
                self.settings = None
                _settings(&self.cell, cell)
                self.settings = cell
            self.cell.seed, self.cell.first_row = seed, _first_row(first_row, cnp.PyArray_DIM(x, 0))
            lstm.batch, lstm.time = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
            _lstm_weights(lstm, NULL if cell is None else &self.cell, dtype, cnp.PyArray_DIM(x, 2), weight_ih,
                          weight_hh, bias_ih, bias_hh, NO_CELL_WEIGHTS if cell_weights is None else cell_weights)
            series = shape3(lstm.batch, lstm.time, lstm.input)
            lstm.x = series_of(x, "x", dtype, series, False, &lstm.x_batch, &lstm.x_time)
            if lengths is not None:
                lengths = np.asarray(lengths)
                if lengths.dtype.kind not in "iu":
                    raise TypeError(f"lengths has dtype {lengths.dtype}, expected integers")
                lengths = np.array(lengths, dtype=np.int64)  # a copy: the backward pass reads it again
            lstm.lengths = lengths_of(lengths, lstm.batch, lstm.time)
            state, state_h = shape2(lstm.batch, lstm.hidden), shape2(lstm.batch, _recurrent(lstm))
            lstm.h0 = optional_of(h0, "h0", dtype, state_h, False)
            lstm.c0 = optional_of(c0, "c0", dtype, state, False)
            lstm.hn = optional_of(hn, "hn", dtype, state_h, True)
            lstm.cn = optional_of(cn, "cn", dtype, state, True)
            series.size[2] = _recurrent(lstm)
            lstm.y = series_of(y, "y", dtype, series, True, &lstm.y_batch, &lstm.y_time)
            lstm.reverse = reverse
            lstm.recompute_every = recompute_every
            self.isa = fl_isa_active()
            # Before the pass: nothing that may fail comes between it and its end.
            self.held = (x, weight_ih, weight_hh, lengths, cell_weights) if training else None
            lstm.x_limits = _quantized(quantized, x_limits, dtype, lstm.input, lstm.hidden)
            lstm.quantized = quantized
            if bf16 and (dtype != FL_F32 or quantized):
                raise TypeError("operands of 16 bits belong to float32 weights that are not quantized")
            lstm.bf16 = bf16
            if quantized and (training or cell is not None):
                raise ValueError("quantized weights serve inference with the plain cell alone")
            if packed is not None and not training:
                weights = packed.of_lstm(dtype, lstm, (weight_ih, weight_hh, bias_ih, bias_hh, cell_weights, x_limits))
                lstm.packed = NULL if weights is None else weights.data
            if quantized and weights is None:
                raise ValueError("quantized weights and x_limits must be read-only, and `packed` be given")
            lstm.training = training
            try:
                lstm.workspace = self.workspace.reserve(fl_lstm_workspace(dtype, lstm))
            except BaseException:
                lstm.training = 0
                raise
            with nogil:
                fl_lstm_forward(dtype, lstm)
        finally:
            lstm.packed = lstm.x_limits = NULL
            lstm.quantized = 0
            self.busy = False

    def backward(self, *, dy=None, dhn=None, dcn=None, dx=None, bint dx_add=False, dweight_ih=None, dweight_hh=None,
                 dbias_ih=None, dbias_hh=None, dh0=None, dc0=None, n_threads=1, d_cell_weights=None):
        """Go back through the last training pass, once; see ``fl_lstm_backward`` in csrc/fastlstm.h.

        dy, dhn, dcn come in (None: zeros). dx, dh0, dc0 are overwritten (dx added to with ``dx_add``), the gradients of
        the parameters are added to; None: not wanted. ``d_cell_weights``: those of the cell's own weights, in a
        ``fastlstm.cell.CellWeights``.
        """
        cdef fl_lstm_pass *lstm = &self.lstm
        cdef fl_lstm_gradients to
        cdef fl_dtype dtype = self.dtype
        cdef ptrdiff_t rows, hidden = lstm.hidden, recurrent
        cdef Shape series, state, state_h
        self.enter()
        try:
            if not lstm.training:
                raise RuntimeError("backward() needs a forward(training=True) before it, once for each backward()")
            if self.isa != fl_isa_active():
                raise RuntimeError("the instruction set was changed between forward() and backward()")
            rows, recurrent = _gates(lstm) * hidden, _recurrent(lstm)
            state, state_h = shape2(lstm.batch, hidden), shape2(lstm.batch, recurrent)
            series = shape3(lstm.batch, lstm.time, recurrent)
            to.dy = series_of(dy, "dy", dtype, series, False, &to.dy_batch, &to.dy_time)
            series.size[2] = lstm.input
            to.dx = series_of(dx, "dx", dtype, series, True, &to.dx_batch, &to.dx_time)
            to.dx_add = dx_add
            to.dhn = optional_of(dhn, "dhn", dtype, state_h, False)
            to.dcn = optional_of(dcn, "dcn", dtype, state, False)
            to.dh0 = optional_of(dh0, "dh0", dtype, state_h, True)
            to.dc0 = optional_of(dc0, "dc0", dtype, state, True)
            to.dweight_ih = optional_of(dweight_ih, "dweight_ih", dtype, shape2(rows, lstm.input), True)
            to.dweight_hh = optional_of(dweight_hh, "dweight_hh", dtype, shape2(rows, recurrent), True)
            to.dbias_ih = optional_of(dbias_ih, "dbias_ih", dtype, shape1(rows), True)
            to.dbias_hh = optional_of(dbias_hh, "dbias_hh", dtype, shape1(rows), True)
            d_cell_weights = NO_CELL_WEIGHTS if d_cell_weights is None else d_cell_weights
            dweight_hr, dpeepholes, dgain_ih, dgain_hh, dgain_c, dbias_c = d_cell_weights
            to.dweight_hr = optional_of(dweight_hr, "dweight_hr", dtype, shape2(recurrent, hidden), True)
            to.dpeepholes = optional_of(dpeepholes, "dpeepholes", dtype, shape2(_gates(lstm) - 1, hidden), True)
            to.dgain_ih = optional_of(dgain_ih, "dgain_ih", dtype, shape1(rows), True)
            to.dgain_hh = optional_of(dgain_hh, "dgain_hh", dtype, shape1(rows), True)
            to.dgain_c = optional_of(dgain_c, "dgain_c", dtype, shape1(hidden), True)
            to.dbias_c = optional_of(dbias_c, "dbias_c", dtype, shape1(hidden), True)
            lstm.n_threads = thread_count(n_threads)
            with nogil:
                fl_lstm_backward(dtype, lstm, &to)
            lstm.training = 0
            self.held = None
        finally:
            self.busy = False

    @property
    def nbytes(self):
        """Bytes of workspace held."""
        return self.workspace.nbytes


# ------------------------------------------------------------------ Dense

cdef int _dense(fl_dense_pass *dense, fl_dtype dtype, cnp.ndarray x, cnp.ndarray weight, int n_threads) except -1:
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_NDIM(weight) != 2:
        raise ValueError(f"x has {x.ndim} axes and weight {weight.ndim}, expected (rows, input) and (output, input)")
    dense.rows, dense.input, dense.output = x.shape[0], x.shape[1], weight.shape[0]
    if dense.input < 1 or dense.output < 1:
        raise ValueError(f"input size {dense.input} and output size {dense.output} must be 1 or more")
    dense.x = array_of(x, "x", dtype, shape2(dense.rows, dense.input), False)
    dense.weight = array_of(weight, "weight", dtype, shape2(dense.output, dense.input), False)
    dense.bias = dense.y = dense.packed = dense.x_limits = NULL
    dense.quantized = 0
    dense.n_threads = n_threads
    return 0


def dense_forward(cnp.ndarray x not None, cnp.ndarray weight not None, bias, cnp.ndarray y not None,
                  Workspace workspace not None, n_threads=1, PackedWeights packed=None, bint quantized=False,
                  x_limits=None):
    """Compute y = x weight' + bias for x (rows, input), weight (output, input), y (rows, output).

    ``packed``: where weight and bias that nobody can write to are kept packed; ``quantized``, ``x_limits``: as in
    `LSTMPass.forward`.
    """
    cdef fl_dense_pass dense
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef _Packed weights = None
    _dense(&dense, dtype, x, weight, thread_count(n_threads))
    dense.bias = optional_of(bias, "bias", dtype, shape1(dense.output), False)
    dense.y = array_of(y, "y", dtype, shape2(dense.rows, dense.output), True)
    dense.backward = 0
    dense.x_limits = _quantized(quantized, x_limits, dtype, dense.input, 1)
    dense.quantized = quantized
    if packed is not None:
        weights = packed.of_dense(dtype, &dense, (weight, bias, x_limits))
        dense.packed = NULL if weights is None else weights.data
    if quantized and weights is None:
        raise ValueError("quantized weights and x_limits must be read-only, and `packed` be given")
    dense.workspace = workspace.reserve(fl_dense_workspace(dtype, &dense))
    with nogil:
        fl_dense_forward(dtype, &dense)


def dense_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight not None, dx, dweight, dbias,
                   Workspace workspace not None, n_threads=1):
    """Compute dx = dy weight (overwritten); dweight += dy' x; dbias += the column sums of dy. None: not wanted."""
    cdef fl_dense_pass dense
    cdef fl_dtype dtype = dtype_of(x, "x")
    _dense(&dense, dtype, x, weight, thread_count(n_threads))
    cdef void *from_dy = array_of(dy, "dy", dtype, shape2(dense.rows, dense.output), False)
    cdef void *to_dx = optional_of(dx, "dx", dtype, shape2(dense.rows, dense.input), True)
    cdef void *to_dweight = optional_of(dweight, "dweight", dtype, shape2(dense.output, dense.input), True)
    cdef void *to_dbias = optional_of(dbias, "dbias", dtype, shape1(dense.output), True)
    dense.backward = 1
    dense.workspace = workspace.reserve(fl_dense_workspace(dtype, &dense))
    with nogil:
        fl_dense_backward(dtype, &dense, from_dy, to_dx, to_dweight, to_dbias)


# ------------------------------------------------------------------ Convolution

include "_core_conv.pxi"
include "_core_normalize.pxi"


# ------------------------------------------------------------------ Scaling, embedding, dropout

def standardize(cnp.ndarray x not None, cnp.ndarray mean not None, cnp.ndarray scale not None, cnp.ndarray y not None):
    """Compute y = (x - mean) / scale for x and y (..., width), each float32 or float64; y may be x."""
    _scale(x, mean, scale, y, False)


def standardize_missing(cnp.ndarray x not None, cnp.ndarray mean not None, cnp.ndarray scale not None,
                        cnp.ndarray missing not None, cnp.ndarray y not None):
    """Do `standardize` for x (..., width) and y (..., width + k), where features missing (k,), int64, may be NaN."""
    cdef fl_dtype x_dtype = dtype_of(x, "x")
    cdef fl_dtype y_dtype = dtype_of(y, "y")
    cdef ptrdiff_t width = mean.size, rows = x.size // max(width, 1), count
    cdef const double *from_mean = <const double *>array_of(mean, "mean", FL_F64, shape1(width), False)
    cdef const double *from_scale = <const double *>array_of(scale, "scale", FL_F64, shape1(width), False)
    cdef const int64_t *from_missing = missing_features(missing, width, &count)
    cdef void *from_x = data_of(x, "x", x_dtype, False)
    cdef void *to = data_of(y, "y", y_dtype, True)
    if width < 1 or x.size != rows * width or y.size != rows * (width + count):
        raise ValueError(f"x has shape {array_shape(x)} and y {array_shape(y)}, expected rows of {width} and of "
                         f"{width + count}")
    if from_x == to:
        raise ValueError("y is x, expected an array of its own")
    with nogil:
        fl_standardize_missing(y_dtype, x_dtype, rows, width, from_x, from_mean, from_scale, from_missing, count, to)


cdef const int64_t *missing_features(cnp.ndarray missing, ptrdiff_t width, ptrdiff_t *count) except? NULL:
    """Return the data of the indices of features that may be missing, and their number."""
    cdef const int64_t *data
    cdef ptrdiff_t k
    count[0] = missing.size
    data = <const int64_t *>array_of(missing, "missing", INT64, shape1(count[0]), False)
    for k in range(count[0]):
        if not 0 <= data[k] < width:
            raise ValueError(f"missing holds {data[k]}, expected features from 0 to {width - 1}")
    return data


def unstandardize(cnp.ndarray x not None, cnp.ndarray mean not None, cnp.ndarray scale not None,
                  cnp.ndarray y not None):
    """Compute y = x * scale + mean for x and y (..., width), each float32 or float64; y may be x."""
    _scale(x, mean, scale, y, True)


cdef int _scale(cnp.ndarray x, cnp.ndarray mean, cnp.ndarray scale, cnp.ndarray y, bint back) except -1:
    cdef fl_dtype x_dtype = dtype_of(x, "x")
    cdef fl_dtype y_dtype = dtype_of(y, "y")
    cdef ptrdiff_t width = mean.size, rows
    cdef const double *from_mean = <const double *>array_of(mean, "mean", FL_F64, shape1(width), False)
    cdef const double *from_scale = <const double *>array_of(scale, "scale", FL_F64, shape1(width), False)
    cdef void *from_x = data_of(x, "x", x_dtype, False)
    cdef void *to = data_of(y, "y", y_dtype, True)
    if width < 1 or x.size != y.size or x.size % width:
        raise ValueError(f"x has shape {array_shape(x)} and y {array_shape(y)}, expected the same, in rows of {width}")
    rows = x.size // width
    with nogil:
        if back:
            fl_unstandardize(x_dtype, y_dtype, rows, width, from_x, from_mean, from_scale, to)
        else:
            fl_standardize(y_dtype, x_dtype, rows, width, from_x, from_mean, from_scale, to)
    return 0


def embedding_forward(cnp.ndarray index not None, cnp.ndarray table not None, cnp.ndarray out not None, n_threads=1):
    """Compute out[n] = table[index[n]] for index (n,) int64, table (size, width), out (n, width)."""
    cdef fl_dtype dtype = dtype_of(table, "table")
    cdef int threads = thread_count(n_threads)
    cdef ptrdiff_t n = index.size, width
    check_two_axes(table, "table")
    width = table.shape[1]
    cdef const int64_t *tokens = <const int64_t *>array_of(index, "index", INT64, shape1(n), False)
    cdef void *from_table = data_of(table, "table", dtype, False)
    cdef void *to = array_of(out, "out", dtype, shape2(n, width), True)
    check_tokens(tokens, n, table.shape[0])
    with nogil:
        fl_embedding_forward(dtype, n, width, tokens, from_table, to, threads)


def embedding_backward(cnp.ndarray index not None, cnp.ndarray dout not None, cnp.ndarray dtable not None, n_threads=1):
    """Compute dtable[index[n]] += dout[n], in the order of n."""
    cdef fl_dtype dtype = dtype_of(dtable, "dtable")
    cdef int threads = thread_count(n_threads)
    cdef ptrdiff_t n = index.size, width
    check_two_axes(dtable, "dtable")
    width = dtable.shape[1]
    cdef const int64_t *tokens = <const int64_t *>array_of(index, "index", INT64, shape1(n), False)
    cdef void *from_dout = array_of(dout, "dout", dtype, shape2(n, width), False)
    cdef void *to = data_of(dtable, "dtable", dtype, True)
    check_tokens(tokens, n, dtable.shape[0])
    with nogil:
        fl_embedding_backward(dtype, n, width, tokens, from_dout, to, threads)


cdef ptrdiff_t _first_row(ptrdiff_t first_row, ptrdiff_t rows) except -1:
    """Return the number of the first row, by which rows draw; raise ValueError if one has no word of 32 bits.

    A whole batch, whose first row is 0, is not refused here: of so many rows memory runs out.
    """
    if first_row < 0 or (first_row > 0 and first_row + rows > 1 << 32):
        raise ValueError(f"first_row is {first_row} for {rows} rows, expected numbers of rows from 0 to 2^32 - 1")
    return first_row


def dropout(cnp.ndarray x not None, cnp.ndarray y not None, double p, uint64_t seed, n_threads=1, *,
            ptrdiff_t first_row=0):
    """Compute y = x / (1 - p) where kept, 0 elsewhere, for x (batch, ...). y may be x.

    The draw of an element depends on the seed, its row of the batch and its place in the row. Rows are numbered from
    ``first_row`` on, so that a part of a batch draws what the whole does.
    """
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef int threads = thread_count(n_threads)
    cdef ptrdiff_t rows = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) > 0 else 1, size = x.size // max(rows, 1)
    cdef void *from_x = data_of(x, "x", dtype, False)
    cdef void *to = like(y, "y", dtype, x, True)
    if not 0 <= p < 1:
        raise ValueError(f"dropout p is {p}, expected 0 <= p < 1")
    first_row = _first_row(first_row, rows)
    with nogil:
        fl_dropout(dtype, rows, size, from_x, to, p, seed, first_row, threads)


def noise(cnp.ndarray x not None, cnp.ndarray y not None, double stddev, uint64_t seed, n_threads=1, *,
          ptrdiff_t first_row=0):
    """Compute y = x + stddev z, for x (batch, ...), with normal z drawn as by `dropout`. y may be x."""
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef int threads = thread_count(n_threads)
    cdef ptrdiff_t rows = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) > 0 else 1, size = x.size // max(rows, 1)
    cdef void *from_x = data_of(x, "x", dtype, False)
    cdef void *to = like(y, "y", dtype, x, True)
    first_row = _first_row(first_row, rows)
    with nogil:
        fl_noise(dtype, rows, size, from_x, to, stddev, seed, first_row, threads)


def philox(uint64_t seed, uint64_t counter):
    """Return the four 32-bit words of Philox4x32-10 at a counter."""
    cdef uint32_t words[4]
    fl_philox4x32(seed, counter, words)
    return words[0], words[1], words[2], words[3]


def random_words(uint64_t seed, uint64_t first, ptrdiff_t n):
    """Return the random words (n,) of 64 bits number first, first + 1, ... of a seed."""
    if n < 0:
        raise ValueError(f"n is {n}, expected 0 or more")
    words = np.empty(n, np.uint64)
    cdef cnp.ndarray array = words
    cdef uint64_t *to = <uint64_t *>cnp.PyArray_DATA(array)
    with nogil:
        fl_random_words(seed, first, n, to)
    return words


def normals(uint64_t seed, uint64_t first, cnp.ndarray y not None):
    """Fill a vector of float64 with the normal numbers number first, first + 1, ... of a seed."""
    cdef ptrdiff_t n = y.size
    cdef double *to = <double *>array_of(y, "y", FL_F64, shape1(n), True)
    with nogil:
        fl_normals(seed, first, n, to)


# ------------------------------------------------------------------ Sums and functions of doubles

include "_core_doubles.pxi"


# ------------------------------------------------------------------ Activations

cdef int _activation(int number) except -1:
    if not 0 <= number < FL_FUNCTIONS:
        raise ValueError(f"activation {number} is unknown, expected 0 to {FL_FUNCTIONS - 1}")
    return number


def activation(int number, double alpha, double beta, cnp.ndarray x not None, cnp.ndarray y not None, n_threads=1):
    """Compute y = f(x), element by element, for the function of this number; y may be x."""
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef int function = _activation(number), threads = thread_count(n_threads)
    cdef ptrdiff_t n = x.size
    cdef void *from_x = data_of(x, "x", dtype, False)
    cdef void *to = like(y, "y", dtype, x, True)
    with nogil:
        fl_activation(dtype, function, alpha, beta, n, from_x, to, threads)


def activation_backward(int number, double alpha, double beta, cnp.ndarray x not None, cnp.ndarray y not None,
                        cnp.ndarray dy not None, cnp.ndarray dx not None, n_threads=1):
    """Compute dx = dy f'(x), where y = f(x); dx may be dy."""
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef int function = _activation(number), threads = thread_count(n_threads)
    cdef ptrdiff_t n = x.size
    cdef void *from_x = data_of(x, "x", dtype, False)
    cdef void *from_y = like(y, "y", dtype, x, False)
    cdef void *from_dy = like(dy, "dy", dtype, x, False)
    cdef void *to = like(dx, "dx", dtype, x, True)
    with nogil:
        fl_activation_backward(dtype, function, alpha, beta, n, from_x, from_y, from_dy, to, threads)


# ------------------------------------------------------------------ Softmax

def softmax(cnp.ndarray logits not None, cnp.ndarray out not None, n_threads=1):
    """Compute the row-wise softmax of logits (rows, classes) into out; out may be logits."""
    cdef Rows rows = rows_of(logits, "logits")
    cdef int threads = thread_count(n_threads)
    cdef void *to = like(out, "out", rows.dtype, logits, True)
    with nogil:
        fl_softmax(rows.dtype, rows.n, rows.width, rows.data, to, threads)


def softmax_backward(cnp.ndarray p not None, cnp.ndarray dy not None, cnp.ndarray dx not None, n_threads=1):
    """Compute dx = p (dy - sum(p dy)) for each row of the probabilities p (rows, classes); dx may be dy."""
    cdef Rows rows = rows_of(p, "p")
    cdef int threads = thread_count(n_threads)
    cdef void *from_dy = like(dy, "dy", rows.dtype, p, False)
    cdef void *to = like(dx, "dx", rows.dtype, p, True)
    with nogil:
        fl_softmax_backward(rows.dtype, rows.n, rows.width, rows.data, from_dy, to, threads)


def softmax_cross_entropy(cnp.ndarray logits not None, cnp.ndarray labels not None, weights, dlogits,
                          cnp.ndarray losses not None, n_threads=1):
    """Compute losses[n] = w[n] * -log softmax(logits[n])[labels[n]] and its gradient, dlogits.

    A row with a negative label has loss 0 and gradient 0.
    """
    cdef Rows rows = rows_of(logits, "logits")
    cdef int threads = thread_count(n_threads)
    cdef ptrdiff_t n
    cdef const int64_t *label = <const int64_t *>array_of(labels, "labels", INT64, shape1(rows.n), False)
    cdef void *weight = optional_of(weights, "weights", rows.dtype, shape1(rows.n), False)
    cdef void *gradients = optional_of(dlogits, "dlogits", rows.dtype, shape2(rows.n, rows.width), True)
    cdef double *loss = <double *>array_of(losses, "losses", FL_F64, shape1(rows.n), True)
    for n in range(rows.n):
        if label[n] >= rows.width:
            raise ValueError(f"label {label[n]} at position {n} is outside the {rows.width} classes of the logits, "
                             f"expected at most {rows.width - 1}")
    with nogil:
        fl_softmax_cross_entropy(rows.dtype, rows.n, rows.width, rows.data, label, weight, gradients, loss, threads)


# ------------------------------------------------------------------ CTC

def ctc(cnp.ndarray logits not None, cnp.ndarray labels not None, cnp.ndarray label_lengths not None, int64_t blank,
        weights, dlogits, cnp.ndarray losses not None, Workspace workspace not None, *, lengths=None, n_threads=1):
    """Compute losses[b], w[b] times the CTC loss of logits[b] (time, classes) and labels[b]; dlogits is its gradient.

    See ``fl_ctc`` in csrc/fastlstm.h.
    """
    cdef fl_dtype dtype = dtype_of(logits, "logits")
    cdef fl_ctc_pass run
    cdef ptrdiff_t b, k
    cdef int64_t label
    if cnp.PyArray_NDIM(logits) != 3 or cnp.PyArray_DIM(logits, 2) < 1 or cnp.PyArray_NDIM(labels) != 2:
        raise ValueError(f"logits has shape {array_shape(logits)} and labels {array_shape(labels)}, expected "
                         "(batch, time, classes) and (batch, labels)")
    run.batch, run.time, run.classes = logits.shape[0], logits.shape[1], logits.shape[2]
    run.max_labels = labels.shape[1]
    run.n_threads = thread_count(n_threads)
    run.blank = blank
    if not 0 <= blank < run.classes:
        raise ValueError(f"blank is {blank}, expected 0 to {run.classes - 1}, one of the classes")
    run.logits = data_of(logits, "logits", dtype, False)
    run.labels = <const int64_t *>array_of(labels, "labels", INT64, shape2(run.batch, run.max_labels), False)
    run.label_lengths = <const int64_t *>array_of(label_lengths, "label_lengths", INT64, shape1(run.batch), False)
    run.lengths = lengths_of(lengths, run.batch, run.time)
    run.weights = <const double *>optional_of(weights, "weights", FL_F64, shape1(run.batch), False)
    run.dlogits = optional_of(dlogits, "dlogits", dtype, shape3(run.batch, run.time, run.classes), True)
    run.losses = <double *>array_of(losses, "losses", FL_F64, shape1(run.batch), True)
    for b in range(run.batch):
        if not 0 <= run.label_lengths[b] <= run.max_labels:
            raise ValueError(f"label_lengths[{b}] is {run.label_lengths[b]}, expected 0 to {run.max_labels}")
        for k in range(run.label_lengths[b]):
            label = run.labels[b * run.max_labels + k]
            if label < 0 or label >= run.classes or label == blank:
                raise ValueError(f"label {label} at [{b}, {k}] is not one of the {run.classes} classes, or is the "
                                 f"blank, {blank}: expected another from 0 to {run.classes - 1}")
    run.workspace = workspace.reserve(fl_ctc_workspace(dtype, &run))
    with nogil:
        fl_ctc(dtype, &run)


def ctc_beam_search(cnp.ndarray log_p not None, int64_t blank, ptrdiff_t beam_width, Workspace workspace not None):
    """Return the most probable labels of one case (time, classes), int64, and the logarithm of their probability."""
    cdef ptrdiff_t time, classes, count
    cdef double score
    if cnp.PyArray_NDIM(log_p) != 2:
        raise ValueError(f"log_p has shape {array_shape(log_p)}, expected (time, classes)")
    time, classes = log_p.shape[0], log_p.shape[1]
    if not 0 <= blank < classes or beam_width < 1:
        raise ValueError(f"blank is {blank}, expected 0 to {classes - 1}; beam_width is {beam_width}, expected 1 or "
                         "more")
    cdef double *from_log_p = <double *>data_of(log_p, "log_p", FL_F64, False)
    cdef cnp.ndarray out = np.empty(time, np.int64)
    cdef int64_t *labels = <int64_t *>cnp.PyArray_DATA(out)
    if (time > 0 and beam_width > 2**30 // time) or classes > 2**30:
        raise MemoryError(f"{time} steps with a beam of {beam_width} are too many: use a smaller beam_width")
    cdef void *memory = workspace.reserve(fl_ctc_beam_workspace(time, classes, beam_width))
    with nogil:
        count = fl_ctc_beam_search(time, classes, from_log_p, blank, beam_width, labels, &score, memory)
    return out[:count].copy(), score


def edit_distance(cnp.ndarray a not None, cnp.ndarray b not None):
    """Return how many insertions, deletions and changes make one int64 vector into the other, at least."""
    cdef ptrdiff_t n = a.size, m = b.size
    cdef const int64_t *from_a = <const int64_t *>array_of(a, "a", INT64, shape1(n), False)
    cdef const int64_t *from_b = <const int64_t *>array_of(b, "b", INT64, shape1(m), False)
    cdef cnp.ndarray row = np.empty(m + 1, np.int64)
    cdef int64_t *to = <int64_t *>cnp.PyArray_DATA(row)
    with nogil:
        n = fl_edit_distance(n, from_a, m, from_b, to)
    return n


# ------------------------------------------------------------------ Pooling

POOL_KINDS = {"last": FL_POOL_LAST, "mean": FL_POOL_MEAN, "max": FL_POOL_MAX, "attention": FL_POOL_ATTENTION}
POOL_COUNTS = FL_POOL_COUNTS


cdef int _pool(fl_pool_pass *pool, fl_dtype dtype, str kind, cnp.ndarray x, y, lengths, scores, index, weights,
               n_threads) except -1:
    if cnp.PyArray_NDIM(x) != 3:
        raise ValueError(f"x has shape {array_shape(x)}, expected (batch, time, features)")
    pool.kind = POOL_KINDS[kind]
    pool.batch, pool.time, pool.width = x.shape[0], x.shape[1], x.shape[2]
    pool.x = data_of(x, "x", dtype, False)
    pool.y = array_of(y, "y", dtype, shape2(pool.batch, pool.width), True)
    pool.every_step = 0
    pool.lengths = lengths_of(lengths, pool.batch, pool.time)
    pool.scores = optional_of(scores, "scores", dtype, shape2(pool.batch, pool.time), False)
    pool.index = <int64_t *>optional_of(index, "index", INT64, shape2(pool.batch, pool.width), True)
    pool.weights = optional_of(weights, "weights", dtype, shape2(pool.batch, pool.time), True)
    if (pool.kind == FL_POOL_ATTENTION) != (scores is not None):
        raise ValueError(f"scores are for attention, and needed there; the kind is {kind!r}")
    if pool.kind != FL_POOL_ATTENTION and weights is not None:
        raise ValueError(f"weights are for attention; the kind is {kind!r}")
    pool.n_threads = thread_count(n_threads)
    return 0


def pool_forward(str kind, cnp.ndarray x not None, cnp.ndarray counts not None, cnp.ndarray sums not None,
                 cnp.ndarray y not None, *, lengths=None, scores=None, index=None, weights=None, n_threads=1):
    """Pool the valid steps of x into y; counts and sums are the state, zeros at first. See ``fl_pool_forward``."""
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef fl_pool_pass pool
    _pool(&pool, dtype, kind, x, y, lengths, scores, index, weights, n_threads)
    pool.counts = <double *>array_of(counts, "counts", FL_F64, shape2(pool.batch, FL_POOL_COUNTS), True)
    pool.sums = <double *>array_of(sums, "sums", FL_F64, shape2(pool.batch, pool.width), True)
    with nogil:
        fl_pool_forward(dtype, &pool)


def pool_backward(str kind, cnp.ndarray x not None, cnp.ndarray y not None, cnp.ndarray dy not None, dx, *,
                  lengths=None, scores=None, index=None, weights=None, dscores=None, n_threads=1):
    """Compute the gradients dx and dscores, either of which may be None, from what `pool_forward` left."""
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef fl_pool_pass pool
    cdef ptrdiff_t k
    _pool(&pool, dtype, kind, x, y, lengths, scores, index, weights, n_threads)
    cdef void *from_dy = array_of(dy, "dy", dtype, shape2(pool.batch, pool.width), False)
    cdef void *to_dx = optional_of(dx, "dx", dtype, shape3(pool.batch, pool.time, pool.width), True)
    cdef void *to_dscores = optional_of(dscores, "dscores", dtype, shape2(pool.batch, pool.time), True)
    if (pool.kind == FL_POOL_MAX and index is None) or (pool.kind == FL_POOL_ATTENTION and weights is None):
        raise ValueError("the backward pass of max needs index, that of attention weights")
    if pool.kind != FL_POOL_ATTENTION and dscores is not None:
        raise ValueError(f"dscores are for attention; the kind is {kind!r}")
    if index is not None and pool.time > 0:
        for k in range(pool.batch * pool.width):
            if pool.lengths != NULL and pool.lengths[k // pool.width] == 0:
                continue  # the forward pass has left them unset, and the backward pass does not read them
            if pool.index[k] < 0 or pool.index[k] >= pool.time:
                raise ValueError(f"index holds {pool.index[k]}, expected 0 to {pool.time - 1}")
    with nogil:
        fl_pool_backward(dtype, &pool, from_dy, to_dx, to_dscores)


include "_core_window.pxi"


# ------------------------------------------------------------------ attention

include "_core_attention.pxi"


# ------------------------------------------------------------------ streams

include "_core_chain.pxi"
include "_core_stream.pxi"


# ------------------------------------------------------------------ the flat vector

def sgd_step(cnp.ndarray p not None, cnp.ndarray g not None, m, double lr, double momentum, bint nesterov,
             double weight_decay, n_threads=1):
    """Take one step of SGD over the flat vector p with gradient g; m is None when momentum is 0."""
    cdef Vector to = vector_of(p, "p", True)
    cdef int threads = thread_count(n_threads)
    cdef void *from_g = array_of(g, "g", to.dtype, shape1(to.n), False)
    cdef void *to_m = optional_of(m, "m", to.dtype, shape1(to.n), True)
    if m is None and momentum != 0:
        raise ValueError("momentum needs the array m")
    with nogil:
        fl_sgd(to.dtype, to.n, to.data, from_g, to_m, lr, momentum, nesterov, weight_decay, threads)


def rmsprop_step(cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray v not None, m, double lr, double alpha,
                 double eps, double momentum, double weight_decay, n_threads=1):
    """Take one step of RMSprop; m is None when momentum is 0."""
    cdef Vector to = vector_of(p, "p", True)
    cdef int threads = thread_count(n_threads)
    cdef void *from_g = array_of(g, "g", to.dtype, shape1(to.n), False)
    cdef void *to_v = array_of(v, "v", to.dtype, shape1(to.n), True)
    cdef void *to_m = optional_of(m, "m", to.dtype, shape1(to.n), True)
    if m is None and momentum != 0:
        raise ValueError("momentum needs the array m")
    with nogil:
        fl_rmsprop(to.dtype, to.n, to.data, from_g, to_v, to_m, lr, alpha, eps, momentum, weight_decay, threads)


def adam_step(cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray m not None, cnp.ndarray v not None, double lr,
              double beta1, double beta2, double eps, double weight_decay, bint decoupled, int64_t step, n_threads=1):
    """Take step number ``step`` (from 1) of Adam, or of AdamW when ``decoupled``."""
    cdef Vector to = vector_of(p, "p", True)
    cdef int threads = thread_count(n_threads)
    cdef void *from_g = array_of(g, "g", to.dtype, shape1(to.n), False)
    cdef void *to_m = array_of(m, "m", to.dtype, shape1(to.n), True)
    cdef void *to_v = array_of(v, "v", to.dtype, shape1(to.n), True)
    if step < 1:
        raise ValueError(f"step is {step}, expected 1 or more")
    with nogil:
        fl_adam(to.dtype, to.n, to.data, from_g, to_m, to_v, lr, beta1, beta2, eps, weight_decay, decoupled, step,
                threads)


def grad_norm(cnp.ndarray g not None, n_threads=1):
    """Return the 2-norm of a flat vector, summed in float64 in a fixed order (``n_threads`` does not change it)."""
    cdef Vector x = vector_of(g, "g", False)
    cdef int threads = thread_count(n_threads)
    cdef double result
    with nogil:
        result = fl_norm(x.dtype, x.n, x.data, threads)
    return result


def scale(cnp.ndarray g not None, double factor, n_threads=1):
    """Compute g *= factor."""
    cdef Vector to = vector_of(g, "g", True)
    cdef int threads = thread_count(n_threads)
    with nogil:
        fl_scale(to.dtype, to.n, to.data, factor, threads)


def clip_value(cnp.ndarray g not None, double limit, n_threads=1):
    """Limit every element of g to [-limit, limit]."""
    cdef Vector to = vector_of(g, "g", True)
    cdef int threads = thread_count(n_threads)
    if not limit >= 0:
        raise ValueError(f"limit is {limit}, expected 0 or more")
    with nogil:
        fl_clip(to.dtype, to.n, to.data, limit, threads)


def first_nonfinite(cnp.ndarray x not None):
    """Return the index of the first NaN or infinity of a flat vector, or -1."""
    cdef Vector of = vector_of(x, "x", False)
    cdef ptrdiff_t result
    with nogil:
        result = fl_first_nonfinite(of.dtype, of.n, of.data)
    return result
