# Included by _core.pyx: convolutions over the steps of series.

cdef enum:
    MOST_STEPS = 2147483647  # that a window spans, and that stand between two windows


cdef ptrdiff_t _conv_weights(fl_conv_pass *conv, int dtype, ptrdiff_t features, weight, bias, dilation,
                             groups) except -1:
    """Set weights and window of a convolution of series with so many features; return its filters."""
    if weight is None or cnp.PyArray_NDIM(<cnp.ndarray?>weight) != 3:
        raise ValueError(f"weight has shape {None if weight is None else array_shape(weight)}, expected "
                         "(filters, features / groups, kernel)")
    conv.input, conv.groups, conv.dilation = features, groups, dilation
    conv.filters, conv.kernel = weight.shape[0], weight.shape[2]
    if conv.groups < 1 or conv.dilation < 1 or conv.filters < 1 or conv.kernel < 1 or features < 1:
        raise ValueError(f"got {features} features, {groups} groups, dilation {dilation} and a weight of shape "
                         f"{array_shape(weight)}, expected 1 or more of each")
    if features % conv.groups or conv.filters % conv.groups:
        raise ValueError(f"{groups} groups do not divide {features} features and {conv.filters} filters")
    if conv.kernel > 1 and conv.dilation > (MOST_STEPS - 1) // (conv.kernel - 1):
        raise ValueError(f"a window of {conv.kernel} steps, {dilation} apart, spans more than {MOST_STEPS} steps")
    conv.weight = array_of(weight, "weight", dtype, shape3(conv.filters, features // conv.groups, conv.kernel), False)
    conv.bias = optional_of(bias, "bias", dtype, shape1(conv.filters), False)
    return conv.filters


cdef ptrdiff_t _conv_steps(const fl_conv_pass *conv, ptrdiff_t length) noexcept:
    """Return the steps of y of a series."""
    cdef ptrdiff_t room = length + conv.left + conv.right - (conv.kernel - 1) * conv.dilation - 1
    if length == 0:
        return 0
    if conv.same:
        return (length - 1) // conv.stride + 1
    return 0 if room < 0 else room // conv.stride + 1


cdef int _conv(fl_conv_pass *conv, fl_dtype dtype, cnp.ndarray x, weight, bias, cnp.ndarray y, str name, stride,
               dilation, groups, padding, lengths, n_threads) except -1:
    """Check what both passes share; ``name`` is that of y."""
    cdef ptrdiff_t b
    if cnp.PyArray_NDIM(x) != 3 or cnp.PyArray_NDIM(y) != 3:
        raise ValueError(f"x has shape {array_shape(x)} and {name} {array_shape(y)}, expected "
                         "(batch, time, features) and (batch, steps, filters)")
    _conv_weights(conv, dtype, x.shape[2], weight, bias, dilation, groups)
    conv.batch, conv.time, conv.steps, conv.stride = x.shape[0], x.shape[1], y.shape[1], stride
    conv.same = padding is None
    conv.left, conv.right = (0, 0) if padding is None else padding
    if not 1 <= conv.stride <= MOST_STEPS or not 0 <= conv.left <= MOST_STEPS or not 0 <= conv.right <= MOST_STEPS:
        raise ValueError(f"got stride {stride} and padding {padding}, expected 1 to {MOST_STEPS}, and None or two "
                         "numbers of steps from 0 on")
    conv.lengths = lengths_of(lengths, conv.batch, conv.time)
    for b in range(conv.batch if conv.lengths != NULL else min(conv.batch, 1)):
        if _conv_steps(conv, conv.time if conv.lengths == NULL else conv.lengths[b]) > conv.steps:
            raise ValueError(f"{name} has {conv.steps} steps, fewer than series {b} gives")
    conv.x = array_of(x, "x", dtype, shape3(conv.batch, conv.time, conv.input), False)
    conv.y = array_of(y, name, dtype, shape3(conv.batch, conv.steps, conv.filters), name == "y")
    conv.packed = NULL
    conv.n_threads = thread_count(n_threads)
    return 0


def conv_forward(cnp.ndarray x not None, cnp.ndarray weight not None, bias, cnp.ndarray y not None,
                 Workspace workspace not None, *, stride=1, dilation=1, groups=1, padding=(0, 0), lengths=None,
                 n_threads=1, PackedWeights packed=None):
    """Convolve x (batch, time, features) with weight (filters, features / groups, kernel): y (batch, steps, filters).

    ``padding``: zeros before and after each series; None for "same". Steps of y beyond those of a series become 0.
    ``packed``: as in `dense_forward`. See ``fl_conv_pass`` in csrc/fastlstm.h.
    """
    cdef fl_conv_pass conv
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef _Packed weights = None
    _conv(&conv, dtype, x, weight, bias, y, "y", stride, dilation, groups, padding, lengths, n_threads)
    conv.backward = 0
    if packed is not None:
        weights = packed.of_conv(dtype, &conv, (weight, bias))
        conv.packed = NULL if weights is None else weights.data
    conv.workspace = workspace.reserve(fl_conv_workspace(dtype, &conv))
    with nogil:
        fl_conv_forward(dtype, &conv)


def conv_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight not None, dx, dweight, dbias,
                  Workspace workspace not None, *, stride=1, dilation=1, groups=1, padding=(0, 0), lengths=None,
                  n_threads=1):
    """Compute the gradients of `conv_forward`: dx (overwritten); dweight and dbias (added to). None: not wanted."""
    cdef fl_conv_pass conv
    cdef fl_dtype dtype = dtype_of(x, "x")
    _conv(&conv, dtype, x, weight, None, dy, "dy", stride, dilation, groups, padding, lengths, n_threads)
    cdef void *from_dy = conv.y
    cdef void *to_dx = optional_of(dx, "dx", dtype, shape3(conv.batch, conv.time, conv.input), True)
    cdef void *to_dweight = optional_of(dweight, "dweight", dtype,
                                        shape3(conv.filters, conv.input // conv.groups, conv.kernel), True)
    cdef void *to_dbias = optional_of(dbias, "dbias", dtype, shape1(conv.filters), True)
    conv.y = NULL
    conv.backward = 1
    conv.workspace = workspace.reserve(fl_conv_workspace(dtype, &conv))
    with nogil:
        fl_conv_backward(dtype, &conv, from_dy, to_dx, to_dweight, to_dbias)
