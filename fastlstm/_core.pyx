# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The C kernels as seen from Python: arrays are checked, the GIL is released, C is called. Nothing else.

Every function takes the number of threads as an argument and works on arrays of one dtype, float32 or float64. A wrong
array raises ValueError or TypeError here; past this file nothing is checked again. What the kernels compute stands in
``csrc/fastlstm.h``.
"""
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport SIZE_MAX, int64_t, uint32_t, uint64_t, uintptr_t
from libc.limits cimport INT_MAX
from libc.math cimport isfinite
cimport numpy as cnp
import numpy as np

from .cell import NO_MORE, NORM_EPS

cnp.import_array()

cdef extern from "fastlstm.h" nogil:
    ctypedef enum fl_dtype:
        FL_F32
        FL_F64

    int fl_isa_count()
    const char *fl_isa_name(int index)
    const char *fl_isa_active()
    int fl_isa_select(const char *name)
    int fl_isa_lanes(fl_dtype dtype)
    int fl_has_openmp()
    int fl_openmp_max_threads()
    void fl_openmp_set_max_threads(int n)
    int fl_openmp_bound_processors()
    void fl_always_wake(int always)

    ctypedef struct fl_function:
        int kind
        double alpha, beta

    ctypedef struct fl_lstm_cell:
        ptrdiff_t projection
        int coupled, layer_norm
        fl_function gate, cell, output
        double gate_clip, cell_clip, output_clip
        double norm_eps
        double recurrent_dropout, variational_dropout, zoneout_h, zoneout_c
        uint64_t seed
        const void *weight_hr
        const void *peepholes
        const void *gain_ih
        const void *gain_hh
        const void *gain_c
        const void *bias_c

    ctypedef struct fl_lstm_pass:
        ptrdiff_t batch, time, input, hidden
        const int64_t *lengths
        int reverse, training
        ptrdiff_t checkpoint_every
        const void *weight_ih
        const void *weight_hh
        const void *bias_ih
        const void *bias_hh
        const fl_lstm_cell *cell
        const void *x
        ptrdiff_t x_batch, x_time
        const void *h0
        const void *c0
        void *y
        ptrdiff_t y_batch, y_time
        void *hn
        void *cn
        void *workspace
        int packed
        int n_threads

    ctypedef struct fl_lstm_gradients:
        const void *dy
        ptrdiff_t dy_batch, dy_time
        const void *dhn
        const void *dcn
        void *dx
        ptrdiff_t dx_batch, dx_time
        int dx_add
        void *dweight_ih
        void *dweight_hh
        void *dbias_ih
        void *dbias_hh
        void *dh0
        void *dc0
        void *dweight_hr
        void *dpeepholes
        void *dgain_ih
        void *dgain_hh
        void *dgain_c
        void *dbias_c

    size_t fl_lstm_workspace(fl_dtype dtype, const fl_lstm_pass *lstm)
    void fl_lstm_forward(fl_dtype dtype, const fl_lstm_pass *lstm)
    void fl_lstm_backward(fl_dtype dtype, const fl_lstm_pass *lstm, const fl_lstm_gradients *gradients)

    ctypedef struct fl_dense_pass:
        ptrdiff_t rows, input, output
        const void *weight
        const void *bias
        const void *x
        void *y
        void *workspace
        int packed
        int n_threads

    size_t fl_dense_workspace(fl_dtype dtype, const fl_dense_pass *dense)
    void fl_dense_forward(fl_dtype dtype, const fl_dense_pass *dense)
    void fl_dense_backward(fl_dtype dtype, const fl_dense_pass *dense, const void *dy, void *dx, void *dweight,
                           void *dbias)

    void fl_standardize(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean,
                        const double *scale, void *y)
    void fl_unstandardize(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean,
                          const double *scale, void *y)
    void fl_embedding_forward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *table,
                              void *out, int n_threads)
    void fl_embedding_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *dout,
                               void *dtable, int n_threads)
    void fl_dropout(fl_dtype dtype, ptrdiff_t n, const void *x, void *y, double p, uint64_t seed, int n_threads)
    void fl_philox4x32(uint64_t seed, uint64_t counter, uint32_t *out)
    void fl_activation(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x, void *y,
                       int n_threads)
    void fl_activation_backward(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x,
                                const void *y, const void *dy, void *dx, int n_threads)
    void fl_softmax_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *p, const void *dy, void *dx,
                             int n_threads)
    void fl_softmax(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits, void *out, int n_threads)
    void fl_softmax_cross_entropy(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits,
                                  const int64_t *labels, const void *weights, void *dlogits, double *losses,
                                  int n_threads)
    enum:
        FL_POOL_LAST
        FL_POOL_MEAN
        FL_POOL_MAX
        FL_POOL_ATTENTION
        FL_POOL_COUNTS

    ctypedef struct fl_pool_pass:
        int kind
        ptrdiff_t batch, time, width
        const int64_t *lengths
        const void *x
        const void *scores
        double *counts
        double *sums
        void *y
        int every_step
        int64_t *index
        void *weights
        int n_threads

    ctypedef struct fl_ctc_pass:
        ptrdiff_t batch, time, classes, max_labels
        const int64_t *lengths
        const void *logits
        const int64_t *labels
        const int64_t *label_lengths
        int64_t blank
        const double *weights
        void *dlogits
        double *losses
        void *workspace
        int n_threads

    size_t fl_ctc_workspace(fl_dtype dtype, const fl_ctc_pass *ctc)
    void fl_ctc(fl_dtype dtype, const fl_ctc_pass *ctc)
    size_t fl_ctc_beam_workspace(ptrdiff_t time, ptrdiff_t classes, ptrdiff_t beam_width)
    ptrdiff_t fl_ctc_beam_search(ptrdiff_t time, ptrdiff_t classes, const double *log_p, int64_t blank,
                                 ptrdiff_t beam_width, int64_t *labels, double *score, void *workspace)
    int64_t fl_edit_distance(ptrdiff_t n, const int64_t *a, ptrdiff_t m, const int64_t *b, int64_t *row)
    void fl_pool_forward(fl_dtype dtype, const fl_pool_pass *pool)
    void fl_pool_backward(fl_dtype dtype, const fl_pool_pass *pool, const void *dy, void *dx, void *dscores)
    void fl_sgd(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, double lr, double momentum, int nesterov,
                double weight_decay, int n_threads)
    void fl_rmsprop(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *v, void *m, double lr, double alpha,
                    double eps, double momentum, double weight_decay, int n_threads)
    void fl_adam(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, void *v, double lr, double beta1,
                 double beta2, double eps, double weight_decay, int decoupled, int64_t step, int n_threads)
    double fl_norm(fl_dtype dtype, ptrdiff_t n, const void *x, int n_threads)
    void fl_scale(fl_dtype dtype, ptrdiff_t n, void *x, double factor, int n_threads)
    void fl_clip(fl_dtype dtype, ptrdiff_t n, void *x, double limit, int n_threads)
    ptrdiff_t fl_first_nonfinite(fl_dtype dtype, ptrdiff_t n, const void *x)

cdef extern from *:
    """
    #if defined(__clang__)
    #define FASTLSTM_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTLSTM_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define FASTLSTM_COMPILER "MSVC"
    #else
    #define FASTLSTM_COMPILER "unknown"
    #endif
    """
    const char *FASTLSTM_COMPILER


# ------------------------------------------------------------------ instruction sets and build

def isa():
    """Name of the instruction set in use."""
    return fl_isa_active().decode()


def available_isas():
    """Names of the instruction sets that this machine can run, best last."""
    return [fl_isa_name(k).decode() for k in range(fl_isa_count())]


def set_isa(str name not None):
    """Chooses the instruction set; not while kernels run in other threads."""
    if fl_isa_select(name.encode()) != 0:
        raise ValueError(f"instruction set {name!r} is not available here; choose one of {available_isas()}")


def lanes():
    """Elements per vector of the instruction set in use, by dtype."""
    return {"float32": fl_isa_lanes(FL_F32), "float64": fl_isa_lanes(FL_F64)}


def openmp():
    """Whether the kernels were built with OpenMP."""
    return bool(fl_has_openmp())


def openmp_max_threads():
    """OpenMP's own limit (what threadpoolctl sets); 1 without OpenMP."""
    return fl_openmp_max_threads()


def set_openmp_max_threads(int n):
    """Sets OpenMP's own limit for the calling thread, as omp_set_num_threads does; nothing without OpenMP."""
    fl_openmp_set_max_threads(n)


def openmp_bound_processors():
    """Processors of the process if OpenMP binds threads to them, 0 if not."""
    return fl_openmp_bound_processors()


def always_wake(bint always):
    """Whether small work goes to several threads even if they sleep; see ``fl_always_wake`` in csrc/fastlstm.h."""
    fl_always_wake(always)


def compiler():
    """The compiler that built the kernels."""
    return FASTLSTM_COMPILER.decode()


# ------------------------------------------------------------------ checks

