# Included by _core.pyx: chains of stages with packed weights, which streams and small predictions run in C
# (csrc/network.c).

STAGE_KINDS = {
    "standardize": FL_STAGE_STANDARDIZE, "unstandardize": FL_STAGE_UNSTANDARDIZE, "embedding": FL_STAGE_EMBEDDING,
    "lstm": FL_STAGE_LSTM, "dense": FL_STAGE_DENSE, "activation": FL_STAGE_ACTIVATION, "softmax": FL_STAGE_SOFTMAX,
    "conv": FL_STAGE_CONV, "pool": FL_STAGE_POOL, "add": FL_STAGE_ADD, "concat": FL_STAGE_CONCAT,
    "multiply": FL_STAGE_MULTIPLY, "take": FL_STAGE_TAKE,
    "magnitude": FL_STAGE_MAGNITUDE, "frame_conv": FL_STAGE_FRAME_CONV,
    "final": FL_STAGE_FINAL, "window_pool": FL_STAGE_WINDOW_POOL, "batch_norm": FL_STAGE_BATCH_NORM,
    "layer_norm": FL_STAGE_LAYER_NORM,
}

# A chain keeps this many idle engines and one more, whatever their size. All chains together keep others up to this
# many bytes, so that many models do not take much memory, and calls in flight need not make engines anew, which the
# system allocates page by page (LSTM(64), 100 steps: 150 kB; 8 clients of a server with threads: 450 us of processor
# time for each answer with engines made anew, 280 with engines that were kept).
cdef enum:
    IDLE_ENGINES = 1
    IDLE_BYTES = 8388608

cdef size_t idle_in_all = 0

# Series of a list are padded to the longest if that at most doubles their steps, or gives no more than this many.
cdef enum:
    FEW_STEPS = 16384


cdef ptrdiff_t _first_beyond_float(const double *x, ptrdiff_t n) noexcept nogil:
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


cdef cnp.ndarray _valid_steps(lengths, ptrdiff_t batch, ptrdiff_t steps):
    """Return plain lengths as int64 (batch,); None if they are of another kind, or not from 1 to `steps`."""
    cdef cnp.ndarray ends
    cdef int64_t *data
    cdef ptrdiff_t k
    if type(lengths) is list or type(lengths) is tuple:
        if len(lengths) != batch:
            return None
        ends = cnp.PyArray_EMPTY(1, <cnp.npy_intp *>&batch, cnp.NPY_INT64, 0)
        data = <int64_t *>cnp.PyArray_DATA(ends)
        for k in range(batch):
            if type(lengths[k]) is not int or not 1 <= lengths[k] <= steps:
                return None
            data[k] = lengths[k]
        return ends
    if not cnp.PyArray_CheckExact(lengths):
        return None
    ends = <cnp.ndarray>lengths
    if cnp.PyArray_NDIM(ends) != 1 or cnp.PyArray_DIM(ends, 0) != batch or not cnp.PyArray_ISINTEGER(ends):
        return None
    ends = cnp.PyArray_Cast(ends, cnp.NPY_INT64)  # a copy, which no other thread changes
    data = <int64_t *>cnp.PyArray_DATA(ends)
    for k in range(batch):
        if not 1 <= data[k] <= steps:
            return None
    return ends


def same_bytes(cnp.ndarray a not None, cnp.ndarray b not None):
    """Return whether two C-contiguous arrays hold the same bytes."""
    cdef size_t n = cnp.PyArray_NBYTES(a)
    return (n == <size_t>cnp.PyArray_NBYTES(b) and cnp.PyArray_ISCARRAY_RO(a) and cnp.PyArray_ISCARRAY_RO(b)
            and memcmp(cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), n) == 0)


