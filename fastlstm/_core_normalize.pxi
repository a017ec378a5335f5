# Included by _core.pyx: batch normalisation and layer normalisation.


cdef int _batch_norm(fl_batch_norm_pass *norm, fl_dtype dtype, cnp.ndarray x, lengths, mask, n_threads) except -1:
    """Check what all passes share."""
    cdef cnp.ndarray counts
    if cnp.PyArray_NDIM(x) != 3:
        raise ValueError(f"x has shape {array_shape(x)}, expected (batch, time, features)")
    norm.batch, norm.time, norm.width = x.shape[0], x.shape[1], x.shape[2]
    norm.x = data_of(x, "x", dtype, False)
    norm.lengths = lengths_of(lengths, norm.batch, norm.time)
    norm.mask = NULL
    norm.sums = NULL
    if mask is not None:
        counts = mask
        if cnp.PyArray_TYPE(counts) != cnp.NPY_BOOL or not cnp.PyArray_ISCARRAY_RO(counts):
            raise TypeError("mask must be a C-contiguous boolean array")
        check_shape(counts, "mask", shape2(norm.batch, norm.time))
        norm.mask = <const unsigned char *>cnp.PyArray_DATA(counts)
    norm.n_threads = thread_count(n_threads)
    return 0


cdef double *_doubles(cnp.ndarray a, str name, ptrdiff_t n, bint write) except? NULL:
    return <double *>array_of(a, name, FL_F64, shape1(n), write)


cdef double *_sums(Workspace workspace, ptrdiff_t batch, ptrdiff_t width) except? NULL:
    """Return room for (batch, 2, width) sums."""
    if batch > PTRDIFF_MAX // 32 // (width + 1):
        raise MemoryError(f"sums of {batch} series of {width} features do not fit in memory")
    return <double *>workspace.reserve(2 * batch * width * sizeof(double))


def batch_norm_statistics(cnp.ndarray x not None, cnp.ndarray mean not None, cnp.ndarray variance not None,
                          Workspace workspace not None, *, lengths=None, mask=None, n_threads=1):
    """Write mean and variance (features,) of the valid steps of x that the mask leaves; return their number."""
    cdef fl_batch_norm_pass norm
    cdef fl_dtype dtype = dtype_of(x, "x")
    cdef ptrdiff_t count
    _batch_norm(&norm, dtype, x, lengths, mask, n_threads)
    cdef double *to_mean = _doubles(mean, "mean", norm.width, True)
    cdef double *to_variance = _doubles(variance, "variance", norm.width, True)
    norm.sums = _sums(workspace, norm.batch, norm.width)
    with nogil:
        count = fl_batch_norm_statistics(dtype, &norm, to_mean, to_variance)
    return count


def batch_norm_forward(cnp.ndarray x not None, cnp.ndarray mean not None, cnp.ndarray scale not None,
                       cnp.ndarray shift not None, cnp.ndarray y not None, *, lengths=None, n_threads=1):
    """Compute y = (x - mean) scale + shift in double; 0 in the padding."""
    cdef fl_batch_norm_pass norm
    cdef fl_dtype dtype = dtype_of(x, "x")
    _batch_norm(&norm, dtype, x, lengths, None, n_threads)
    cdef const double *from_mean = _doubles(mean, "mean", norm.width, False)
    cdef const double *from_scale = _doubles(scale, "scale", norm.width, False)
    cdef const double *from_shift = _doubles(shift, "shift", norm.width, False)
    cdef void *to = like(y, "y", dtype, x, True)
    with nogil:
        fl_batch_norm_forward(dtype, &norm, from_mean, from_scale, from_shift, to)