cdef fl_dtype _dtype(cnp.ndarray a, str name) except *:
    cdef int kind = cnp.PyArray_TYPE(a)
    if kind == cnp.NPY_FLOAT32:
        return FL_F32
    if kind == cnp.NPY_FLOAT64:
        return FL_F64
    raise TypeError(f"{name} has dtype {a.dtype}, expected float32 or float64: convert it with .astype")


cdef int _threads(n_threads) except -1:
    cdef int n
    try:
        n = n_threads
    except OverflowError:
        n = 0
    if n < 1:
        raise ValueError(f"n_threads is {n_threads}, expected 1 to {INT_MAX}")
    return n


# A shape without Python objects: a small pass checks some twenty arrays.
cdef struct Shape:
    int axes
    ptrdiff_t size[3]


cdef inline Shape _of(ptrdiff_t n) noexcept:
    return Shape(axes=1, size=[n, 0, 0])


cdef inline Shape _of2(ptrdiff_t n, ptrdiff_t m) noexcept:
    return Shape(axes=2, size=[n, m, 0])


cdef inline Shape _of3(ptrdiff_t n, ptrdiff_t m, ptrdiff_t k) noexcept:
    return Shape(axes=3, size=[n, m, k])


cdef inline bint _has_shape(cnp.ndarray a, Shape shape) noexcept:
    cdef int k
    if cnp.PyArray_NDIM(a) != shape.axes:
        return False
    for k in range(shape.axes):
        if cnp.PyArray_DIM(a, k) != shape.size[k]:
            return False
    return True


cdef tuple _expected(Shape shape):
    return tuple([shape.size[k] for k in range(shape.axes)])


cdef tuple _shape(cnp.ndarray a):
    return tuple([a.shape[k] for k in range(a.ndim)])


cdef void *_data(cnp.ndarray a, str name, int kind, bint write) except? NULL:
    """The data of a C-contiguous array of one dtype."""
    if cnp.PyArray_TYPE(a) != kind or not cnp.PyArray_ISCARRAY_RO(a):
        raise TypeError(f"{name} must be a C-contiguous, aligned array of dtype {np.dtype(_type_of(kind))}, "
                        f"got {a.dtype} with strides {(<object>a).strides}: use np.ascontiguousarray(a, dtype)")
    if write and not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{name} is read-only, but a result is written to it: pass a copy")
    return cnp.PyArray_DATA(a)


cdef void *_array(cnp.ndarray a, str name, int kind, Shape shape, bint write) except? NULL:
    """The data of a C-contiguous array of one dtype and shape."""
    cdef void *data = _data(a, name, kind, write)
    if not _has_shape(a, shape):
        raise ValueError(f"{name} has shape {_shape(a)}, expected {_expected(shape)}")
    return data


cdef _type_of(int kind):
    return np.int64 if kind == cnp.NPY_INT64 else np.float32 if kind == cnp.NPY_FLOAT32 else np.float64


cdef void *_optional(object a, str name, int kind, Shape shape, bint write) except? NULL:
    return NULL if a is None else _array(a, name, kind, shape, write)


cdef void *_series(cnp.ndarray a, str name, int kind, Shape shape, bint write, ptrdiff_t *batch_stride,
                   ptrdiff_t *time_stride) except? NULL:
    """The data of a (batch, time, features) array whose last axis is contiguous, with its strides in elements."""
    cdef ptrdiff_t size = cnp.PyArray_ITEMSIZE(a)
    if cnp.PyArray_TYPE(a) != kind or not cnp.PyArray_ISALIGNED(a) or not cnp.PyArray_ISNOTSWAPPED(a):
        raise TypeError(f"{name} must be an aligned array of dtype {np.dtype(_type_of(kind))}, got {a.dtype}: "
                        "use np.ascontiguousarray(a, dtype)")
    if write and not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{name} is read-only, but a result is written to it: pass a copy")
    if not _has_shape(a, shape):
        raise ValueError(f"{name} has shape {_shape(a)}, expected {_expected(shape)}")
    # The strides of an empty array mean nothing.
    if cnp.PyArray_SIZE(a) > 0 and (
            (cnp.PyArray_DIM(a, 2) > 1 and cnp.PyArray_STRIDE(a, 2) != size)
            or cnp.PyArray_STRIDE(a, 0) % size or cnp.PyArray_STRIDE(a, 1) % size):
        raise ValueError(f"the features of {name} are not contiguous (strides {(<object>a).strides} bytes): "
                         "use np.ascontiguousarray")
    batch_stride[0] = cnp.PyArray_STRIDE(a, 0) // size
    time_stride[0] = cnp.PyArray_STRIDE(a, 1) // size
    return cnp.PyArray_DATA(a)


cdef bint _writeable(object a):
    return a is not None and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a)


# ------------------------------------------------------------------ memory

