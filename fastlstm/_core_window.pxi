# Included by _core.pyx: pooling over windows of the steps of series.


cdef int _window(fl_window_pool_pass *window, fl_dtype dtype, str kind, cnp.ndarray x, cnp.ndarray y, str name,
                 kernel, stride, padding, bint count_include_pad, lengths, n_threads) except -1:
    """Check what both passes share; ``name`` is that of y."""
    cdef fl_conv_pass shape
    cdef ptrdiff_t b
    if cnp.PyArray_NDIM(x) != 3 or cnp.PyArray_NDIM(y) != 3:
        raise ValueError(f"x has shape {array_shape(x)} and {name} {array_shape(y)}, expected "
                         "(batch, time, features) and (batch, steps, features)")
    if kind not in ("mean", "max"):
        raise ValueError(f"the kind is {kind!r}, expected 'mean' or 'max'")
    window.kind, window.counts_zeros = POOL_KINDS[kind], count_include_pad
    window.batch, window.time, window.width, window.steps = x.shape[0], x.shape[1], x.shape[2], y.shape[1]
    window.kernel, window.stride = kernel, stride
    window.same = padding is None
    window.left, window.right = (0, 0) if padding is None else padding
    if not 1 <= window.kernel <= MOST_STEPS or not 1 <= window.stride <= MOST_STEPS:
        raise ValueError(f"got kernel {kernel} and stride {stride}, expected 1 to {MOST_STEPS}")
    if not 0 <= window.left < window.kernel or not 0 <= window.right < window.kernel:
        raise ValueError(f"padding is {padding}, expected None or two numbers of steps below the kernel, {kernel}")
    window.lengths = lengths_of(lengths, window.batch, window.time)
    shape.kernel, shape.dilation, shape.stride = window.kernel, 1, window.stride
    shape.left, shape.right, shape.same = window.left, window.right, window.same
    for b in range(window.batch if window.lengths != NULL else min(window.batch, 1)):
        if _conv_steps(&shape, window.time if window.lengths == NULL else window.lengths[b]) > window.steps:
            raise ValueError(f"{name} has {window.steps} steps, fewer than series {b} gives")
    window.x = data_of(x, "x", dtype, False)
    window.y = array_of(y, name, dtype, shape3(window.batch, window.steps, window.width), name == "y")
    window.n_threads = thread_count(n_threads)
    return 0


def window_pool_forward(str kind, cnp.ndarray x not None, cnp.ndarray y not None, *, kernel, stride=1, padding=(0, 0),
                        bint count_include_pad=False, lengths=None, n_threads=1):
    """Pool windows of x (batch, time, features): y (batch, steps, features), 0 beyond the steps of each series.

    ``padding``: as in `conv_forward`. See ``fl_window_pool_pass`` in csrc/fastlstm.h.
    """
    cdef fl_window_pool_pass window
    cdef fl_dtype dtype = dtype_of(x, "x")
    _window(&window, dtype, kind, x, y, "y", kernel, stride, padding, count_include_pad, lengths, n_threads)
    with nogil:
        fl_window_pool_forward(dtype, &window)


def window_pool_backward(str kind, cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None, *, kernel,
                         stride=1, padding=(0, 0), bint count_include_pad=False, lengths=None, n_threads=1):
    """Compute the gradient dx of `window_pool_forward`."""
    cdef fl_window_pool_pass window
    cdef fl_dtype dtype = dtype_of(x, "x")
    _window(&window, dtype, kind, x, dy, "dy", kernel, stride, padding, count_include_pad, lengths, n_threads)
    cdef const void *from_dy = window.y
    cdef void *to = like(dx, "dx", dtype, x, True)
    window.y = NULL
    with nogil:
        fl_window_pool_backward(dtype, &window, from_dy, to)