cdef class _Engine:
    """A network in C with its workspace, which serves one call at a time; a chain has one for each call in flight."""

    def __cinit__(self):
        self.network.stages = NULL
        self.attached = NULL

    def __dealloc__(self):
        PyMem_Free(self.network.stages)

    cdef int begin(self, Chain chain) except -1:
        """Take the stages of a chain, which must live as long as the engine is in use."""
        cdef size_t size = chain.count * sizeof(fl_stage)
        self.network.stages = <fl_stage *>PyMem_Malloc(size)
        if self.network.stages == NULL:
            raise MemoryError
        memcpy(self.network.stages, chain.stages, size)
        self.network.dtype, self.network.input, self.network.count = chain.dtype, chain.input, chain.count
        self.network.y_double = chain.writes != <int>chain.dtype
        self.network.isa = NULL
        self.own_batch = -1
        self.workspace, self.own_states, self.packed = Workspace(), Workspace(), []
        return 0

    cdef int fit(self, Chain chain, ptrdiff_t batch, ptrdiff_t steps) except -1:
        """Make room for blocks of so many series and steps, on the active instruction set."""
        cdef size_t size
        self.network.steps = 0
        self.attached = NULL
        self.network.batch = batch
        if self.network.isa != fl_isa_active():
            self.packed = chain.packed_stages(self.network.stages)
        size = fl_network_workspace(&self.network, steps)
        fl_network_bind(&self.network, NULL, self.workspace.reserve(size), steps)
        if len(self.packed) > 0 and (<_Packed>self.packed[0]).isa != self.network.isa:
            self.network.isa = NULL  # packing releases the GIL
            raise RuntimeError("another thread has changed the instruction set: call again")
        return 0

    cdef int attach(self, void *states, ptrdiff_t capacity) except -1:
        """Continue from these states."""
        if states != self.attached or capacity != self.capacity:
            fl_network_attach(&self.network, states, capacity)
            self.attached, self.capacity = states, capacity
        return 0

    cdef int attach_own(self) except -1:
        """Use states of the engine itself, with undefined contents."""
        if self.own_batch != self.network.batch:
            self.own_states.reserve(fl_network_state(&self.network))
            self.own_batch = self.network.batch
        return self.attach(self.own_states.data, self.network.batch)

    cdef size_t bytes(self):
        return self.workspace.size + self.own_states.size