cdef class Workspace:
    """Memory that grows to the largest request and is kept: the steady state of training allocates nothing.

    It knows of which frozen weights it holds the packed form: of these very arrays, for one instruction set. Frozen
    means that nobody can write to them, and while the workspace knows them no other array takes their place in memory.
    Every pass calls `begin` before it writes to the workspace, and an inference pass calls `end` when it is through.
    """
    cdef object memory
    cdef size_t size
    cdef void *data
    cdef tuple packed
    cdef const char *packed_isa

    def __cinit__(self):
        self.memory = None
        self.size = 0
        self.data = NULL
        self.packed = None
        self.packed_isa = NULL

    cdef bint begin(self, bint frozen, object a, object b, object c, object d, object cell, object more):
        """Whether these weights stand here packed; if they do not, whatever stood here does not count any more."""
        cdef tuple packed = self.packed
        if packed is None:
            return False
        if (frozen and packed[0] is a and packed[1] is b and packed[2] is c and packed[3] is d and packed[4] is cell
                and packed[5] is more and self.packed_isa == fl_isa_active()):
            return True
        self.packed = None
        return False

    cdef int end(self, bint frozen, object a, object b, object c, object d, object cell, object more) except -1:
        """These weights stand here packed from now on, if they are frozen indeed."""
        if frozen and self.packed is None and not (_writeable(a) or _writeable(b) or _writeable(c) or _writeable(d)):
            if more is not None:
                for array in more:
                    if _writeable(array):
                        return 0
            self.packed_isa = fl_isa_active()
            self.packed = (a, b, c, d, cell, more)
        return 0

    cdef void *reserve(self, size_t size) except? NULL:
        if size == SIZE_MAX or size > <size_t>(SIZE_MAX // 8):
            raise MemoryError("this batch needs more memory than can be addressed: use smaller batches")
        if size > self.size:
            self.packed = None
            self.memory = None  # before the new one is made, so that the two never stand side by side
            self.size = 0
            self.memory = np.empty(size + 63, dtype=np.uint8)
            self.data = <void *>((<uintptr_t>cnp.PyArray_DATA(self.memory) + 63) & ~<uintptr_t>63)
            self.size = size
        return self.data

    @property
    def nbytes(self):
        """Bytes held."""
        return self.size


# ------------------------------------------------------------------ LSTM

cdef int _function(fl_function *to, str name, function) except -1:
    to.kind = function.number
    to.alpha = function.alpha
    to.beta = function.beta
    if not (isfinite(to.alpha) and isfinite(to.beta)):
        raise ValueError(f"{name} is {function!r}: its parameters must be finite")
    return 0


cdef int _settings(fl_lstm_cell *to, cell) except -1:
    """What a `fastlstm.cell.Cell` says, but for its weights."""
    cdef int k
    cdef double[3] limits
    cdef double[4] shares
    _function(&to.gate, "gate_activation", cell.gate_activation)
    _function(&to.cell, "cell_activation", cell.cell_activation)
    _function(&to.output, "output_activation", cell.output_activation)
    to.coupled = cell.coupled
    to.layer_norm = cell.layer_norm
    to.gate_clip = limits[0] = cell.gate_clip
    to.cell_clip = limits[1] = cell.cell_clip
    to.output_clip = limits[2] = cell.output_clip
    to.norm_eps = NORM_EPS
    to.recurrent_dropout = shares[0] = cell.recurrent_dropout
    to.variational_dropout = shares[1] = cell.variational_dropout
    to.zoneout_h = shares[2] = cell.zoneout_h
    to.zoneout_c = shares[3] = cell.zoneout_c
    for k in range(3):
        if not limits[k] >= 0:
            raise ValueError(f"a clipping limit is {limits[k]}, expected 0 or more, or infinity for none")
    for k in range(4):
        if not 0 <= shares[k] < 1:
            raise ValueError(f"a probability of dropout or zoneout is {shares[k]}, expected 0 or more and less than 1")
    return 0


cdef int _cell(fl_lstm_cell *to, cell, more, int kind, ptrdiff_t hidden, uint64_t seed) except -1:
    """The settings and weights of a cell that is not the plain one."""
    cdef ptrdiff_t gates = 3 if to.coupled else 4
    to.seed = seed
    to.projection = 0
    weight_hr, peepholes, gain_ih, gain_hh, gain_c, bias_c = more
    if weight_hr is not None:
        if np.ndim(weight_hr) != 2 or len(weight_hr) < 1:
            raise ValueError(f"weight_hr has shape {np.shape(weight_hr)}, expected (projection, {hidden})")
        to.projection = len(weight_hr)
    to.weight_hr = _optional(weight_hr, "weight_hr", kind, _of2(to.projection, hidden), False)
    to.peepholes = _optional(peepholes, "peepholes", kind, _of2(gates - 1, hidden), False)
    if to.layer_norm and (gain_ih is None or gain_hh is None or gain_c is None or bias_c is None):
        raise ValueError("layer normalisation needs gain_ih, gain_hh, gain_c and bias_c")
    to.gain_ih = _optional(gain_ih, "gain_ih", kind, _of(gates * hidden), False)
    to.gain_hh = _optional(gain_hh, "gain_hh", kind, _of(gates * hidden), False)
    to.gain_c = _optional(gain_c, "gain_c", kind, _of(hidden), False)
    to.bias_c = _optional(bias_c, "bias_c", kind, _of(hidden), False)
    return 0


cdef class LSTMPass:
    """One LSTM layer in one direction, over one batch after the other.

    It owns the workspace in which a training forward pass leaves what the backward pass needs. One thread at a time may
    use it; concurrent callers need one each.
    """
    cdef Workspace workspace
    cdef fl_lstm_pass lstm
    cdef fl_lstm_cell cell
    cdef object settings
    cdef fl_dtype dtype
    cdef int kind
    cdef const char *isa
    cdef object held
    cdef bint busy

    def __cinit__(self):
        self.workspace = Workspace()
        self.lstm.training = 0
        self.lstm.packed = 0
        self.lstm.checkpoint_every = 0
        self.lstm.cell = NULL
        self.settings = None
        self.isa = NULL
        self.held = None
        self.busy = False

    cdef int _enter(self) except -1:
        if self.busy:
            raise RuntimeError("this LSTMPass is in use by another thread: give each thread its own")
        self.busy = True
        return 0

    def forward(self, cnp.ndarray x not None, cnp.ndarray weight_ih not None, cnp.ndarray weight_hh not None,
                bias_ih=None, bias_hh=None, *, lengths=None, h0=None, c0=None, y=None, hn=None, cn=None,
                bint reverse=False, bint training=False, ptrdiff_t checkpoint_every=0, bint frozen=False,
                n_threads=1, cell=None, more=None, uint64_t seed=0):
        """Runs the layer; see ``fl_lstm_forward`` in csrc/fastlstm.h. Results go to y, hn, cn where given.

        ``cell`` is a ``fastlstm.cell.Cell`` and ``more`` its ``fastlstm.cell.CellWeights``, for all cells but the
        plain one; ``seed`` is that of the cell's masks.
        ``x`` must not change until ``backward`` has read it again. ``frozen``: the weights are read-only arrays that
        nobody can write to; inference keeps them packed.
        """
        self._enter()
        try:
            if checkpoint_every < 0:
                raise ValueError(f"checkpoint_every is {checkpoint_every}, expected 0 (keep all steps) or more")
            self.lstm.checkpoint_every = checkpoint_every
            self._forward(x, weight_ih, weight_hh, bias_ih, bias_hh, lengths, h0, c0, y, hn, cn, reverse, training,
                          frozen and not training, _threads(n_threads), cell, more, seed)
        finally:
            self.busy = False

    cdef int _forward(self, cnp.ndarray x, cnp.ndarray weight_ih, cnp.ndarray weight_hh, bias_ih, bias_hh, lengths, h0,
                      c0, y, hn, cn, bint reverse, bint training, bint frozen, int n_threads, cell, more,
                      uint64_t seed) except -1:
        cdef fl_lstm_pass *lstm = &self.lstm
        cdef ptrdiff_t gates = 4, recurrent
        cdef fl_dtype dtype = _dtype(x, "x")
        cdef int kind = cnp.PyArray_TYPE(x)
        cdef ptrdiff_t b
        cdef Shape state, state_h
        lstm.training = 0  # until this pass is complete there is nothing to go back through
        if cnp.PyArray_NDIM(x) != 3 or cnp.PyArray_NDIM(weight_hh) != 2:
            raise ValueError(f"x has {x.ndim} axes and weight_hh {weight_hh.ndim}, expected (batch, time, input) and "
                             "(4 * hidden, hidden)")
        lstm.batch = cnp.PyArray_DIM(x, 0)
        lstm.time = cnp.PyArray_DIM(x, 1)
        lstm.input = cnp.PyArray_DIM(x, 2)
        lstm.hidden = recurrent = cnp.PyArray_DIM(weight_hh, 1)
        lstm.cell = NULL
        if cell is not None:
            if cell is not self.settings:
                self.settings = None
                _settings(&self.cell, cell)
                self.settings = cell
            gates = 3 if self.cell.coupled else 4
            if more is not None and more.weight_hr is not None and np.ndim(more.weight_hr) == 2:
                lstm.hidden = more.weight_hr.shape[1]
            _cell(&self.cell, cell, NO_MORE if more is None else more, kind, lstm.hidden, seed)
            recurrent = self.cell.projection if self.cell.projection else lstm.hidden
            lstm.cell = &self.cell
        elif more is not None:
            raise ValueError("more weights are those of a cell: give the cell, too")
        if lstm.input < 1 or lstm.hidden < 1:
            raise ValueError(f"input size {lstm.input} and hidden size {lstm.hidden} must be 1 or more")
        lstm.x = _series(x, "x", kind, _of3(lstm.batch, lstm.time, lstm.input), False, &lstm.x_batch, &lstm.x_time)
        lstm.weight_ih = _array(weight_ih, "weight_ih", kind, _of2(gates * lstm.hidden, lstm.input), False)
        lstm.weight_hh = _array(weight_hh, "weight_hh", kind, _of2(gates * lstm.hidden, recurrent), False)
        lstm.bias_ih = _optional(bias_ih, "bias_ih", kind, _of(gates * lstm.hidden), False)
        lstm.bias_hh = _optional(bias_hh, "bias_hh", kind, _of(gates * lstm.hidden), False)
        lstm.lengths = NULL
        if lengths is not None:
            lengths = np.asarray(lengths)
            if lengths.dtype.kind not in "iu":
                raise TypeError(f"lengths has dtype {lengths.dtype}, expected integers")
            lengths = np.array(lengths, dtype=np.int64)  # a copy: the backward pass reads it again
            lstm.lengths = <const int64_t *>_array(lengths, "lengths", cnp.NPY_INT64, _of(lstm.batch), False)
            for b in range(lstm.batch):
                if lstm.lengths[b] < 0 or lstm.lengths[b] > lstm.time:
                    raise ValueError(f"lengths[{b}] is {lstm.lengths[b]}, expected 0 to {lstm.time}")
        state = _of2(lstm.batch, lstm.hidden)
        state_h = _of2(lstm.batch, recurrent)
        lstm.h0 = _optional(h0, "h0", kind, state_h, False)
        lstm.c0 = _optional(c0, "c0", kind, state, False)
        lstm.hn = _optional(hn, "hn", kind, state_h, True)
        lstm.cn = _optional(cn, "cn", kind, state, True)
        lstm.y = NULL
        if y is not None:
            lstm.y = _series(y, "y", kind, _of3(lstm.batch, lstm.time, recurrent), True, &lstm.y_batch, &lstm.y_time)
        lstm.reverse = reverse
        lstm.n_threads = n_threads
        self.dtype = dtype
        self.kind = kind
        self.isa = fl_isa_active()
        # Before the pass: nothing that may fail stands between it and its end.
        self.held = (x, weight_ih, weight_hh, lengths, more) if training else None
        lstm.training = training
        try:
            lstm.workspace = self.workspace.reserve(fl_lstm_workspace(dtype, lstm))
        except BaseException:
            lstm.training = 0
            raise
        lstm.packed = self.workspace.begin(frozen, weight_ih, weight_hh, bias_ih, bias_hh, cell, more)
        with nogil:
            fl_lstm_forward(dtype, lstm)
        lstm.packed = 0
        self.workspace.end(frozen, weight_ih, weight_hh, bias_ih, bias_hh, cell, more)
        return 0

    def backward(self, *, dy=None, dhn=None, dcn=None, dx=None, bint dx_add=False, dweight_ih=None, dweight_hh=None,
                 dbias_ih=None, dbias_hh=None, dh0=None, dc0=None, n_threads=1, d_more=None):
        """Goes back through the last training pass, once; see ``fl_lstm_backward`` in csrc/fastlstm.h.

        dy, dhn, dcn come in (None: zeros). dx, dh0, dc0 are overwritten (dx added to with ``dx_add``), the gradients of
        the parameters are added to; None: not wanted. ``d_more``: those of the cell's own weights, in a
        ``fastlstm.cell.CellWeights``.
        """
        self._enter()
        try:
            self._backward(dy, dhn, dcn, dx, dx_add, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dh0, dc0,
                           _threads(n_threads), d_more)
        finally:
            self.busy = False

    cdef int _backward(self, dy, dhn, dcn, dx, bint dx_add, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dh0, dc0,
                       int n_threads, d_more) except -1:
        cdef fl_lstm_pass *lstm = &self.lstm
        cdef fl_lstm_gradients out
        cdef ptrdiff_t gates = 4, recurrent = lstm.hidden
        cdef int kind = self.kind
        cdef fl_dtype dtype = self.dtype
        cdef Shape state, state_h
        if not lstm.training:
            raise RuntimeError("backward() needs a forward(training=True) before it, once for each backward()")
        if self.isa != fl_isa_active():
            raise RuntimeError("the instruction set was changed between forward() and backward()")
        if lstm.cell != NULL:
            gates = 3 if self.cell.coupled else 4
            recurrent = self.cell.projection if self.cell.projection else lstm.hidden
        state = _of2(lstm.batch, lstm.hidden)
        state_h = _of2(lstm.batch, recurrent)
        out.dy = NULL
        out.dx = NULL
        if dy is not None:
            out.dy = _series(dy, "dy", kind, _of3(lstm.batch, lstm.time, recurrent), False, &out.dy_batch,
                             &out.dy_time)
        if dx is not None:
            out.dx = _series(dx, "dx", kind, _of3(lstm.batch, lstm.time, lstm.input), True, &out.dx_batch, &out.dx_time)
        out.dx_add = dx_add
        out.dhn = _optional(dhn, "dhn", kind, state_h, False)
        out.dcn = _optional(dcn, "dcn", kind, state, False)
        out.dh0 = _optional(dh0, "dh0", kind, state_h, True)
        out.dc0 = _optional(dc0, "dc0", kind, state, True)
        out.dweight_ih = _optional(dweight_ih, "dweight_ih", kind, _of2(gates * lstm.hidden, lstm.input), True)
        out.dweight_hh = _optional(dweight_hh, "dweight_hh", kind, _of2(gates * lstm.hidden, recurrent), True)
        out.dbias_ih = _optional(dbias_ih, "dbias_ih", kind, _of(gates * lstm.hidden), True)
        out.dbias_hh = _optional(dbias_hh, "dbias_hh", kind, _of(gates * lstm.hidden), True)
        out.dweight_hr = out.dpeepholes = out.dgain_ih = out.dgain_hh = out.dgain_c = out.dbias_c = NULL
        if d_more is not None:
            self._more_gradients(&out, d_more, kind, gates, recurrent)
        lstm.n_threads = n_threads
        with nogil:
            fl_lstm_backward(dtype, lstm, &out)
        lstm.training = 0
        self.held = None
        return 0

    cdef int _more_gradients(self, fl_lstm_gradients *out, d_more, int kind, ptrdiff_t gates,
                             ptrdiff_t recurrent) except -1:
        cdef fl_lstm_pass *lstm = &self.lstm
        dweight_hr, dpeepholes, dgain_ih, dgain_hh, dgain_c, dbias_c = d_more
        out.dweight_hr = _optional(dweight_hr, "dweight_hr", kind, _of2(recurrent, lstm.hidden), True)
        out.dpeepholes = _optional(dpeepholes, "dpeepholes", kind, _of2(gates - 1, lstm.hidden), True)
        out.dgain_ih = _optional(dgain_ih, "dgain_ih", kind, _of(gates * lstm.hidden), True)
        out.dgain_hh = _optional(dgain_hh, "dgain_hh", kind, _of(gates * lstm.hidden), True)
        out.dgain_c = _optional(dgain_c, "dgain_c", kind, _of(lstm.hidden), True)
        out.dbias_c = _optional(dbias_c, "dbias_c", kind, _of(lstm.hidden), True)
        return 0

    @property
    def nbytes(self):
        """Bytes of workspace held."""
        return self.workspace.nbytes


# ------------------------------------------------------------------ Dense

cdef int _dense(fl_dense_pass *dense, cnp.ndarray x, cnp.ndarray weight, Workspace workspace, int n_threads) except -1:
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef int kind = cnp.PyArray_TYPE(x)
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_NDIM(weight) != 2:
        raise ValueError(f"x has {x.ndim} axes and weight {weight.ndim}, expected (rows, input) and (output, input)")
    dense.rows = cnp.PyArray_DIM(x, 0)
    dense.input = cnp.PyArray_DIM(x, 1)
    dense.output = cnp.PyArray_DIM(weight, 0)
    if dense.input < 1 or dense.output < 1:
        raise ValueError(f"input size {dense.input} and output size {dense.output} must be 1 or more")
    dense.x = _array(x, "x", kind, _of2(dense.rows, dense.input), False)
    dense.weight = _array(weight, "weight", kind, _of2(dense.output, dense.input), False)
    dense.bias = NULL
    dense.y = NULL
    dense.packed = 0
    dense.n_threads = n_threads
    dense.workspace = workspace.reserve(fl_dense_workspace(dtype, dense))
    return 0


def dense_forward(cnp.ndarray x not None, cnp.ndarray weight not None, bias, cnp.ndarray y not None,
                  Workspace workspace not None, n_threads=1, bint frozen=False):
    """y = x weight' + bias for x (rows, input), weight (output, input), y (rows, output).

    ``frozen``: weight and bias are read-only arrays that nobody can write to; the workspace keeps them packed.
    """
    cdef fl_dense_pass dense
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef int kind = cnp.PyArray_TYPE(x)
    _dense(&dense, x, weight, workspace, _threads(n_threads))
    dense.bias = _optional(bias, "bias", kind, _of(dense.output), False)
    dense.y = _array(y, "y", kind, _of2(dense.rows, dense.output), True)
    dense.packed = workspace.begin(frozen, weight, bias, None, None, None, None)
    with nogil:
        fl_dense_forward(dtype, &dense)
    workspace.end(frozen, weight, bias, None, None, None, None)


def dense_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight not None, dx, dweight, dbias,
                   Workspace workspace not None, n_threads=1):
    """dx = dy weight (overwritten); dweight += dy' x; dbias += the column sums of dy. None: not wanted."""
    cdef fl_dense_pass dense
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef void *dy_data
    cdef void *dx_data
    cdef void *dweight_data
    cdef void *dbias_data
    _dense(&dense, x, weight, workspace, _threads(n_threads))
    dy_data = _array(dy, "dy", kind, _of2(dense.rows, dense.output), False)
    dx_data = _optional(dx, "dx", kind, _of2(dense.rows, dense.input), True)
    dweight_data = _optional(dweight, "dweight", kind, _of2(dense.output, dense.input), True)
    dbias_data = _optional(dbias, "dbias", kind, _of(dense.output), True)
    workspace.begin(False, None, None, None, None, None, None)
    with nogil:
        fl_dense_backward(dtype, &dense, dy_data, dx_data, dweight_data, dbias_data)


