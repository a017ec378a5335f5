# Included by _core.pyx: sums and functions of doubles with the same bits everywhere.

def total(cnp.ndarray x not None, weights=None):
    """Return the sum of a vector of float64, or of its products with the weights."""
    cdef ptrdiff_t n = x.size
    cdef double *values = <double *>array_of(x, "x", FL_F64, shape1(n), False)
    cdef double *factors = <double *>optional_of(weights, "weights", FL_F64, shape1(n), False)
    cdef double result
    with nogil:
        result = fl_sum(n, values, factors)
    return result


def row_sums(cnp.ndarray x not None, cnp.ndarray sums not None):
    """Write the sums of the rows of x (rows, width), float64, into sums (rows)."""
    check_two_axes(x, "x")
    cdef ptrdiff_t rows = cnp.PyArray_DIM(x, 0), width = cnp.PyArray_DIM(x, 1)
    cdef double *values = <double *>data_of(x, "x", FL_F64, False)
    cdef double *to = <double *>array_of(sums, "sums", FL_F64, shape1(rows), True)
    with nogil:
        fl_row_sums(rows, width, values, to)


def column_sums(cnp.ndarray x not None, center, cnp.ndarray sums not None):
    """Write sums over the rows of x (rows, width), float64: of x or, given center (width), of (x - center)^2."""
    check_two_axes(x, "x")
    cdef ptrdiff_t rows = cnp.PyArray_DIM(x, 0), width = cnp.PyArray_DIM(x, 1)
    cdef double *values = <double *>data_of(x, "x", FL_F64, False)
    cdef double *around = <double *>optional_of(center, "center", FL_F64, shape1(width), False)
    cdef double *to = <double *>array_of(sums, "sums", FL_F64, shape1(width), True)
    with nogil:
        fl_column_sums(rows, width, values, around, to)


def exp(cnp.ndarray x not None, cnp.ndarray y not None):
    """Compute y = exp(x), element by element, in float64; y may be x."""
    cdef double *values = <double *>data_of(x, "x", FL_F64, False)
    cdef double *to = <double *>like(y, "y", FL_F64, x, True)
    with nogil:
        fl_exp_of(x.size, values, to)


def log(cnp.ndarray x not None, cnp.ndarray y not None):
    """Compute y = log(x), element by element, in float64; y may be x."""
    cdef double *values = <double *>data_of(x, "x", FL_F64, False)
    cdef double *to = <double *>like(y, "y", FL_F64, x, True)
    with nogil:
        fl_log_of(x.size, values, to)


def power(double base, int64_t n):
    """Return base^n, n >= 0."""
    if n < 0:
        raise ValueError(f"n is {n}, expected 0 or more")
    return fl_power_of(base, n)


def cosine(double turns):
    """Return cos(2 pi turns)."""
    if not 0 <= turns <= 0.5:
        raise ValueError(f"turns is {turns}, expected 0 to 0.5")
    return fl_cosine(turns)