cdef class Chain:
    """Stages of a model, checked, with their weights packed once; see ``fl_network_run`` in csrc/fastlstm.h.

    Parameters
    ----------
    stages : list of Stage
        Numbered through by `fastlstm.layers.join_stages`. Their weights are not copied and must not change.
    input_size : int
        Features that come in; 0 for tokens.
    dtype : dtype
        float32 or float64.
    packed : PackedWeights, optional
        Where the packed weights are kept; by default the chain has its own.
    whole : bool, default False
        Whether the chain computes whole series: stages may then be reversed, and have the setting ``last``.

    Notes
    -----
    A chain does not change, and any number of threads and streams may use it. It keeps a few workspaces for the calls
    in flight.
    """

    def __cinit__(self, *args, **kwargs):
        self.stages = NULL
        self.cells = NULL
        self.count = 0

    def __dealloc__(self):
        global idle_in_all
        idle_in_all -= self.idle
        PyMem_Free(self.stages)
        PyMem_Free(self.cells)

    def __init__(self, stages, ptrdiff_t input_size, dtype, PackedWeights packed=None, bint whole=False):
        cdef ptrdiff_t k, count = len(stages)
        cdef fl_stage *stage
        if self.stages != NULL:
            raise RuntimeError("a chain is made once")
        if count < 1 or input_size < 0:
            raise ValueError(f"got {count} stages and input size {input_size}, expected 1 stage or more and a size of "
                             "0 or more")
        self.description, self.held, self.free, self.states = stages, [], [], []
        self.packed = PackedWeights() if packed is None else packed
        self.whole, self.input = whole, input_size
        self.dtype = dtype_of(np.empty(0, dtype), "a stream")
        self.stages = <fl_stage *>PyMem_Calloc(count, sizeof(fl_stage))
        self.cells = <fl_lstm_cell *>PyMem_Calloc(count, sizeof(fl_lstm_cell))
        if self.stages == NULL or self.cells == NULL:
            raise MemoryError
        for k in range(count):
            stage = &self.stages[k]
            stage.main = self._reads(k, stages[k].main, &stage.input)
            if stage.input < 1 and stages[k].kind != "embedding":
                raise ValueError(f"stage {k}, {stages[k].kind}, reads tokens, expected numbers")
            stage.output = self._add(stages[k], stage, k)
            if stage.output < 1:
                raise ValueError(f"stage {k}, {stages[k].kind}, has no features")
            self.held.append(tuple(stages[k].weights.values()))
        self.output = stage.output
        self.reads = self.dtype if input_size else INT64
        self.writes = FL_F64 if stage.kind == FL_STAGE_UNSTANDARDIZE else self.dtype
        self.may_be_missing = _may_be_missing(stages, input_size)
        self.missing = <const char *>self.may_be_missing if len(self.may_be_missing) else NULL
        self.count = count
        self.scales = input_size > 0 and self.dtype == FL_F32 and self._scaler_alone_reads_x()
        try:
            self._take_states(stages)
        except BaseException:
            self.count = 0  # without states it cannot run
            raise

    cdef ptrdiff_t _reads(self, ptrdiff_t k, ptrdiff_t value, ptrdiff_t *features) except -1:
        """Return how far back a value is from stage k, and its features."""
        if not 0 <= value <= k:
            raise ValueError(f"stage {k} reads value {value}, expected 0 to {k}")
        features[0] = self.input if value == 0 else self.stages[value - 1].output
        return k - value

    cdef ptrdiff_t _add(self, stage, fl_stage *to, ptrdiff_t k) except -1:
        """Set what stage k of this chain computes; return the features that it gives."""
        cdef int dtype = self.dtype
        cdef ptrdiff_t inputs = to.input, expected = 0, features = 0, place
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
        elif to.kind == FL_STAGE_BATCH_NORM:
            to.scaling.mean = <const double *>array_of(settings["shift"], "shift", FL_F64, shape1(inputs), False)
            to.scaling.scale = <const double *>array_of(settings["scale"], "scale", FL_F64, shape1(inputs), False)
        elif to.kind == FL_STAGE_LAYER_NORM:
            to.layer_norm.weight = optional_of(weights.get("weight"), "weight", dtype, shape1(inputs), False)
            to.layer_norm.bias = optional_of(weights.get("bias"), "bias", dtype, shape1(inputs), False)
            to.layer_norm.eps = settings["eps"]
        elif to.kind == FL_STAGE_WINDOW_POOL:
            if settings["padding"] != "causal" or settings["stride"] != 1:
                raise ValueError(f"stage {k}, a pool over windows with padding {settings['padding']!r} and stride "
                                 f"{settings['stride']}, cannot be streamed, expected 'causal' and 1")
            to.window.kind, to.window.kernel = POOL_KINDS[settings["method"]], settings["kernel_size"]
            to.window.counts_zeros = settings["count_include_pad"]
            if not 1 <= to.window.kernel <= MOST_STEPS:
                raise ValueError(f"stage {k} pools {to.window.kernel} steps, expected 1 to {MOST_STEPS}")
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
            to.dense.input = inputs
            to.dense.output = len(weights["weight"])
            to.dense.weight = array_of(weights["weight"], "weight", dtype, shape2(to.dense.output, inputs), False)
            to.dense.bias = optional_of(weights.get("bias"), "bias", dtype, shape1(to.dense.output), False)
            to.dense.quantized = settings.get("quantized", False)
            to.dense.x_limits = _quantized(to.dense.quantized, weights.get("x_limits"), dtype, inputs, 1)
            return to.dense.output
        elif to.kind == FL_STAGE_CONV:
            if settings["padding"] != "causal" or settings["stride"] != 1:
                raise ValueError(f"stage {k}, a convolution with padding {settings['padding']!r} and stride "
                                 f"{settings['stride']}, cannot be streamed, expected 'causal' and 1")
            to.conv.stride = 1
            return _conv_weights(&to.conv, dtype, inputs, weights["weight"], weights.get("bias"), settings["dilation"],
                                 settings["groups"])
        elif to.kind == FL_STAGE_ACTIVATION:
            _function(&to.activation, "function", settings["function"])
        elif to.kind == FL_STAGE_POOL:
            to.pool.kind = POOL_KINDS[settings["method"]]
            to.last = self.whole and settings.get("last", False)
            if to.pool.kind == FL_POOL_ATTENTION:
                expected, to.side[0] = 1, self._reads(k, side["scores"], &features)
        elif to.kind == FL_STAGE_ADD:
            expected, to.side[0] = inputs, self._reads(k, side["addend"], &features)
        elif to.kind == FL_STAGE_MULTIPLY:
            expected, to.side[0] = inputs, self._reads(k, side["factor"], &features)
        elif to.kind == FL_STAGE_TAKE:
            to.take.count = len(settings["index"])
            to.take.index = <const int64_t *>array_of(settings["index"], "index", INT64, shape1(to.take.count), False)
            for place in range(to.take.count):
                if not -1 <= to.take.index[place] < inputs:
                    raise ValueError(f"stage {k} takes feature {to.take.index[place]} of {inputs}")
            return to.take.count
        elif to.kind == FL_STAGE_MAGNITUDE:
            to.magnitude.parts, to.magnitude.eps = settings["parts"], settings["eps"]
            if to.magnitude.parts < 1 or inputs % (2 * to.magnitude.parts):
                raise ValueError(f"stage {k}, magnitude, cannot divide {inputs} features in pairs of "
                                 f"{settings['parts']} parts")
            return inputs // 2
        elif to.kind == FL_STAGE_FRAME_CONV:
            return self._add_frame_conv(to, weights, settings, k)
        elif to.kind == FL_STAGE_CONCAT:
            to.side[0] = self._reads(k, side["second"], &features)
            return inputs + features
        elif to.kind == FL_STAGE_FINAL:
            if not self.whole:
                raise ValueError(f"stage {k}, 'final', is the identity in a stream: leave it out")
            to.directions.forward = inputs // 2 if settings["bidirectional"] else 0 if settings["reverse"] else inputs
            to.last = True
        if features != expected:
            raise ValueError(f"the side input of stage {k} has {features} features, expected {expected}")
        return inputs

    cdef ptrdiff_t _add_frame_conv(self, fl_stage *to, weights, settings, ptrdiff_t k) except -1:
        cdef ptrdiff_t room
        to.conv.time, to.conv.stride = settings["steps"], settings["stride"]
        if to.conv.time < 1 or to.input % to.conv.time or not 1 <= to.conv.stride <= MOST_STEPS:
            raise ValueError(f"stage {k}, a convolution within {to.input} features, cannot have {settings['steps']} "
                             f"steps and stride {settings['stride']}")
        _conv_weights(&to.conv, self.dtype, to.input // to.conv.time, weights["weight"], weights.get("bias"),
                      settings["dilation"], settings["groups"])
        room = to.conv.time - (to.conv.kernel - 1) * to.conv.dilation - 1
        if room < 0:
            raise ValueError(f"stage {k}, a convolution within frames of {to.conv.time} steps, has longer windows")
        return (room // to.conv.stride + 1) * to.conv.filters

    cdef ptrdiff_t _add_lstm(self, fl_stage *to, fl_lstm_cell *cell, weights, settings) except -1:
        cell_weights = CellWeights(*[weights.get(name) for name in CellWeights._fields])
        if settings["bidirectional"] or (settings["reverse"] and not self.whole):
            raise ValueError("an LSTM that begins at the end of a series cannot be streamed")
        if settings["cell"] == PLAIN and all([a is None for a in cell_weights]):
            cell = NULL
        else:
            _settings(cell, settings["cell"])
        check_two_axes(weights["weight_hh"], "weight_hh")
        _lstm_weights(&to.lstm, cell, self.dtype, to.input, weights["weight_ih"], weights["weight_hh"],
                      weights.get("bias_ih"), weights.get("bias_hh"), cell_weights)
        to.lstm.bf16 = settings.get("bf16", False)
        if to.lstm.bf16 and self.dtype != FL_F32:
            raise TypeError("operands of 16 bits belong to float32 weights")
        to.lstm.quantized = settings.get("quantized", False)
        to.lstm.x_limits = _quantized(to.lstm.quantized, weights.get("x_limits"), self.dtype, to.input, to.lstm.hidden)
        if to.lstm.quantized and cell != NULL:
            raise ValueError("quantized weights serve the plain cell alone")
        to.lstm.reverse = settings["reverse"]
        to.last = self.whole and settings.get("last", False)
        return _recurrent(&to.lstm)

    cdef int _take_states(self, stages) except -1:
        """Note the states: (stage, which, name, size, dtype, number of the stage among those with states)."""
        cdef ptrdiff_t k, place = 0
        cdef int which, dtype
        cdef size_t row
        cdef _Engine engine = self.take(1, 1)
        self.one_step = engine.network.stages[self.count - 1].one_step
        for k in range(self.count):
            for which in range(FL_STAGE_STATES):
                row = fl_stage_state(&engine.network, k, which)
                if (row > 0) != (which < len(stages[k].states)):
                    raise ValueError(f"stage {k}, {stages[k].kind}, has other states than {stages[k].states}")
                if row == 0:
                    continue
                state = stages[k].states[which]
                dtype = FL_F64 if state.dtype == "float64" else self.dtype
                if state.size * (4 if dtype == FL_F32 else 8) != row:
                    raise ValueError(f"{state.name} of stage {k} has {state.size} elements for each series, expected "
                                     f"{row} bytes")
                self.stages[k].initial[which] = optional_of(state.initial, state.name, dtype, shape1(state.size), False)
                self.held.append(state.initial)
                self.states.append((k, which, state.size, type_name(dtype), place))
            place += len(stages[k].states) > 0
        return 0  # this engine does not know the initial states, so that it does not go back to the others

    cdef bint _scaler_alone_reads_x(self):
        cdef ptrdiff_t k
        cdef fl_stage *stage
        for k in range(self.count):
            stage = &self.stages[k]
            if stage.main == k and stage.kind != FL_STAGE_STANDARDIZE:
                return False
            if (stage.side[0] == k and (stage.kind == FL_STAGE_ADD or stage.kind == FL_STAGE_CONCAT
                                        or stage.kind == FL_STAGE_MULTIPLY or stage.kind == FL_STAGE_POOL)):
                return False
        return True

    cdef list packed_stages(self, fl_stage *stages):
        """Give stages their packed weights; return the objects to hold while the stages use them."""
        cdef ptrdiff_t k
        cdef _Packed packed
        cdef list result = []
        for k in range(self.count):
            packed = None
            if stages[k].kind == FL_STAGE_LSTM:
                self.stages[k].lstm.n_threads = 1
                packed = self.packed.of_lstm(self.dtype, &self.stages[k].lstm, self.held[k])
            elif stages[k].kind == FL_STAGE_DENSE:
                packed = self.packed.of_dense(self.dtype, &self.stages[k].dense, self.held[k])
            elif stages[k].kind == FL_STAGE_CONV or stages[k].kind == FL_STAGE_FRAME_CONV:
                packed = self.packed.of_conv(self.dtype, &self.stages[k].conv, self.held[k])
            stages[k].packed = NULL if packed is None else packed.data
            if packed is not None:
                result.append(packed)
        return result

    cdef _Engine take(self, ptrdiff_t batch, ptrdiff_t steps):
        """Return an engine with room for such a block, which belongs to the caller until `give`."""
        global idle_in_all
        cdef _Engine engine
        if self.count == 0:
            raise RuntimeError("this chain has no stages, because its __init__ was not called")
        if self.spare is not None:
            engine = self.spare
            self.spare = None
        elif len(self.free) > 0:
            engine = <_Engine>self.free.pop()
            self.idle -= engine.bytes()
            idle_in_all -= engine.bytes()
        else:
            engine = _Engine.__new__(_Engine)
            engine.begin(self)
        if engine.network.batch != batch or not fl_network_fits(&engine.network, steps):
            engine.fit(self, batch, steps)
        return engine

    cdef int give(self, _Engine engine) except -1:
        """Take an engine back."""
        global idle_in_all
        cdef size_t size
        if self.spare is None:
            self.spare = engine
            return 0
        size = engine.bytes()
        if len(self.free) < IDLE_ENGINES or idle_in_all + size <= IDLE_BYTES:
            self.idle += size
            idle_in_all += size
            self.free.append(engine)
        return 0

    @property
    def dtype_name(self):
        """Name of the dtype."""
        return type_name(self.dtype)

    @property
    def nbytes(self):
        """Bytes of packed weights and idle workspaces."""
        cdef _Engine spare = self.spare
        return self.packed.nbytes + self.idle + (0 if spare is None else spare.bytes())

    cdef ptrdiff_t first_refused(self, int dtype, ptrdiff_t n, const void *x, const char *missing) noexcept nogil:
        """Return the position of the first number that is not finite, or that the dtype cannot hold; -1: none.

        NaN counts as finite in features whose values may be missing; ``missing`` is NULL if there are none.
        """
        cdef ptrdiff_t bad, start = 0
        cdef size_t size = 4 if dtype == FL_F32 else 8
        cdef bint is_nan
        while start < n:
            bad = fl_first_nonfinite(<fl_dtype>dtype, n - start, <const char *>x + <size_t>start * size)
            if bad < 0:
                break
            bad += start
            if dtype == FL_F32:
                is_nan = (<const float *>x)[bad] != (<const float *>x)[bad]
            else:
                is_nan = (<const double *>x)[bad] != (<const double *>x)[bad]
            if not (is_nan and missing != NULL and missing[bad % self.input]):
                return bad
            start = bad + 1
        return -1 if dtype == <int>self.dtype or dtype == INT64 else _first_beyond_float(<const double *>x, n)

    def predict(self, x, n_threads=1, lengths=None, ptrdiff_t most=1048576):
        """Return the output for whole series in one call of C: (batch, steps, output) or (batch, output).

        x is an array (batch, time, features), of which ``lengths`` may give the valid steps of each series; outputs for
        the others are 0. Or it is a list of series (time, features); outputs for each step then are a list as well.

        None if x or ``lengths`` is not as plain as that, x holds numbers that the chain cannot read as they are, or it
        is too large: values between the stages of more than `most` elements. The caller then takes a way that knows
        more.
        """
        cdef cnp.ndarray a, y, ends
        cdef ptrdiff_t batch, steps, k, width
        cdef int refused = 0, kind
        cdef bint accepted = True, in_list = False
        cdef const int64_t *valid = NULL
        cdef Shape of_y
        cdef _Engine engine
        if type(x) is list or type(x) is tuple:
            pair = None if lengths is not None else self.side_by_side(x, most)
            if pair is None:
                return None
            x, lengths = pair
            in_list = not self.one_step
        if not cnp.PyArray_CheckExact(x):
            return None
        a = <cnp.ndarray>x
        if (cnp.PyArray_NDIM(a) != (3 if self.input else 2) or not cnp.PyArray_ISCARRAY_RO(a)
                or (self.input and cnp.PyArray_DIM(a, 2) != self.input)):
            return None
        batch, steps = cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1)
        if batch < 1 or steps < 1 or batch > most // steps or batch * steps > most // self.widest():
            return None
        if lengths is not None:
            ends = _valid_steps(lengths, batch, steps)
            if ends is None:
                return None
            valid = <const int64_t *>cnp.PyArray_DATA(ends)
        kind = cnp.PyArray_TYPE(a)
        if self.input == 0:
            if kind != cnp.NPY_INT64 or not self.tokens_fit(<const int64_t *>cnp.PyArray_DATA(a), batch * steps):
                return None
        elif kind != type_number(self.dtype):
            if kind == cnp.NPY_FLOAT:
                a = cnp.PyArray_Cast(a, cnp.NPY_DOUBLE)
            elif kind != cnp.NPY_DOUBLE:
                return None
            elif not self.scales:  # rounded to float32 before it is read
                if self.first_refused(FL_F64, batch * steps * self.input, cnp.PyArray_DATA(a), NULL) >= 0:
                    return None
                a = cnp.PyArray_Cast(a, cnp.NPY_FLOAT)
        kind = FL_F64 if cnp.PyArray_TYPE(a) == cnp.NPY_DOUBLE else FL_F32
        of_y = shape2(batch, self.output) if self.one_step else shape3(batch, steps, self.output)
        y = cnp.PyArray_EMPTY(of_y.axes, <cnp.npy_intp *>of_y.size, type_number(self.writes), 0)
        engine = self.take(batch, steps)
        engine.attach_own()
        engine.network.n_threads = thread_count(n_threads)
        engine.network.x_double = kind == FL_F64
        engine.network.lengths = valid
        width = self.output * cnp.PyArray_ITEMSIZE(y)
        with nogil:
            if self.input:
                accepted = self.accepts(kind, batch, steps, cnp.PyArray_DATA(a), valid)
            if accepted:
                fl_network_reset(&engine.network, NULL, 0)
                refused = fl_network_run(&engine.network, cnp.PyArray_DATA(a), steps, cnp.PyArray_DATA(y))
            if accepted and valid != NULL and not self.one_step:
                for k in range(batch):
                    memset(<char *>cnp.PyArray_DATA(y) + (k * steps + valid[k]) * width, 0, (steps - valid[k]) * width)
        engine.network.lengths = NULL
        self.give(engine)
        if not accepted or refused:
            return None
        if in_list:
            return [y[k].copy() if valid == NULL else y[k, :valid[k]].copy() for k in range(batch)]
        return y

    cdef bint accepts(self, int dtype, ptrdiff_t batch, ptrdiff_t steps, const void *x,
                      const int64_t *lengths) noexcept nogil:
        """Return whether all numbers of the valid steps can be read."""
        cdef ptrdiff_t b
        cdef size_t series = steps * self.input * (4 if dtype == FL_F32 else 8)
        if lengths == NULL:
            return self.first_refused(dtype, batch * steps * self.input, x, self.missing) < 0
        for b in range(batch):
            if self.first_refused(dtype, lengths[b] * self.input, <const char *>x + b * series, self.missing) >= 0:
                return False
        return True

    cdef tuple side_by_side(self, series, ptrdiff_t most):
        """Return series in one array, with zeros after their ends, and their lengths, None if these are all the same.

        None if they are not plain arrays of one type, or of such different lengths that padding would cost much.
        """
        cdef cnp.ndarray one, a, ends
        cdef ptrdiff_t n = len(series), k, longest = 0, total = 0
        cdef int kind = -1, axes
        cdef int64_t *length
        cdef Shape of_a
        cdef char *to
        if not 1 <= n <= most:
            return None
        ends = cnp.PyArray_EMPTY(1, <cnp.npy_intp *>&n, cnp.NPY_INT64, 0)
        length = <int64_t *>cnp.PyArray_DATA(ends)
        for k in range(n):
            if not cnp.PyArray_CheckExact(series[k]):
                return None
            one = <cnp.ndarray>series[k]
            axes = cnp.PyArray_NDIM(one)
            if (not cnp.PyArray_ISCARRAY_RO(one) or (k > 0 and cnp.PyArray_TYPE(one) != kind)
                    or not (axes == 1 and self.input <= 1
                            or axes == 2 and self.input > 0 and cnp.PyArray_DIM(one, 1) == self.input)):
                return None
            kind = cnp.PyArray_TYPE(one)
            length[k] = cnp.PyArray_DIM(one, 0)
            longest = max(longest, length[k])
            total += length[k]
        if not (kind == cnp.NPY_INT64 if self.input == 0 else kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE):
            return None
        if longest < 1 or n > most // longest or n * longest > max(2 * total, <ptrdiff_t>FEW_STEPS):
            return None
        of_a = shape3(n, longest, self.input) if self.input else shape2(n, longest)
        a = cnp.PyArray_ZEROS(of_a.axes, <cnp.npy_intp *>of_a.size, kind, 0)
        to = <char *>cnp.PyArray_DATA(a)
        for k in range(n):
            one = <cnp.ndarray>series[k]
            memcpy(to, cnp.PyArray_DATA(one), cnp.PyArray_NBYTES(one))
            to += cnp.PyArray_NBYTES(a) // n
        return a, None if total == n * longest else ends

    cdef bint tokens_fit(self, const int64_t *x, ptrdiff_t n) noexcept nogil:
        cdef ptrdiff_t k
        for k in range(n):
            if not 0 <= x[k] < self.tokens:
                return False
        return True

    cdef ptrdiff_t widest(self) noexcept:
        cdef ptrdiff_t k, widest = max(self.input, 1)
        for k in range(self.count):
            widest = max(widest, self.stages[k].output)
        return widest
