# Included by _core.pyx: attention of queries over the steps of a memory.

cdef int _attention(fl_attention_pass *attention, fl_dtype dtype, cnp.ndarray query, cnp.ndarray keys,
                    cnp.ndarray values, lengths, query_lengths, n_threads) except -1:
    if cnp.PyArray_NDIM(query) != 3 or cnp.PyArray_NDIM(keys) != 3 or cnp.PyArray_NDIM(values) != 3:
        raise ValueError(f"query, keys and values have shapes {array_shape(query)}, {array_shape(keys)} and "
                         f"{array_shape(values)}, expected three axes each")
    attention.batch, attention.queries, attention.key_size = query.shape[0], query.shape[1], query.shape[2]
    attention.time, attention.width = values.shape[1], values.shape[2]
    attention.query = data_of(query, "query", dtype, False)
    attention.keys = array_of(keys, "keys", dtype, shape3(attention.batch, attention.time, attention.key_size), False)
    attention.values = array_of(
        values, "values", dtype, shape3(attention.batch, attention.time, attention.width), False)
    attention.lengths = lengths_of(lengths, attention.batch, attention.time)
    attention.query_lengths = lengths_of(query_lengths, attention.batch, attention.queries)
    attention.n_threads = thread_count(n_threads)
    return 0


def attention_forward(cnp.ndarray query not None, cnp.ndarray keys not None, cnp.ndarray values not None,
                      cnp.ndarray weights not None, cnp.ndarray y not None, *, lengths=None, query_lengths=None,
                      n_threads=1):
    """Compute y = softmax(query keys') values and the softmax, weights, of each case. See ``fl_attention_forward``."""
    cdef fl_attention_pass attention
    cdef fl_dtype dtype = dtype_of(query, "query")
    _attention(&attention, dtype, query, keys, values, lengths, query_lengths, n_threads)
    attention.weights = array_of(
        weights, "weights", dtype, shape3(attention.batch, attention.queries, attention.time), True)
    attention.y = array_of(y, "y", dtype, shape3(attention.batch, attention.queries, attention.width), True)
    with nogil:
        fl_attention_forward(dtype, &attention)


def attention_backward(cnp.ndarray dy not None, cnp.ndarray query not None, cnp.ndarray keys not None,
                       cnp.ndarray values not None, cnp.ndarray weights not None, cnp.ndarray dscores not None,
                       cnp.ndarray dquery not None, cnp.ndarray dkeys not None, cnp.ndarray dvalues not None, *,
                       lengths=None, query_lengths=None, n_threads=1):
    """Compute the gradients from the weights that `attention_forward` left; dscores is memory for it."""
    cdef fl_attention_pass attention
    cdef fl_dtype dtype = dtype_of(query, "query")
    _attention(&attention, dtype, query, keys, values, lengths, query_lengths, n_threads)
    cdef Shape scores = shape3(attention.batch, attention.queries, attention.time)
    cdef Shape of_keys = shape3(attention.batch, attention.time, attention.key_size)
    cdef Shape of_values = shape3(attention.batch, attention.time, attention.width)
    cdef Shape of_y = shape3(attention.batch, attention.queries, attention.width)
    attention.weights = array_of(weights, "weights", dtype, scores, False)
    attention.y = NULL
    cdef void *from_dy = array_of(dy, "dy", dtype, of_y, False)
    cdef void *to_dscores = array_of(dscores, "dscores", dtype, scores, True)
    cdef void *to_dquery = array_of(
        dquery, "dquery", dtype, shape3(attention.batch, attention.queries, attention.key_size), True)
    cdef void *to_dkeys = array_of(dkeys, "dkeys", dtype, of_keys, True)
    cdef void *to_dvalues = array_of(dvalues, "dvalues", dtype, of_values, True)
    with nogil:
        fl_attention_backward(dtype, &attention, from_dy, to_dscores, to_dquery, to_dkeys, to_dvalues)
