# Included by _core.pyx: streams, which run networks of stages in C (csrc/network.c).

STAGE_KINDS = {
    "standardize": FL_STAGE_STANDARDIZE, "unstandardize": FL_STAGE_UNSTANDARDIZE, "embedding": FL_STAGE_EMBEDDING,
    "lstm": FL_STAGE_LSTM, "dense": FL_STAGE_DENSE, "activation": FL_STAGE_ACTIVATION, "softmax": FL_STAGE_SOFTMAX,
    "pool": FL_STAGE_POOL, "add": FL_STAGE_ADD,
}


cdef ptrdiff_t _first_beyond_float(const double *x, ptrdiff_t n) noexcept:
    """Return the position of the first number that float32 cannot hold, -1 if there is none."""
    cdef ptrdiff_t k
    for k in range(n):
        if x[k] > FLT_MAX or x[k] < -FLT_MAX:
            return k
    return -1


def _may_be_missing(stages, ptrdiff_t input_size):
    """Return a byte for each feature of the input: 1 if its values may be NaN, for all stages that read the input."""
    features = set(range(input_size))
    for stage in stages:
        if 0 in stage.side.values():
            return b""
        if stage.main == 0:
            features &= set(np.asarray(stage.weights.get("missing", ())).tolist())
    return bytes([feature in features for feature in range(input_size)]) if features else b""