def batch_norm_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray mean not None,
                        cnp.ndarray scale not None, weight, ptrdiff_t count, dx, dweight, dbias,
                        Workspace workspace not None, *, lengths=None, mask=None, n_threads=1):
    """Compute the gradients: dx (overwritten); dweight and dbias (added to). None: not wanted.

    ``count``: the number of steps of which mean and scale are the statistics; 0 if they are constants.
    """
    cdef fl_batch_norm_pass norm
    cdef fl_dtype dtype = dtype_of(x, "x")
    if count < 0:
        raise ValueError(f"count is {count}, expected 0 or more")
    _batch_norm(&norm, dtype, x, lengths, mask, n_threads)
    cdef const double *from_mean = _doubles(mean, "mean", norm.width, False)
    cdef const double *from_scale = _doubles(scale, "scale", norm.width, False)
    cdef const void *from_weight = optional_of(weight, "weight", dtype, shape1(norm.width), False)
    cdef const void *from_dy = like(dy, "dy", dtype, x, False)
    cdef void *to_dx = optional_of(dx, "dx", dtype, shape3(norm.batch, norm.time, norm.width), True)
    cdef void *to_dweight = optional_of(dweight, "dweight", dtype, shape1(norm.width), True)
    cdef void *to_dbias = optional_of(dbias, "dbias", dtype, shape1(norm.width), True)
    norm.sums = _sums(workspace, norm.batch, norm.width)
    with nogil:
        fl_batch_norm_backward(dtype, &norm, from_mean, from_scale, from_weight, count, from_dy, to_dx, to_dweight,
                               to_dbias)


cdef int _layer_norm(fl_layer_norm_pass *norm, fl_dtype dtype, cnp.ndarray x, weight, bias, double eps, lengths,
                     n_threads) except -1:
    """Check what both passes share."""
    if cnp.PyArray_NDIM(x) != 3:
        raise ValueError(f"x has shape {array_shape(x)}, expected (batch, time, features)")
    norm.batch, norm.time, norm.width = x.shape[0], x.shape[1], x.shape[2]
    norm.x = data_of(x, "x", dtype, False)
    norm.weight = optional_of(weight, "weight", dtype, shape1(norm.width), False)
    norm.bias = optional_of(bias, "bias", dtype, shape1(norm.width), False)
    norm.lengths = lengths_of(lengths, norm.batch, norm.time)
    if not 0 < eps < INFINITY:
        raise ValueError(f"eps is {eps}, expected a positive number")
    norm.eps = eps
    norm.y = NULL
    norm.sums = NULL
    norm.n_threads = thread_count(n_threads)
    return 0


def layer_norm_forward(cnp.ndarray x not None, weight, bias, double eps, cnp.ndarray y not None, *, lengths=None,
                       n_threads=1):
    """Normalise each step of x (batch, time, features) over its features; 0 in the padding."""
    cdef fl_layer_norm_pass norm
    cdef fl_dtype dtype = dtype_of(x, "x")
    _layer_norm(&norm, dtype, x, weight, bias, eps, lengths, n_threads)
    norm.y = like(y, "y", dtype, x, True)
    with nogil:
        fl_layer_norm_forward(dtype, &norm)


def layer_norm_backward(cnp.ndarray dy not None, cnp.ndarray x not None, weight, double eps, dx, dweight, dbias,
                        Workspace workspace not None, *, lengths=None, n_threads=1):
    """Compute the gradients of `layer_norm_forward`: dx (overwritten); dweight and dbias (added to)."""
    cdef fl_layer_norm_pass norm
    cdef fl_dtype dtype = dtype_of(x, "x")
    _layer_norm(&norm, dtype, x, weight, None, eps, lengths, n_threads)
    cdef const void *from_dy = like(dy, "dy", dtype, x, False)
    cdef void *to_dx = optional_of(dx, "dx", dtype, shape3(norm.batch, norm.time, norm.width), True)
    cdef void *to_dweight = optional_of(dweight, "dweight", dtype, shape1(norm.width), True)
    cdef void *to_dbias = optional_of(dbias, "dbias", dtype, shape1(norm.width), True)
    norm.sums = _sums(workspace, norm.batch, norm.width)
    with nogil:
        fl_layer_norm_backward(dtype, &norm, from_dy, to_dx, to_dweight, to_dbias)
