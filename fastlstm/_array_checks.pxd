# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Checks of the arrays that ``_core.pyx`` hands to C; one that succeeds creates no Python object.

A dtype is that of csrc/fastlstm.h, or INT64. A function that is given the name of an argument raises TypeError or
ValueError with it, and says what was expected.
"""
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t
cimport numpy as cnp

from fastlstm._core cimport FL_F32, FL_F64, Rows, Shape, Vector, fl_dtype

cdef enum:
    INT64 = 2  # a dtype of arrays, next to FL_F32 and FL_F64


cdef inline Shape shape1(ptrdiff_t n) noexcept:
    return Shape(axes=1, size=[n, 0, 0])


cdef inline Shape shape2(ptrdiff_t n, ptrdiff_t m) noexcept:
    return Shape(axes=2, size=[n, m, 0])


cdef inline Shape shape3(ptrdiff_t n, ptrdiff_t m, ptrdiff_t k) noexcept:
    return Shape(axes=3, size=[n, m, k])


cdef inline fl_dtype dtype_of(cnp.ndarray a, str name) except *:
    cdef int number = cnp.PyArray_TYPE(a)
    if number == cnp.NPY_FLOAT32:
        return FL_F32
    if number == cnp.NPY_FLOAT64:
        return FL_F64
    raise TypeError(f"{name} has dtype {a.dtype}, expected float32 or float64: convert it with .astype")


cdef inline int type_number(int dtype) noexcept:
    return cnp.NPY_INT64 if dtype == INT64 else cnp.NPY_FLOAT32 if dtype == FL_F32 else cnp.NPY_FLOAT64


cdef inline str type_name(int dtype):
    return "int64" if dtype == INT64 else "float32" if dtype == FL_F32 else "float64"


cdef inline int thread_count(n_threads) except -1:
    cdef int n
    try:
        n = n_threads
    except OverflowError:
        n = 0
    if n < 1:
        raise ValueError(f"n_threads is {n_threads}, expected 1 to {INT_MAX}")
    return n


cdef inline bint has_shape(cnp.ndarray a, Shape shape) noexcept:
    cdef int k
    if cnp.PyArray_NDIM(a) != shape.axes:
        return False
    for k in range(shape.axes):
        if cnp.PyArray_DIM(a, k) != shape.size[k]:
            return False
    return True


cdef inline tuple sizes(Shape shape):
    return tuple([shape.size[k] for k in range(shape.axes)])


cdef inline tuple array_shape(cnp.ndarray a):
    return tuple([a.shape[k] for k in range(a.ndim)])


cdef inline int check_shape(cnp.ndarray a, str name, Shape shape) except -1:
    if not has_shape(a, shape):
        raise ValueError(f"{name} has shape {array_shape(a)}, expected {sizes(shape)}")
    return 0


cdef inline int check_write(cnp.ndarray a, str name, bint write) except -1:
    if write and not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{name} is read-only, but a result is written to it: pass a copy")
    return 0


cdef inline void *data_of(cnp.ndarray a, str name, int dtype, bint write) except? NULL:
    """Return the data of a C-contiguous array of one dtype."""
    if a is None:
        raise TypeError(f"{name} is None, expected an array of dtype {type_name(dtype)}")
    if cnp.PyArray_TYPE(a) != type_number(dtype) or not cnp.PyArray_ISCARRAY_RO(a):
        raise TypeError(f"{name} must be a C-contiguous, aligned array of dtype {type_name(dtype)}, "
                        f"got {a.dtype} with strides {(<object>a).strides}: use np.ascontiguousarray(a, dtype)")
    check_write(a, name, write)
    return cnp.PyArray_DATA(a)


cdef inline void *array_of(cnp.ndarray a, str name, int dtype, Shape shape, bint write) except? NULL:
    """Return the data of a C-contiguous array of one dtype and shape."""
    cdef void *data = data_of(a, name, dtype, write)
    check_shape(a, name, shape)
    return data


cdef inline void *optional_of(object a, str name, int dtype, Shape shape, bint write) except? NULL:
    return NULL if a is None else array_of(a, name, dtype, shape, write)


cdef inline void *like(cnp.ndarray a, str name, int dtype, cnp.ndarray other, bint write) except? NULL:
    """Return the data of a C-contiguous array of one dtype, of the shape of another array."""
    cdef void *data = data_of(a, name, dtype, write)
    if not cnp.PyArray_SAMESHAPE(a, other):
        raise ValueError(f"{name} has shape {array_shape(a)}, expected {array_shape(other)}")
    return data


cdef inline void *series_of(object series, str name, int dtype, Shape shape, bint write, ptrdiff_t *batch_stride,
                            ptrdiff_t *time_stride) except? NULL:
    """Return the data of a (batch, time, features) array whose last axis is contiguous, and its strides in elements.

    NULL for None.
    """
    cdef cnp.ndarray a
    cdef ptrdiff_t size
    if series is None:
        return NULL
    a = series
    size = cnp.PyArray_ITEMSIZE(a)
    if (cnp.PyArray_TYPE(a) != type_number(dtype) or not cnp.PyArray_ISALIGNED(a)
            or not cnp.PyArray_ISNOTSWAPPED(a)):
        raise TypeError(f"{name} must be an aligned array of dtype {type_name(dtype)}, got {a.dtype}: "
                        "use np.ascontiguousarray(a, dtype)")
    check_write(a, name, write)
    check_shape(a, name, shape)
    # The strides of an empty array mean nothing.
    if cnp.PyArray_SIZE(a) > 0 and (
            (cnp.PyArray_DIM(a, 2) > 1 and cnp.PyArray_STRIDE(a, 2) != size)
            or cnp.PyArray_STRIDE(a, 0) % size or cnp.PyArray_STRIDE(a, 1) % size):
        raise ValueError(f"the features of {name} are not contiguous (strides {(<object>a).strides} bytes): "
                         "use np.ascontiguousarray")
    batch_stride[0] = cnp.PyArray_STRIDE(a, 0) // size
    time_stride[0] = cnp.PyArray_STRIDE(a, 1) // size
    return cnp.PyArray_DATA(a)


cdef inline Vector vector_of(cnp.ndarray a, str name, bint write) except *:
    """Return dtype, size and data of a C-contiguous vector."""
    cdef Vector v = Vector(dtype=dtype_of(a, name), n=a.size, data=NULL)
    v.data = array_of(a, name, v.dtype, shape1(v.n), write)
    return v


cdef inline Rows rows_of(cnp.ndarray a, str name) except *:
    """Return dtype, sizes and data of a C-contiguous (rows, classes) array with a class or more."""
    cdef Rows rows
    rows.dtype = dtype_of(a, name)
    if cnp.PyArray_NDIM(a) != 2 or cnp.PyArray_DIM(a, 1) < 1:
        raise ValueError(f"{name} has shape {array_shape(a)}, expected (rows, classes)")
    rows.n, rows.width = a.shape[0], a.shape[1]
    rows.data = data_of(a, name, rows.dtype, False)
    return rows


cdef inline const int64_t *lengths_of(object lengths, ptrdiff_t batch, ptrdiff_t time) except? NULL:
    """Return the data of lengths (batch), each from 0 to time; NULL for None."""
    cdef ptrdiff_t b
    cdef const int64_t *data = <const int64_t *>optional_of(lengths, "lengths", INT64, shape1(batch), False)
    if data != NULL:
        for b in range(batch):
            if not 0 <= data[b] <= time:
                raise ValueError(f"lengths[{b}] is {data[b]}, expected 0 to {time}")
    return data


cdef inline int check_two_axes(cnp.ndarray table, str name) except -1:
    if table is None or cnp.PyArray_NDIM(table) != 2:
        raise ValueError(f"{name} has shape {None if table is None else array_shape(table)}, expected two axes")
    return 0


cdef inline int check_tokens(const int64_t *index, ptrdiff_t n, ptrdiff_t limit) except -1:
    cdef ptrdiff_t k
    for k in range(n):
        if index[k] < 0 or index[k] >= limit:
            raise ValueError(f"token {index[k]} at position {k} is not in the table: expected 0 to {limit - 1}")
    return 0