cdef class Stream:
    """Stages that are fed one step, or a block of steps, at a time; see ``fl_network_run`` in csrc/fastlstm.h.

    Parameters
    ----------
    stages : list of Stage
        Numbered through by `fastlstm.layers.join_stages`. Their weights are not copied and must not change.
    input_size : int
        Features that come in; 0 for tokens.
    batch : int
        Series side by side.
    dtype : dtype
        float32 or float64.
    n_threads : int

    Notes
    -----
    The weights are packed once. One thread at a time may use a stream.
    """

    def __cinit__(self, *args, **kwargs):
        self.network.stages = NULL
        self.network.count = 0
        self.network.steps = 0
        self.cells = NULL
        self.busy = False

    def __dealloc__(self):
        PyMem_Free(self.network.stages)
        PyMem_Free(self.cells)

    def __init__(self, stages, ptrdiff_t input_size, ptrdiff_t batch, dtype, n_threads=1):
        cdef ptrdiff_t k, count = len(stages)
        cdef fl_stage *stage
        if self.network.stages != NULL:
            raise RuntimeError("a stream is made once")
        if count < 1 or input_size < 0 or batch < 1:
            raise ValueError(f"got {count} stages, input size {input_size} and batch {batch}, expected 1 stage or "
                             "more, a size of 0 or more and 1 series or more")
        self.workspace, self.state_memory, self._states, self.held = Workspace(), Workspace(), [], []
        self.network.dtype = dtype_of(np.empty(0, dtype), "a stream")
        self.network.batch, self.network.input = batch, input_size
        self.network.n_threads = thread_count(n_threads)
        self.network.stages = <fl_stage *>PyMem_Calloc(count, sizeof(fl_stage))
        self.cells = <fl_lstm_cell *>PyMem_Calloc(count, sizeof(fl_lstm_cell))
        if self.network.stages == NULL or self.cells == NULL:
            raise MemoryError
        for k in range(count):
            stage = &self.network.stages[k]
            stage.main = self._reads(k, stages[k].main, &stage.input)
            if stage.input < 1 and stages[k].kind != "embedding":
                raise ValueError(f"stage {k}, {stages[k].kind}, reads tokens, expected numbers")
            stage.output = self._add(stages[k], stage, k)
            if stage.output < 1:
                raise ValueError(f"stage {k}, {stages[k].kind}, has no features")
            self.held.append(tuple(stages[k].weights.values()))
        self.output = stage.output
        self.reads = self.network.dtype if input_size else INT64
        self.writes = FL_F64 if stage.kind == FL_STAGE_UNSTANDARDIZE else self.network.dtype
        self.network.y_double = self.writes != self.network.dtype
        self.of_step = shape2(batch, input_size) if input_size else shape1(batch)
        self.network.count = count
        self.may_be_missing = _may_be_missing(stages, input_size)
        self.scales = input_size > 0 and self.network.dtype == FL_F32 and self._scaler_alone_reads_x()
        try:
            self._take_states(stages)
        except BaseException:
            self.network.count = 0  # without states it cannot run
            raise
        self._reset(None)

    cdef ptrdiff_t _reads(self, ptrdiff_t k, ptrdiff_t value, ptrdiff_t *features) except -1:
        """Return how far back a value is from stage k, and its features."""
        if not 0 <= value <= k:
            raise ValueError(f"stage {k} reads value {value}, expected 0 to {k}")
        features[0] = self.network.input if value == 0 else self.network.stages[value - 1].output
        return k - value

    cdef ptrdiff_t _add(self, stage, fl_stage *to, ptrdiff_t k) except -1:
        """Set what stage k of this stream computes; return the features that it gives."""
        cdef int dtype = self.network.dtype
        cdef ptrdiff_t inputs = to.input, expected = 0, features = 0
        cdef str kind = stage.kind
        weights, settings, side = stage.weights, stage.settings, stage.side
        if kind not in STAGE_KINDS:
            raise ValueError(f"stage {k}, {kind!r}, cannot be streamed, expected one of {', '.join(STAGE_KINDS)}")
        to.kind = STAGE_KINDS[kind]
        if to.kind == FL_STAGE_STANDARDIZE or to.kind == FL_STAGE_UNSTANDARDIZE:
            to.scaling.mean = <const double *>array_of(weights["mean"], "mean", FL_F64, shape1(inputs), False)
            to.scaling.scale = <const double *>array_of(weights["scale"], "scale", FL_F64, shape1(inputs), False)
            if to.kind == FL_STAGE_STANDARDIZE and "missing" in weights:
                to.scaling.missing = missing_features(weights["missing"], inputs, &to.scaling.count)
                return inputs + to.scaling.count
        elif to.kind == FL_STAGE_EMBEDDING:
            table = weights["weight"]
            if k > 0 or inputs > 0:
                raise ValueError(f"stage {k} is an embedding, which must be the first and read tokens")
            check_two_axes(table, "table")
            self.tokens, to.embedding.width = table.shape
            to.embedding.table = data_of(table, "table", dtype, False)
            return to.embedding.width
        elif to.kind == FL_STAGE_LSTM:
            return self._add_lstm(to, &self.cells[k], weights, settings)
        elif to.kind == FL_STAGE_DENSE:
            check_two_axes(weights["weight"], "weight")
            to.dense.output = len(weights["weight"])
            to.dense.weight = array_of(weights["weight"], "weight", dtype, shape2(to.dense.output, inputs), False)
            to.dense.bias = optional_of(weights.get("bias"), "bias", dtype, shape1(to.dense.output), False)
            return to.dense.output
        elif to.kind == FL_STAGE_ACTIVATION:
            _function(&to.activation, "function", settings["function"])
        elif to.kind == FL_STAGE_POOL:
            to.pool.kind = POOL_KINDS[settings["method"]]
            if to.pool.kind == FL_POOL_ATTENTION:
                expected, to.side[0] = 1, self._reads(k, side["scores"], &features)
        elif to.kind == FL_STAGE_ADD:
            expected, to.side[0] = inputs, self._reads(k, side["addend"], &features)
        if features != expected:
            raise ValueError(f"the side input of stage {k} has {features} features, expected {expected}")
        return inputs

    cdef ptrdiff_t _add_lstm(self, fl_stage *to, fl_lstm_cell *cell, weights, settings) except -1:
        cell_weights = CellWeights(*[weights.get(name) for name in CellWeights._fields])
        if settings["bidirectional"] or settings["reverse"]:
            raise ValueError("an LSTM that begins at the end of a series cannot be streamed")
        if settings["cell"] == PLAIN and all([a is None for a in cell_weights]):
            cell = NULL
        else:
            _settings(cell, settings["cell"])
        check_two_axes(weights["weight_hh"], "weight_hh")
        _lstm_weights(&to.lstm, cell, self.network.dtype, to.input, weights["weight_ih"], weights["weight_hh"],
                      weights.get("bias_ih"), weights.get("bias_hh"), cell_weights)
        return _recurrent(&to.lstm)

    cdef int _take_states(self, stages) except -1:
        """Make the memory of the states; `_states` has an array (batch, size) for each, in a tuple for each stage."""
        cdef ptrdiff_t k
        cdef int which, dtype
        cdef size_t row
        cdef fl_stage *stage
        self.state_memory.reserve(fl_network_state(&self.network))
        self._reserve(1)
        for k in range(self.network.count):
            stage, arrays = &self.network.stages[k], []
            for which in range(FL_STAGE_STATES):
                row = fl_stage_state(&self.network, k, which)
                if (row > 0) != (which < len(stages[k].states)):
                    raise ValueError(f"stage {k}, {stages[k].kind}, has other states than {stages[k].states}")
                if row == 0:
                    continue
                state = stages[k].states[which]
                dtype = FL_F64 if state.dtype == "float64" else self.network.dtype
                if state.size * (4 if dtype == FL_F32 else 8) != row:
                    raise ValueError(f"{state.name} of stage {k} has {state.size} elements for each series, expected "
                                     f"{row} bytes")
                arrays.append(np.ndarray(
                    (self.network.batch, state.size), type_name(dtype), self.state_memory.memory,
                    <char *>stage.state[which] - <char *>cnp.PyArray_DATA(self.state_memory.memory)))
                stage.initial[which] = optional_of(state.initial, state.name, dtype, shape1(state.size), False)
                self.held.append(state.initial)
            if arrays:
                self._states.append(tuple(arrays))
        return 0

    cdef int _reserve(self, ptrdiff_t steps) except -1:
        """Make room for blocks of up to this many steps; the next run packs the weights again."""
        cdef size_t size
        if self.network.count == 0:
            raise RuntimeError("this stream has no stages: it was not initialised")
        size = fl_network_workspace(&self.network, steps)
        self.network.steps = 0
        fl_network_bind(&self.network, self.state_memory.data, self.workspace.reserve(size), steps)
        return 0

    cdef int _require_idle(self) except -1:
        if self.busy:
            raise RuntimeError("this stream is in use by another thread: give each thread its own")
        return 0

    def _reset(self, rows):
        """Begin new series: those with these numbers, int64, or all for None."""
        cdef ptrdiff_t k, n = 0
        cdef const int64_t *data = NULL
        self._require_idle()
        if rows is not None:
            n = len(rows)
            data = <const int64_t *>array_of(rows, "rows", INT64, shape1(n), False)
            for k in range(n):
                if not 0 <= data[k] < self.network.batch:
                    raise ValueError(f"rows holds {data[k]}, expected 0 to {self.network.batch - 1}")
        fl_network_reset(&self.network, data, n)

    def _numeric(self, x, str dtype):
        """Return x as an array of numbers that can become this dtype; subclasses may accept lists and other objects."""
        raise TypeError(f"x must be an array of dtype {dtype}, got {type(x).__name__}")

    cdef bint _scaler_alone_reads_x(self):
        cdef ptrdiff_t k
        cdef fl_stage *stage
        for k in range(self.network.count):
            stage = &self.network.stages[k]
            if stage.main == k and stage.kind != FL_STAGE_STANDARDIZE:
                return False
            if (stage.kind == FL_STAGE_ADD or stage.kind == FL_STAGE_POOL) and stage.side[0] == k:
                return False
        return True

    cdef ptrdiff_t _first_refused(self, int dtype, ptrdiff_t n, const void *x):
        """Return the position of the first number that is not finite, -1 if there is none.

        NaN counts as finite in features whose values may be missing.
        """
        cdef ptrdiff_t bad, start = 0
        cdef size_t size = 4 if dtype == FL_F32 else 8
        cdef const char *missing = self.may_be_missing
        cdef bint is_nan
        while start < n:
            bad = fl_first_nonfinite(<fl_dtype>dtype, n - start, <const char *>x + <size_t>start * size)
            if bad < 0:
                return -1
            bad += start
            if dtype == FL_F32:
                is_nan = (<const float *>x)[bad] != (<const float *>x)[bad]
            else:
                is_nan = (<const double *>x)[bad] != (<const double *>x)[bad]
            if not (is_nan and len(self.may_be_missing) and missing[bad % self.network.input]):
                return bad
            start = bad + 1
        return -1

    def _refusal(self, x, ptrdiff_t position):
        """Return the message for a number of x that is not finite; subclasses may say more."""
        return (f"x holds {x.reshape(-1)[position]} at position {position}, expected finite numbers: "
                "the state has not changed")

    cdef cnp.ndarray _as_array(self, x):
        """Return x, or what `_numeric` makes of it."""
        if cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == type_number(self.reads):
            return x
        return self._numeric(x, type_name(self.reads))

    cdef cnp.ndarray _fed(self, cnp.ndarray x, Shape of_x, ptrdiff_t steps, Shape of_y, out):
        """Feed steps to every series; return the answer."""
        cdef cnp.ndarray y
        cdef ptrdiff_t bad
        cdef int refused, read_as = self.reads
        # An axis of length 1, of a single series or feature, may be left out.
        if not has_shape(x, of_x) and [n for n in array_shape(x) if n != 1] != [n for n in sizes(of_x) if n != 1]:
            raise ValueError(f"x has shape {array_shape(x)}, expected {sizes(of_x)}")
        # Numbers that float32 does not hold are scaled before they are rounded.
        if self.scales and cnp.PyArray_TYPE(x) != cnp.NPY_FLOAT and np.promote_types(x.dtype, "f4") != "f4":
            read_as = FL_F64
        if cnp.PyArray_TYPE(x) != type_number(read_as) or not cnp.PyArray_ISCARRAY_RO(x):
            with np.errstate(over="ignore"):  # infinity is refused below
                x = np.require(x, type_name(read_as), ["C", "A"])
        if self.reads == INT64:
            check_tokens(<const int64_t *>cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x), self.tokens)
        else:
            bad = self._first_refused(read_as, cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x))
            if bad < 0 and read_as != self.network.dtype:
                bad = _first_beyond_float(<const double *>cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))
            if bad >= 0:
                raise ValueError(self._refusal(x, bad))
        if out is None:
            y = cnp.PyArray_EMPTY(of_y.axes, <cnp.npy_intp *>of_y.size, type_number(self.writes), 0)
        elif not isinstance(out, cnp.ndarray):
            raise TypeError(f"out is a {type(out).__name__}, expected an array of shape {sizes(of_y)} and dtype "
                            f"{type_name(self.writes)}")
        else:
            y = out
            array_of(y, "out", self.writes, of_y, True)
            if (cnp.PyArray_BYTES(x) < cnp.PyArray_BYTES(y) + cnp.PyArray_NBYTES(y)
                    and cnp.PyArray_BYTES(y) < cnp.PyArray_BYTES(x) + cnp.PyArray_NBYTES(x)):
                raise ValueError("out overlaps x, which is still read when out is written: pass another array")
        self._require_idle()
        self.busy = True
        try:
            if not fl_network_fits(&self.network, steps):
                self._reserve(steps)
            self.network.x_double = read_as == FL_F64
            with nogil:
                refused = fl_network_run(&self.network, cnp.PyArray_DATA(x), steps, cnp.PyArray_DATA(y))
            if refused:
                raise RuntimeError("another thread has changed the instruction set: call again")
        finally:
            self.busy = False
        return y

    def step(self, x, out=None):
        """Feed one step to every series; see `fastlstm.Stream`."""
        return self._fed(self._as_array(x), self.of_step, 1, shape2(self.network.batch, self.output), out)

    def run(self, x, out=None):
        """Feed a block of steps to every series; see `fastlstm.Stream`."""
        cdef cnp.ndarray a = self._as_array(x)
        cdef ptrdiff_t steps, batch = self.network.batch, width = self.network.input
        if cnp.PyArray_NDIM(a) < 2 or cnp.PyArray_DIM(a, 0) != batch or cnp.PyArray_DIM(a, 1) < 1:
            raise ValueError(f"x has shape {array_shape(a)}, expected ({batch}, steps, features) with 1 step or more")
        steps = cnp.PyArray_DIM(a, 1)
        return self._fed(a, shape3(batch, steps, width) if width else shape2(batch, steps), steps,
                         shape3(batch, steps, self.output), out)