# ------------------------------------------------------------------ Embedding, dropout

cdef int _check_indices(const int64_t *index, ptrdiff_t n, ptrdiff_t limit) except -1:
    cdef ptrdiff_t k
    for k in range(n):
        if index[k] < 0 or index[k] >= limit:
            raise ValueError(f"token {index[k]} at position {k} is not in the table: expected 0 to {limit - 1}")
    return 0


cdef int _check_two_axes(cnp.ndarray table, str name) except -1:
    if cnp.PyArray_NDIM(table) != 2:
        raise ValueError(f"{name} has shape {_shape(table)}, expected two axes")
    return 0


def embedding_forward(cnp.ndarray index not None, cnp.ndarray table not None, cnp.ndarray out not None, n_threads=1):
    """out[n] = table[index[n]] for index (n,) int64, table (size, width), out (n, width)."""
    cdef fl_dtype dtype = _dtype(table, "table")
    cdef int kind = cnp.PyArray_TYPE(table), threads = _threads(n_threads)
    cdef ptrdiff_t n = index.size, size, width
    _check_two_axes(table, "table")
    size, width = table.shape[0], table.shape[1]
    cdef const int64_t *indices = <const int64_t *>_array(index, "index", cnp.NPY_INT64, _of(n), False)
    cdef void *from_data = _array(table, "table", kind, _of2(size, width), False)
    cdef void *to = _array(out, "out", kind, _of2(n, width), True)
    _check_indices(indices, n, size)
    with nogil:
        fl_embedding_forward(dtype, n, width, indices, from_data, to, threads)


def embedding_backward(cnp.ndarray index not None, cnp.ndarray dout not None, cnp.ndarray dtable not None, n_threads=1):
    """dtable[index[n]] += dout[n], in the order of n."""
    cdef fl_dtype dtype = _dtype(dtable, "dtable")
    cdef int kind = cnp.PyArray_TYPE(dtable), threads = _threads(n_threads)
    cdef ptrdiff_t n = index.size, size, width
    _check_two_axes(dtable, "dtable")
    size, width = dtable.shape[0], dtable.shape[1]
    cdef const int64_t *indices = <const int64_t *>_array(index, "index", cnp.NPY_INT64, _of(n), False)
    cdef void *from_data = _array(dout, "dout", kind, _of2(n, width), False)
    cdef void *to = _array(dtable, "dtable", kind, _of2(size, width), True)
    _check_indices(indices, n, size)
    with nogil:
        fl_embedding_backward(dtype, n, width, indices, from_data, to, threads)


