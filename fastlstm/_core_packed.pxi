# Included by _core.pyx: packed weights of frozen models, which threads, streams and passes share.

cdef bint _read_only(weights):
    """Return whether no array among the weights can be written to."""
    for a in weights:
        if isinstance(a, tuple):
            if not _read_only(a):
                return False
        elif isinstance(a, cnp.ndarray) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a):
            return False
    return True


cdef bint _same_lstm(const fl_lstm_pass *a, const fl_lstm_pass *b) noexcept nogil:
    """Return whether two passes have the same weights, apart from those of their cells."""
    return (a.input == b.input and a.hidden == b.hidden and a.weight_ih == b.weight_ih and a.weight_hh == b.weight_hh
            and a.bias_ih == b.bias_ih and a.bias_hh == b.bias_hh and (a.cell == NULL) == (b.cell == NULL)
            and a.bf16 == b.bf16 and a.quantized == b.quantized and a.x_limits == b.x_limits)


cdef bint _same_cell(const fl_lstm_cell *a, const fl_lstm_cell *b) noexcept nogil:
    """Return whether two cells pack the same weights in the same way."""
    return (a.projection == b.projection and a.coupled == b.coupled and a.layer_norm == b.layer_norm
            and a.weight_hr == b.weight_hr and a.peepholes == b.peepholes and a.gain_ih == b.gain_ih
            and a.gain_hh == b.gain_hh and a.gain_c == b.gain_c and a.bias_c == b.bias_c)


cdef const float *_quantized(quantized, x_limits, int dtype, ptrdiff_t input, ptrdiff_t hidden) except? NULL:
    """Return the limits of the features of x, NULL if there are none; raise an error if sizes or types do not fit."""
    if not quantized:
        if x_limits is not None:
            raise ValueError("x_limits belong to quantized weights")
        return NULL
    if dtype != FL_F32:
        raise TypeError("quantized weights serve float32 alone")
    if input > FL_QUANTIZED_SIZE or hidden > FL_QUANTIZED_SIZE:
        raise ValueError(f"{max(input, hidden)} features are more than the {FL_QUANTIZED_SIZE} whose products of "
                         "integers can be summed")
    return <const float *>optional_of(x_limits, "x_limits", dtype, shape1(input), False)


cdef class _Packed:
    """Weights of one pass, packed for one instruction set; they never change."""

    @staticmethod
    cdef _Packed make(size_t size, arrays):
        cdef _Packed packed = _Packed.__new__(_Packed)
        packed.isa = fl_isa_active()
        packed.arrays = arrays
        packed.memory = Workspace()
        packed.data = packed.memory.reserve(size)
        return packed


cdef class PackedWeights:
    """Packed forms of weights that nobody can write to, each made at its first use.

    Any number of threads, streams and passes use them at the same time. A form is packed anew when the instruction set
    has changed; those who still use the old form keep it. A copy or a pickle is empty.
    """

    def __cinit__(self):
        self.entries = {}

    def __reduce__(self):
        return PackedWeights, ()

    @property
    def nbytes(self):
        """Bytes held."""
        cdef _Packed packed
        return sum([packed.memory.size for packed in list(self.entries.values())])

    cdef _Packed keep(self, key, _Packed packed, _Packed old):
        """Store a form; return the one to use, which another thread may have stored before."""
        cdef _Packed other = self.entries.get(key)
        if other is not None and other is not old and other.isa == packed.isa:
            return other
        self.entries[key] = packed
        return packed

    cdef _Packed of_lstm(self, fl_dtype dtype, const fl_lstm_pass *lstm, arrays):
        """Return the packed weights of a pass; ``arrays`` holds its weights. None if they can be written to."""
        cdef object key = <uintptr_t>lstm.weight_ih
        cdef _Packed old = self.entries.get(key), packed
        if (old is not None and old.isa == fl_isa_active() and old.dtype == dtype and _same_lstm(&old.lstm, lstm)
                and (lstm.cell == NULL or _same_cell(&old.cell, lstm.cell))):
            return old
        if not _read_only(arrays):
            return None
        packed = _Packed.make(fl_lstm_packed_size(dtype, lstm), arrays)
        packed.dtype, packed.lstm = dtype, lstm[0]
        if lstm.cell != NULL:
            packed.cell = lstm.cell[0]
        with nogil:
            fl_lstm_pack(dtype, lstm, packed.data)
        return self.keep(key, packed, old)

    cdef _Packed of_dense(self, fl_dtype dtype, const fl_dense_pass *dense, arrays):
        """Return packed weight and bias, as `of_lstm`."""
        cdef object key = <uintptr_t>dense.weight
        cdef _Packed old = self.entries.get(key), packed
        if (old is not None and old.isa == fl_isa_active() and old.dtype == dtype and old.dense.input == dense.input
                and old.dense.output == dense.output and old.dense.weight == dense.weight
                and old.dense.bias == dense.bias and old.dense.quantized == dense.quantized
                and old.dense.x_limits == dense.x_limits):
            return old
        if not _read_only(arrays):
            return None
        packed = _Packed.make(fl_dense_packed_size(dtype, dense), arrays)
        packed.dtype, packed.dense = dtype, dense[0]
        with nogil:
            fl_dense_pack(dtype, dense, packed.data)
        return self.keep(key, packed, old)

    cdef _Packed of_conv(self, fl_dtype dtype, const fl_conv_pass *conv, arrays):
        """Return packed weight and bias of a convolution, as `of_lstm`."""
        cdef object key = <uintptr_t>conv.weight
        cdef _Packed old = self.entries.get(key), packed
        if (old is not None and old.isa == fl_isa_active() and old.dtype == dtype and old.conv.input == conv.input
                and old.conv.filters == conv.filters and old.conv.kernel == conv.kernel
                and old.conv.groups == conv.groups and old.conv.weight == conv.weight and old.conv.bias == conv.bias):
            return old
        if not _read_only(arrays):
            return None
        packed = _Packed.make(fl_conv_packed_size(dtype, conv), arrays)
        packed.dtype, packed.conv = dtype, conv[0]
        with nogil:
            fl_conv_pack(dtype, conv, packed.data)
        return self.keep(key, packed, old)