def dropout(cnp.ndarray x not None, cnp.ndarray y not None, double p, uint64_t seed, n_threads=1):
    """y = x / (1 - p) where kept, 0 elsewhere; the same (p, seed) gives the same mask. y may be x."""
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef int kind = cnp.PyArray_TYPE(x), threads = _threads(n_threads)
    cdef ptrdiff_t n = x.size
    cdef void *from_data = _data(x, "x", kind, False)
    cdef void *to = _data(y, "y", kind, True)
    if not cnp.PyArray_SAMESHAPE(x, y):
        raise ValueError(f"y has shape {_shape(y)}, expected {_shape(x)}")
    if not 0 <= p < 1:
        raise ValueError(f"dropout p is {p}, expected 0 <= p < 1")
    with nogil:
        fl_dropout(dtype, n, from_data, to, p, seed, threads)


def philox(uint64_t seed, uint64_t counter):
    """The four 32-bit words of Philox4x32-10 at a counter."""
    cdef uint32_t words[4]
    fl_philox4x32(seed, counter, words)
    return words[0], words[1], words[2], words[3]


# ------------------------------------------------------------------ Activations

cdef enum:
    ACTIVATIONS = 11  # of kernels/activation.h


cdef int _activation(int number) except -1:
    if not 0 <= number < ACTIVATIONS:
        raise ValueError(f"activation {number} is unknown, expected 0 to {ACTIVATIONS - 1}")
    return number


def activation(int number, double alpha, double beta, cnp.ndarray x not None, cnp.ndarray y not None, n_threads=1):
    """y = f(x), element by element, for the function of this number; y may be x."""
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef int function = _activation(number), kind = cnp.PyArray_TYPE(x), threads = _threads(n_threads)
    cdef ptrdiff_t n = x.size
    cdef void *x_data = _data(x, "x", kind, False)
    cdef void *y_data = _data(y, "y", kind, True)
    if not cnp.PyArray_SAMESHAPE(x, y):
        raise ValueError(f"y has shape {_shape(y)}, expected {_shape(x)}")
    with nogil:
        fl_activation(dtype, function, alpha, beta, n, x_data, y_data, threads)


def activation_backward(int number, double alpha, double beta, cnp.ndarray x not None, cnp.ndarray y not None,
                        cnp.ndarray dy not None, cnp.ndarray dx not None, n_threads=1):
    """dx = dy f'(x), where y = f(x); dx may be dy."""
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef int function = _activation(number), kind = cnp.PyArray_TYPE(x), threads = _threads(n_threads)
    cdef ptrdiff_t n = x.size
    cdef void *x_data = _data(x, "x", kind, False)
    cdef void *y_data = _data(y, "y", kind, False)
    cdef void *dy_data = _data(dy, "dy", kind, False)
    cdef void *dx_data = _data(dx, "dx", kind, True)
    for name, a in (("y", y), ("dy", dy), ("dx", dx)):
        if not cnp.PyArray_SAMESHAPE(x, a):
            raise ValueError(f"{name} has shape {_shape(a)}, expected {_shape(x)}")
    with nogil:
        fl_activation_backward(dtype, function, alpha, beta, n, x_data, y_data, dy_data, dx_data, threads)


# ------------------------------------------------------------------ Softmax

def softmax(cnp.ndarray logits not None, cnp.ndarray out not None, n_threads=1):
    """Row-wise softmax of logits (rows, classes) into out; out may be logits."""
    cdef fl_dtype dtype = _dtype(logits, "logits")
    cdef int kind = cnp.PyArray_TYPE(logits), threads = _threads(n_threads)
    cdef ptrdiff_t rows, classes
    cdef void *from_data
    cdef void *to
    if cnp.PyArray_NDIM(logits) != 2 or cnp.PyArray_DIM(logits, 1) < 1:
        raise ValueError(f"logits has shape {_shape(logits)}, expected (rows, classes)")
    rows, classes = logits.shape[0], logits.shape[1]
    from_data = _array(logits, "logits", kind, _of2(rows, classes), False)
    to = _array(out, "out", kind, _of2(rows, classes), True)
    with nogil:
        fl_softmax(dtype, rows, classes, from_data, to, threads)


def softmax_backward(cnp.ndarray p not None, cnp.ndarray dy not None, cnp.ndarray dx not None, n_threads=1):
    """dx = p (dy - sum(p dy)) for each row of the probabilities p (rows, classes); dx may be dy."""
    cdef fl_dtype dtype = _dtype(p, "p")
    cdef int kind = cnp.PyArray_TYPE(p), threads = _threads(n_threads)
    cdef ptrdiff_t rows, classes
    cdef void *p_data
    cdef void *dy_data
    cdef void *dx_data
    if cnp.PyArray_NDIM(p) != 2 or cnp.PyArray_DIM(p, 1) < 1:
        raise ValueError(f"p has shape {_shape(p)}, expected (rows, classes)")
    rows, classes = p.shape[0], p.shape[1]
    p_data = _array(p, "p", kind, _of2(rows, classes), False)
    dy_data = _array(dy, "dy", kind, _of2(rows, classes), False)
    dx_data = _array(dx, "dx", kind, _of2(rows, classes), True)
    with nogil:
        fl_softmax_backward(dtype, rows, classes, p_data, dy_data, dx_data, threads)


def softmax_cross_entropy(cnp.ndarray logits not None, cnp.ndarray labels not None, weights, dlogits,
                          cnp.ndarray losses not None, n_threads=1):
    """losses[n] = w[n] * -log softmax(logits[n])[labels[n]]; dlogits its gradient. Negative labels count nothing."""
    cdef fl_dtype dtype = _dtype(logits, "logits")
    cdef int kind = cnp.PyArray_TYPE(logits), threads = _threads(n_threads)
    cdef ptrdiff_t rows, classes, n
    cdef void *logits_data
    cdef void *weights_data
    cdef void *gradients
    cdef const int64_t *label
    cdef double *loss
    if cnp.PyArray_NDIM(logits) != 2 or cnp.PyArray_DIM(logits, 1) < 1:
        raise ValueError(f"logits has shape {_shape(logits)}, expected (rows, classes)")
    rows, classes = logits.shape[0], logits.shape[1]
    logits_data = _array(logits, "logits", kind, _of2(rows, classes), False)
    label = <const int64_t *>_array(labels, "labels", cnp.NPY_INT64, _of(rows), False)
    weights_data = _optional(weights, "weights", kind, _of(rows), False)
    gradients = _optional(dlogits, "dlogits", kind, _of2(rows, classes), True)
    loss = <double *>_array(losses, "losses", cnp.NPY_FLOAT64, _of(rows), True)
    for n in range(rows):
        if label[n] >= classes:
            raise ValueError(f"label {label[n]} at position {n} is outside the {classes} classes of the logits, "
                             f"expected at most {classes - 1}")
    with nogil:
        fl_softmax_cross_entropy(dtype, rows, classes, logits_data, label, weights_data, gradients, loss, threads)


# ------------------------------------------------------------------ CTC

def ctc(cnp.ndarray logits not None, cnp.ndarray labels not None, cnp.ndarray label_lengths not None, int64_t blank,
        weights, dlogits, cnp.ndarray losses not None, Workspace workspace not None, *, lengths=None, n_threads=1):
    """losses[b] = w[b] times the CTC loss of logits[b] (time, classes) and labels[b]; dlogits its gradient. See
    ``fl_ctc`` in csrc/fastlstm.h."""
    cdef fl_dtype dtype = _dtype(logits, "logits")
    cdef int kind = cnp.PyArray_TYPE(logits)
    cdef fl_ctc_pass run
    cdef ptrdiff_t b, k
    cdef int64_t label
    if cnp.PyArray_NDIM(logits) != 3 or cnp.PyArray_DIM(logits, 2) < 1 or cnp.PyArray_NDIM(labels) != 2:
        raise ValueError(f"logits has shape {_shape(logits)} and labels {_shape(labels)}, expected (batch, time, "
                         "classes) and (batch, labels)")
    run.batch, run.time, run.classes = logits.shape[0], logits.shape[1], logits.shape[2]
    run.max_labels = labels.shape[1]
    run.n_threads = _threads(n_threads)
    run.blank = blank
    if not 0 <= blank < run.classes:
        raise ValueError(f"blank is {blank}, expected 0 to {run.classes - 1}, one of the classes")
    run.logits = _array(logits, "logits", kind, _of3(run.batch, run.time, run.classes), False)
    run.labels = <const int64_t *>_array(labels, "labels", cnp.NPY_INT64, _of2(run.batch, run.max_labels), False)
    run.label_lengths = <const int64_t *>_array(label_lengths, "label_lengths", cnp.NPY_INT64, _of(run.batch), False)
    run.lengths = <const int64_t *>_optional(lengths, "lengths", cnp.NPY_INT64, _of(run.batch), False)
    run.weights = <const double *>_optional(weights, "weights", cnp.NPY_FLOAT64, _of(run.batch), False)
    run.dlogits = _optional(dlogits, "dlogits", kind, _of3(run.batch, run.time, run.classes), True)
    run.losses = <double *>_array(losses, "losses", cnp.NPY_FLOAT64, _of(run.batch), True)
    for b in range(run.batch):
        if run.lengths != NULL and not 0 <= run.lengths[b] <= run.time:
            raise ValueError(f"lengths[{b}] is {run.lengths[b]}, expected 0 to {run.time}")
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
    """The most probable labels of one case, int64, and the logarithm of their probability; log_p (time, classes)."""
    cdef ptrdiff_t time, classes, count
    cdef double score
    cdef double *from_data
    cdef int64_t *labels
    cdef void *memory
    cdef cnp.ndarray out
    if cnp.PyArray_NDIM(log_p) != 2:
        raise ValueError(f"log_p has shape {_shape(log_p)}, expected (time, classes)")
    time, classes = log_p.shape[0], log_p.shape[1]
    if not 0 <= blank < classes or beam_width < 1:
        raise ValueError(f"blank is {blank}, expected 0 to {classes - 1}; beam_width is {beam_width}, expected 1 or "
                         "more")
    from_data = <double *>_array(log_p, "log_p", cnp.NPY_FLOAT64, _of2(time, classes), False)
    out = np.empty(time, np.int64)
    labels = <int64_t *>cnp.PyArray_DATA(out)
    if time * beam_width > 2**30 or classes > 2**30:
        raise MemoryError(f"{time} steps with a beam of {beam_width} are too many: use a smaller beam_width")
    memory = workspace.reserve(fl_ctc_beam_workspace(time, classes, beam_width))
    with nogil:
        count = fl_ctc_beam_search(time, classes, from_data, blank, beam_width, labels, &score, memory)
    return out[:count].copy(), score


def edit_distance(cnp.ndarray a not None, cnp.ndarray b not None):
    """How many insertions, deletions and changes make one int64 vector into the other, at least."""
    cdef ptrdiff_t n = a.size, m = b.size
    cdef const int64_t *a_data = <const int64_t *>_array(a, "a", cnp.NPY_INT64, _of(n), False)
    cdef const int64_t *b_data = <const int64_t *>_array(b, "b", cnp.NPY_INT64, _of(m), False)
    cdef cnp.ndarray row = np.empty(m + 1, np.int64)
    cdef int64_t *row_data = <int64_t *>cnp.PyArray_DATA(row)
    with nogil:
        n = fl_edit_distance(n, a_data, m, b_data, row_data)
    return n


# ------------------------------------------------------------------ Pooling

POOL_KINDS = {"last": FL_POOL_LAST, "mean": FL_POOL_MEAN, "max": FL_POOL_MAX, "attention": FL_POOL_ATTENTION}
POOL_COUNTS = FL_POOL_COUNTS


cdef int _pool(fl_pool_pass *pool, str kind, cnp.ndarray x, y, lengths, scores, index, weights, n_threads) except -1:
    cdef int of = cnp.PyArray_TYPE(x)
    cdef ptrdiff_t b
    if cnp.PyArray_NDIM(x) != 3:
        raise ValueError(f"x has shape {_shape(x)}, expected (batch, time, features)")
    pool.kind = POOL_KINDS[kind]
    pool.batch, pool.time, pool.width = x.shape[0], x.shape[1], x.shape[2]
    pool.x = _array(x, "x", of, _of3(pool.batch, pool.time, pool.width), False)
    pool.y = _array(y, "y", of, _of2(pool.batch, pool.width), True)
    pool.every_step = 0
    pool.lengths = NULL
    if lengths is not None:
        pool.lengths = <const int64_t *>_array(lengths, "lengths", cnp.NPY_INT64, _of(pool.batch), False)
        for b in range(pool.batch):
            if pool.lengths[b] < 0 or pool.lengths[b] > pool.time:
                raise ValueError(f"lengths[{b}] is {pool.lengths[b]}, expected 0 to {pool.time}")
    pool.scores = _optional(scores, "scores", of, _of2(pool.batch, pool.time), False)
    pool.index = <int64_t *>_optional(index, "index", cnp.NPY_INT64, _of2(pool.batch, pool.width), True)
    pool.weights = _optional(weights, "weights", of, _of2(pool.batch, pool.time), True)
    if (pool.kind == FL_POOL_ATTENTION) != (scores is not None):
        raise ValueError(f"scores are for attention, and needed there; the kind is {kind!r}")
    pool.n_threads = _threads(n_threads)
    return 0


def pool_forward(str kind, cnp.ndarray x not None, cnp.ndarray counts not None, cnp.ndarray sums not None,
                 cnp.ndarray y not None, *, lengths=None, scores=None, index=None, weights=None, n_threads=1):
    """Pools the valid steps of x into y; counts and sums are the state, zeros at first. See ``fl_pool_forward``."""
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef fl_pool_pass pool
    _pool(&pool, kind, x, y, lengths, scores, index, weights, n_threads)
    pool.counts = <double *>_array(counts, "counts", cnp.NPY_FLOAT64, _of2(pool.batch, FL_POOL_COUNTS), True)
    pool.sums = <double *>_array(sums, "sums", cnp.NPY_FLOAT64, _of2(pool.batch, pool.width), True)
    with nogil:
        fl_pool_forward(dtype, &pool)


def pool_backward(str kind, cnp.ndarray x not None, cnp.ndarray y not None, cnp.ndarray dy not None, dx, *,
                  lengths=None, scores=None, index=None, weights=None, dscores=None, n_threads=1):
    """The gradients dx and dscores, either of which may be None; the other arrays as `pool_forward` left them."""
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef fl_pool_pass pool
    cdef int of = cnp.PyArray_TYPE(x)
    cdef ptrdiff_t k
    cdef void *dy_data
    cdef void *dx_data
    cdef void *dscores_data
    _pool(&pool, kind, x, y, lengths, scores, index, weights, n_threads)
    dy_data = _array(dy, "dy", of, _of2(pool.batch, pool.width), False)
    dx_data = _optional(dx, "dx", of, _of3(pool.batch, pool.time, pool.width), True)
    dscores_data = _optional(dscores, "dscores", of, _of2(pool.batch, pool.time), True)
    if (pool.kind == FL_POOL_MAX and index is None) or (pool.kind == FL_POOL_ATTENTION and weights is None):
        raise ValueError("the backward pass of max needs index, that of attention weights")
    if index is not None:
        for k in range(pool.batch * pool.width):
            if pool.lengths != NULL and pool.lengths[k // pool.width] == 0:
                continue  # the forward pass has left them unset, and the backward pass does not read them
            if pool.index[k] < 0 or pool.index[k] >= pool.time:
                raise ValueError(f"index holds {pool.index[k]}, expected 0 to {pool.time - 1}")
    with nogil:
        fl_pool_backward(dtype, &pool, dy_data, dx_data, dscores_data)


# ------------------------------------------------------------------ streams

cdef enum StageKind:
    STANDARDIZE
    UNSTANDARDIZE
    EMBEDDING
    LSTM
    DENSE
    ACTIVATION
    SOFTMAX
    POOL

cdef struct Stage:
    StageKind kind
    ptrdiff_t input, output
    fl_lstm_pass lstm
    fl_lstm_cell cell
    bint residual  # the LSTM adds what it reads to what it puts out
    fl_dense_pass dense
    fl_pool_pass pool
    bint keep  # whether the pool behind, whose scores begin here, reads what comes in
    int function
    double alpha, beta
    const double *mean
    const double *scale
    const void *table
    ptrdiff_t table_size
    void *out  # (batch, steps, output), of all stages but the last


cdef void _add_to(fl_dtype dtype, ptrdiff_t n, const void *x, void *y) noexcept nogil:
    """y += x."""
    cdef ptrdiff_t k
    if dtype == FL_F32:
        for k in range(n):
            (<float *>y)[k] += (<const float *>x)[k]
    else:
        for k in range(n):
            (<double *>y)[k] += (<const double *>x)[k]


cdef class Stream:
    """Layers in a row that are fed one step, or a block of steps, at a time.

    The weights are packed once. A step allocates nothing: its answer is one array, which the next step overwrites. One
    thread at a time may use it.
    """
    cdef Stage *stages
    cdef int count
    cdef fl_dtype dtype
    cdef int kind, n_threads
    cdef ptrdiff_t batch, steps
    cdef list workspaces, outs, held
    cdef readonly list states
    cdef cnp.ndarray answer
    cdef const char *isa
    cdef bint busy

    def __cinit__(self, *args, **kwargs):
        self.stages = NULL
        self.count = 0
        self.steps = 0
        self.isa = NULL
        self.busy = False
        self.answer = None

    def __dealloc__(self):
        PyMem_Free(self.stages)

    def _begin(self, ptrdiff_t batch, dtype, int stages, n_threads):
        """Makes room for a number of stages."""
        self.batch = batch
        self.kind = np.dtype(dtype).num
        self.dtype = FL_F32 if self.kind == cnp.NPY_FLOAT32 else FL_F64
        self.n_threads = _threads(n_threads)
        self.workspaces, self.outs, self.held, self.states = [], [], [], []
        self.stages = <Stage *>PyMem_Calloc(stages, sizeof(Stage))
        if self.stages == NULL:
            raise MemoryError

    cdef Stage *_add(self, StageKind kind, ptrdiff_t input_size, ptrdiff_t output):
        cdef Stage *stage = &self.stages[self.count]
        self.count += 1
        stage.kind = kind
        stage.input = input_size
        stage.output = output
        self.workspaces.append(Workspace())
        self.outs.append(None)
        return stage

    def _add_scaling(self, cnp.ndarray mean not None, cnp.ndarray scale not None, ptrdiff_t width, bint inverse):
        cdef Stage *stage = self._add(UNSTANDARDIZE if inverse else STANDARDIZE, width, width)
        stage.mean = <const double *>_array(mean, "mean", cnp.NPY_FLOAT64, _of(width), False)
        stage.scale = <const double *>_array(scale, "scale", cnp.NPY_FLOAT64, _of(width), False)
        self.held.append((mean, scale))

    def _add_embedding(self, cnp.ndarray table not None):
        cdef Stage *stage
        _check_two_axes(table, "table")
        stage = self._add(EMBEDDING, 0, table.shape[1])
        stage.table = _array(table, "table", self.kind, _of2(table.shape[0], table.shape[1]), False)
        stage.table_size = table.shape[0]
        self.held.append(table)

    def _add_lstm(self, cnp.ndarray weight_ih not None, cnp.ndarray weight_hh not None, bias_ih, bias_hh,
                  cnp.ndarray h not None, cnp.ndarray c not None, bint residual=False, cell=None, more=None):
        cdef ptrdiff_t hidden, recurrent, inputs, gates = 4
        cdef Stage *stage
        cdef fl_lstm_pass *lstm
        _check_two_axes(weight_ih, "weight_ih")
        _check_two_axes(h, "h")
        _check_two_axes(c, "c")
        hidden, recurrent, inputs = c.shape[1], h.shape[1], weight_ih.shape[1]
        stage = self._add(LSTM, inputs, recurrent)
        lstm = &stage.lstm
        lstm.batch, lstm.input, lstm.hidden = self.batch, inputs, hidden
        if cell is not None:
            _settings(&stage.cell, cell)
            _cell(&stage.cell, cell, NO_MORE if more is None else more, self.kind, hidden, 0)
            gates = 3 if stage.cell.coupled else 4
            lstm.cell = &stage.cell
        outputs = stage.cell.projection if cell is not None and stage.cell.projection else hidden
        if recurrent != outputs:
            raise ValueError(f"h has shape {_shape(h)}, expected {outputs} columns, as many as the cell puts out")
        lstm.weight_ih = _array(weight_ih, "weight_ih", self.kind, _of2(gates * hidden, inputs), False)
        lstm.weight_hh = _array(weight_hh, "weight_hh", self.kind, _of2(gates * hidden, recurrent), False)
        lstm.bias_ih = _optional(bias_ih, "bias_ih", self.kind, _of(gates * hidden), False)
        lstm.bias_hh = _optional(bias_hh, "bias_hh", self.kind, _of(gates * hidden), False)
        # The kernel reads the initial state before it writes the final one, so that they may be the same arrays.
        lstm.hn = _array(h, "h", self.kind, _of2(self.batch, recurrent), True)
        lstm.cn = _array(c, "c", self.kind, _of2(self.batch, hidden), True)
        lstm.h0 = lstm.hn
        lstm.c0 = lstm.cn
        lstm.n_threads = self.n_threads
        if residual and inputs != recurrent:
            raise ValueError(f"a residual layer reads {inputs} features and puts out {recurrent}, expected as many")
        stage.residual = residual
        self.held.append((weight_ih, weight_hh, bias_ih, bias_hh, more))
        self.states.append((h, c))

    def _add_dense(self, cnp.ndarray weight not None, bias):
        cdef ptrdiff_t inputs, outputs
        cdef Stage *stage
        _check_two_axes(weight, "weight")
        inputs, outputs = weight.shape[1], weight.shape[0]
        stage = self._add(DENSE, inputs, outputs)
        stage.dense.input, stage.dense.output = inputs, outputs
        stage.dense.weight = _array(weight, "weight", self.kind, _of2(outputs, inputs), False)
        stage.dense.bias = _optional(bias, "bias", self.kind, _of(outputs), False)
        stage.dense.n_threads = self.n_threads
        self.held.append((weight, bias))

    def _add_activation(self, int number, double alpha, double beta, ptrdiff_t width):
        cdef Stage *stage = self._add(ACTIVATION, width, width)
        stage.function = _activation(number)
        stage.alpha, stage.beta = alpha, beta

    def _add_softmax(self, ptrdiff_t width):
        self._add(SOFTMAX, width, width)

    def _add_pool(self, str kind, ptrdiff_t width, cnp.ndarray sums not None, cnp.ndarray counts not None,
                  int scores_from):
        """``scores_from``: how many stages back its scores begin, which reads what it pools; 0: it has none."""
        cdef Stage *stage = self._add(POOL, width, width)
        stage.pool.kind = POOL_KINDS[kind]
        stage.pool.batch, stage.pool.width = self.batch, width
        stage.pool.every_step = 1
        stage.pool.sums = <double *>_array(sums, "sums", cnp.NPY_FLOAT64, _of2(self.batch, width), True)
        stage.pool.counts = <double *>_array(counts, "counts", cnp.NPY_FLOAT64, _of2(self.batch, FL_POOL_COUNTS), True)
        stage.pool.n_threads = self.n_threads
        if scores_from:
            self.stages[self.count - 1 - scores_from].keep = True
        self.states.append((sums, counts))

    def _end(self):
        """Takes the memory of single steps."""
        self._reserve(1)
        self.answer = np.zeros((self.batch, self.stages[self.count - 1].output), _type_of(self.kind))

    cdef int _reserve(self, ptrdiff_t steps) except -1:
        """Room for blocks of so many steps; weights whose workspace has moved are packed again by the next pass."""
        cdef int k
        cdef Stage *stage
        cdef Workspace workspace
        if steps <= self.steps and self.isa == fl_isa_active():
            return 0
        self.isa = fl_isa_active()
        self.steps = 0
        for k in range(self.count):
            stage = &self.stages[k]
            workspace = self.workspaces[k]
            if stage.kind == LSTM:
                stage.lstm.time = steps
                stage.lstm.workspace = workspace.reserve(fl_lstm_workspace(self.dtype, &stage.lstm))
                stage.lstm.packed = 0
            elif stage.kind == DENSE:
                stage.dense.rows = self.batch * steps
                stage.dense.workspace = workspace.reserve(fl_dense_workspace(self.dtype, &stage.dense))
                stage.dense.packed = 0
            if k < self.count - 1:
                self.outs[k] = np.empty((self.batch, steps, stage.output), _type_of(self.kind))
                stage.out = cnp.PyArray_DATA(self.outs[k])
        self.steps = steps
        return 0

    cdef cnp.ndarray _checked(self, x, Shape shape):
        """x as an array of the shape and dtype that the first stage reads, with good values."""
        cdef int kind = cnp.NPY_INT64 if self.stages[0].kind == EMBEDDING else self.kind
        cdef cnp.ndarray a
        cdef ptrdiff_t bad
        if not (isinstance(x, np.ndarray) and cnp.PyArray_TYPE(x) == kind and cnp.PyArray_ISCARRAY_RO(x)):
            if type(x) is not np.ndarray or x.dtype.kind not in ("iu" if kind == cnp.NPY_INT64 else "fiub"):
                from ._arrays import as_numeric
                x = as_numeric(x, kind == cnp.NPY_INT64, "x")
            self._check_shape(x, shape)
            with np.errstate(over="ignore"):
                x = np.ascontiguousarray(x, _type_of(kind))
            if not cnp.PyArray_ISALIGNED(x):
                x = x.copy()
        a = x
        self._check_shape(a, shape)
        if kind == cnp.NPY_INT64:
            _check_indices(<const int64_t *>cnp.PyArray_DATA(a), cnp.PyArray_SIZE(a), self.stages[0].table_size)
        else:
            bad = fl_first_nonfinite(self.dtype, cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a))
            if bad >= 0:
                raise ValueError(f"x holds {a.reshape(-1)[bad]} at position {bad}, expected finite numbers: "
                                 "the state has not changed")
        return a

    cdef int _check_shape(self, cnp.ndarray a, Shape shape) except -1:
        # One stream, or one feature, may leave the axis of length 1 out.
        if not _has_shape(a, shape) and [n for n in _shape(a) if n != 1] != [n for n in _expected(shape) if n != 1]:
            raise ValueError(f"x has shape {_shape(a)}, expected {_expected(shape)}")
        return 0

    cdef int _run(self, cnp.ndarray x, ptrdiff_t steps, cnp.ndarray answer) except -1:
        if self.busy:
            raise RuntimeError("this stream is in use by another thread: give each thread its own")
        self.busy = True
        try:
            self._reserve(steps)
            with nogil:
                self._walk(cnp.PyArray_DATA(x), steps, cnp.PyArray_DATA(answer))
        finally:
            self.busy = False
        return 0

    cdef void _walk(self, const void *x, ptrdiff_t steps, void *answer) noexcept nogil:
        cdef int k
        cdef Stage *stage
        cdef void *out
        cdef const void *kept = NULL
        cdef ptrdiff_t rows = self.batch * steps
        for k in range(self.count):
            stage = &self.stages[k]
            out = answer if k == self.count - 1 else stage.out
            if stage.keep:
                kept = x
            if stage.kind == LSTM:
                stage.lstm.time = steps
                stage.lstm.x = x
                stage.lstm.x_batch = steps * stage.input
                stage.lstm.x_time = stage.input
                stage.lstm.y = out
                stage.lstm.y_batch = steps * stage.output
                stage.lstm.y_time = stage.output
                fl_lstm_forward(self.dtype, &stage.lstm)
                stage.lstm.packed = 1
                if stage.residual:
                    _add_to(self.dtype, rows * stage.output, x, out)
            elif stage.kind == DENSE:
                stage.dense.rows = rows
                stage.dense.x = x
                stage.dense.y = out
                fl_dense_forward(self.dtype, &stage.dense)
                stage.dense.packed = 1
            elif stage.kind == EMBEDDING:
                fl_embedding_forward(self.dtype, rows, stage.output, <const int64_t *>x, stage.table, out,
                                     self.n_threads)
            elif stage.kind == ACTIVATION:
                fl_activation(self.dtype, stage.function, stage.alpha, stage.beta, rows * stage.output, x, out,
                              self.n_threads)
            elif stage.kind == POOL:
                stage.pool.time = steps
                stage.pool.scores = x if stage.pool.kind == FL_POOL_ATTENTION else NULL
                stage.pool.x = kept if stage.pool.kind == FL_POOL_ATTENTION else x
                stage.pool.y = out
                fl_pool_forward(self.dtype, &stage.pool)
            elif stage.kind == SOFTMAX:
                fl_softmax(self.dtype, rows, stage.output, x, out, self.n_threads)
            elif stage.kind == STANDARDIZE:
                fl_standardize(self.dtype, rows, stage.output, x, stage.mean, stage.scale, out)
            else:
                fl_unstandardize(self.dtype, rows, stage.output, x, stage.mean, stage.scale, out)
            x = out

    def step(self, x):
        """Feeds one step to every series; see `fastlstm.Stream`."""
        cdef cnp.ndarray a
        if self.stages[0].kind == EMBEDDING:
            a = self._checked(x, _of(self.batch))
        else:
            a = self._checked(x, _of2(self.batch, self.stages[0].input))
        self._run(a, 1, self.answer)
        return self.answer

    def run(self, x):
        """Feeds a block of steps to every series; see `fastlstm.Stream`."""
        cdef cnp.ndarray a, answer
        cdef ptrdiff_t steps
        if not isinstance(x, np.ndarray):
            from ._arrays import as_numeric
            x = as_numeric(x, self.stages[0].kind == EMBEDDING, "x")
        shape = x.shape
        if len(shape) < 2 or shape[0] != self.batch or shape[1] < 1:
            raise ValueError(f"x has shape {shape}, expected ({self.batch}, steps, features) with 1 step or more")
        steps = shape[1]
        if self.stages[0].kind == EMBEDDING:
            a = self._checked(x, _of2(self.batch, steps))
        else:
            a = self._checked(x, _of3(self.batch, steps, self.stages[0].input))
        answer = np.empty((self.batch, steps, self.stages[self.count - 1].output), _type_of(self.kind))
        self._run(a, steps, answer)
        return answer


# ------------------------------------------------------------------ the flat vector

def sgd_step(cnp.ndarray p not None, cnp.ndarray g not None, m, double lr, double momentum, bint nesterov,
             double weight_decay, n_threads=1):
    """One step of SGD over the flat vector p with gradient g; m is None when momentum is 0."""
    cdef fl_dtype dtype = _dtype(p, "p")
    cdef int kind = cnp.PyArray_TYPE(p), threads = _threads(n_threads)
    cdef ptrdiff_t n = p.size
    cdef void *p_data = _array(p, "p", kind, _of(n), True)
    cdef void *g_data = _array(g, "g", kind, _of(n), False)
    cdef void *m_data = _optional(m, "m", kind, _of(n), True)
    if m is None and momentum != 0:
        raise ValueError("momentum needs the array m")
    with nogil:
        fl_sgd(dtype, n, p_data, g_data, m_data, lr, momentum, nesterov, weight_decay, threads)


def rmsprop_step(cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray v not None, m, double lr, double alpha,
                 double eps, double momentum, double weight_decay, n_threads=1):
    """One step of RMSprop; m is None when momentum is 0."""
    cdef fl_dtype dtype = _dtype(p, "p")
    cdef int kind = cnp.PyArray_TYPE(p), threads = _threads(n_threads)
    cdef ptrdiff_t n = p.size
    cdef void *p_data = _array(p, "p", kind, _of(n), True)
    cdef void *g_data = _array(g, "g", kind, _of(n), False)
    cdef void *v_data = _array(v, "v", kind, _of(n), True)
    cdef void *m_data = _optional(m, "m", kind, _of(n), True)
    if m is None and momentum != 0:
        raise ValueError("momentum needs the array m")
    with nogil:
        fl_rmsprop(dtype, n, p_data, g_data, v_data, m_data, lr, alpha, eps, momentum, weight_decay, threads)


def adam_step(cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray m not None, cnp.ndarray v not None, double lr,
              double beta1, double beta2, double eps, double weight_decay, bint decoupled, int64_t step, n_threads=1):
    """Step number ``step`` (from 1) of Adam, or of AdamW when ``decoupled``."""
    cdef fl_dtype dtype = _dtype(p, "p")
    cdef int kind = cnp.PyArray_TYPE(p), threads = _threads(n_threads)
    cdef ptrdiff_t n = p.size
    cdef void *p_data = _array(p, "p", kind, _of(n), True)
    cdef void *g_data = _array(g, "g", kind, _of(n), False)
    cdef void *m_data = _array(m, "m", kind, _of(n), True)
    cdef void *v_data = _array(v, "v", kind, _of(n), True)
    if step < 1:
        raise ValueError(f"step is {step}, expected 1 or more")
    with nogil:
        fl_adam(dtype, n, p_data, g_data, m_data, v_data, lr, beta1, beta2, eps, weight_decay, decoupled, step, threads)


def grad_norm(cnp.ndarray g not None, n_threads=1):
    """The 2-norm of a flat vector, summed in float64 in a fixed order (``n_threads`` does not change it)."""
    cdef fl_dtype dtype = _dtype(g, "g")
    cdef ptrdiff_t n = g.size
    cdef void *data = _array(g, "g", cnp.PyArray_TYPE(g), _of(n), False)
    cdef int threads = _threads(n_threads)
    cdef double result
    with nogil:
        result = fl_norm(dtype, n, data, threads)
    return result


def scale(cnp.ndarray g not None, double factor, n_threads=1):
    """g *= factor."""
    cdef fl_dtype dtype = _dtype(g, "g")
    cdef int threads = _threads(n_threads)
    cdef ptrdiff_t n = g.size
    cdef void *data = _array(g, "g", cnp.PyArray_TYPE(g), _of(n), True)
    with nogil:
        fl_scale(dtype, n, data, factor, threads)


def clip_value(cnp.ndarray g not None, double limit, n_threads=1):
    """Limits every element of g to [-limit, limit]."""
    cdef fl_dtype dtype = _dtype(g, "g")
    cdef int threads = _threads(n_threads)
    cdef ptrdiff_t n = g.size
    cdef void *data = _array(g, "g", cnp.PyArray_TYPE(g), _of(n), True)
    if not limit >= 0:
        raise ValueError(f"limit is {limit}, expected 0 or more")
    with nogil:
        fl_clip(dtype, n, data, limit, threads)


def first_nonfinite(cnp.ndarray x not None):
    """Index of the first NaN or infinity of a flat vector, or -1."""
    cdef fl_dtype dtype = _dtype(x, "x")
    cdef ptrdiff_t n = x.size, result
    cdef void *data = _array(x, "x", cnp.PyArray_TYPE(x), _of(n), False)
    with nogil:
        result = fl_first_nonfinite(dtype, n, data)
    return result
