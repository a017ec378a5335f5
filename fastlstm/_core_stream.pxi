# Included by _core.pyx: streams, which run chains of stages and keep their states.

cdef enum:
    PREFETCHED = 1024  # bytes of the states


cdef class Stream:
    """A chain that is fed one step, or a block of steps, at a time.

    Parameters
    ----------
    chain : Chain
    batch : int
        Series side by side, 0 or more.
    n_threads : int

    Notes
    -----
    A stream owns the states of its series, nothing else. One thread at a time may use it.
    """

    def __cinit__(self, *args, **kwargs):
        self.busy = False

    def __init__(self, Chain chain not None, ptrdiff_t batch, n_threads=1):
        if self.chain is not None:
            raise RuntimeError("a stream is made once")
        if batch < 0:
            raise ValueError(f"got batch {batch}, expected 0 series or more")
        self.n_threads = thread_count(n_threads)
        self.memory = Workspace()
        self.chain = chain
        self._resize(batch, batch)
        self._reset(None)

    cdef int _resize(self, ptrdiff_t batch, ptrdiff_t capacity) except -1:
        """Make memory for the states of `capacity` series, with undefined contents."""
        cdef _Engine engine = self.chain.take(max(capacity, 1), 1)
        cdef Workspace memory = Workspace()
        memory.reserve(fl_network_state(&engine.network))
        self.chain.give(engine)
        self.memory, self.batch, self.capacity = memory, batch, max(capacity, 1)
        self.states = <char *>memory.data
        return 0

    cdef _Engine _engine(self, ptrdiff_t steps):
        """Return an engine that continues from the states of this stream."""
        cdef _Engine engine = self.chain.take(self.batch, steps)
        engine.attach(self.states, self.capacity)
        engine.network.n_threads = self.n_threads
        return engine

    @property
    def _states(self):
        """An array (batch, size) for each state, views of the memory, in a tuple for each stage that has some."""
        cdef _Engine engine
        cdef list result = []
        cdef ptrdiff_t k
        cdef int which
        self._require_chain()
        engine = self.chain.take(max(self.batch, 1), 1)
        engine.attach(self.states, self.capacity)
        for k, which, size, dtype, place in self.chain.states:
            view = np.ndarray((self.batch, size), dtype, self.memory.memory,
                              <char *>engine.network.stages[k].state[which]
                              - <char *>cnp.PyArray_DATA(self.memory.memory))
            if which == 0:
                result.append(())
            result[place] += (view,)
        self.chain.give(engine)
        return result

    cdef int _require_chain(self) except -1:
        if self.chain is None:
            raise RuntimeError("this stream was not initialised by its __init__: make it by model.stream()")
        return 0

    cdef int _require_idle(self) except -1:
        self._require_chain()
        if self.busy:
            raise RuntimeError("this stream is in use by another thread: give each thread its own")
        return 0

    cdef const int64_t *_rows(self, rows, ptrdiff_t *n, bint distinct) except? NULL:
        """Return the numbers of series, int64, checked, and how many they are."""
        cdef ptrdiff_t k
        cdef bint ascending = True
        cdef const int64_t *data
        n[0] = len(rows)
        data = <const int64_t *>array_of(rows, "rows", INT64, shape1(n[0]), False)
        for k in range(n[0]):
            if not 0 <= data[k] < self.batch:
                raise ValueError(f"rows holds {data[k]}, expected 0 to {self.batch - 1}")
            ascending = ascending and (k == 0 or data[k] > data[k - 1])
        if distinct and not ascending and len(set(rows.tolist())) < n[0]:
            raise ValueError(f"rows holds a number more than once, expected each series once: {rows.tolist()!r:.200}")
        return data

    def _reset(self, rows):
        """Begin new series: those with these numbers, int64, or all for None."""
        cdef ptrdiff_t n = 0
        cdef const int64_t *data = NULL
        cdef _Engine engine
        self._require_idle()
        if rows is not None:
            data = self._rows(rows, &n, False)
        if self.batch == 0 or (rows is not None and n == 0):
            return
        engine = self._engine(1)
        fl_network_reset(&engine.network, data, n)
        self.chain.give(engine)

    def _take_rows(self, rows, ptrdiff_t capacity):
        """Keep the series with these numbers, int64, in this order, with room for `capacity` series."""
        cdef list before
        cdef ptrdiff_t n
        self._require_idle()
        self._rows(rows, &n, True)
        before = [[array[rows] for array in arrays] for arrays in self._states]
        self._resize(n, max(capacity, n))
        for arrays, copies in zip(self._states, before):
            for array, copied in zip(arrays, copies):
                array[:] = copied

    def _append(self, ptrdiff_t count):
        """Begin `count` more series after the others."""
        cdef ptrdiff_t batch = self.batch
        self._require_idle()
        if batch + count > self.capacity:
            self._take_rows(np.arange(batch), max(batch + count, 2 * batch))
        self.batch = batch + count
        self._reset(np.arange(batch, self.batch))

    @property
    def _series(self):
        """Number of series."""
        return self.batch

    @property
    def _threads(self):
        """Largest number of threads."""
        return self.n_threads

    @property
    def nbytes(self):
        """Bytes that belong to this stream alone."""
        self._require_chain()
        return self.memory.size

    def _numeric(self, x, str dtype):
        """Return x as an array of numbers that can become this dtype; subclasses may accept lists and other objects."""
        raise TypeError(f"x must be an array of dtype {dtype}, got {type(x).__name__}")

    def _refusal(self, x, ptrdiff_t position):
        """Return the message for a number of x that is not finite; subclasses may say more."""
        return (f"x holds {x.reshape(-1)[position]} at position {position}, expected finite numbers: "
                "the state has not changed")

    cdef cnp.ndarray _as_array(self, x):
        """Return x, or what `_numeric` makes of it."""
        if cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == type_number(self.chain.reads):
            return x
        return self._numeric(x, type_name(self.chain.reads))

    cdef cnp.ndarray _fed(self, cnp.ndarray x, Shape of_x, ptrdiff_t steps, Shape of_y, out, rows):
        """Feed steps to every series, or those with the numbers `rows`; return the answer."""
        cdef cnp.ndarray y
        cdef Chain chain = self.chain
        cdef ptrdiff_t bad, n = 0
        cdef int refused = 0, read_as = chain.reads
        cdef const int64_t *numbers = NULL
        cdef _Engine engine
        if chain.spare is not None and chain.spare.attached != <void *>self.states:
            # The states of one of many streams may come from memory: meanwhile the arguments are checked.
            for bad in range(0, <ptrdiff_t>min(self.memory.size, <size_t>PREFETCHED), 64):
                FASTLSTM_PREFETCH(self.states + bad)
        # An axis of length 1, of a single series or feature, may be left out.
        if not has_shape(x, of_x) and [n for n in array_shape(x) if n != 1] != [n for n in sizes(of_x) if n != 1]:
            raise ValueError(f"x has shape {array_shape(x)}, expected {sizes(of_x)}")
        # Numbers that float32 does not hold are scaled before they are rounded.
        if chain.scales and cnp.PyArray_TYPE(x) != cnp.NPY_FLOAT and np.promote_types(x.dtype, "f4") != "f4":
            read_as = FL_F64
        if cnp.PyArray_TYPE(x) != type_number(read_as) or not cnp.PyArray_ISCARRAY_RO(x):
            with np.errstate(over="ignore"):  # infinity is refused below
                x = np.require(x, type_name(read_as), ["C", "A"])
        if chain.reads == INT64:
            check_tokens(<const int64_t *>cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x), chain.tokens)
        if out is None:
            y = cnp.PyArray_EMPTY(of_y.axes, <cnp.npy_intp *>of_y.size, type_number(chain.writes), 0)
        elif not isinstance(out, cnp.ndarray):
            raise TypeError(f"out is a {type(out).__name__}, expected an array of shape {sizes(of_y)} and dtype "
                            f"{type_name(chain.writes)}")
        else:
            y = out
            array_of(y, "out", chain.writes, of_y, True)
            if (cnp.PyArray_BYTES(x) < cnp.PyArray_BYTES(y) + cnp.PyArray_NBYTES(y)
                    and cnp.PyArray_BYTES(y) < cnp.PyArray_BYTES(x) + cnp.PyArray_NBYTES(x)):
                raise ValueError("out overlaps x, which is still read when out is written: pass another array")
        self._require_idle()
        if rows is not None:
            numbers = self._rows(rows, &n, True)
        if of_x.size[0] == 0:
            return y
        self.busy = True
        try:
            if rows is None:
                engine = chain.take(self.batch, steps)
                if engine.attached != <void *>self.states or engine.capacity != self.capacity:
                    engine.attach(self.states, self.capacity)
            else:
                engine = chain.take(n, steps)
                engine.attach_own()
            engine.network.n_threads = self.n_threads
            engine.network.x_double = read_as == FL_F64
            bad = -1
            with nogil:
                if chain.reads != INT64:
                    bad = chain.first_refused(read_as, of_x.size[0] * steps * chain.input, cnp.PyArray_DATA(x),
                                              chain.missing)
                if bad < 0 and numbers == NULL:
                    refused = fl_network_run(&engine.network, cnp.PyArray_DATA(x), steps, cnp.PyArray_DATA(y))
                elif bad < 0:
                    fl_network_load_rows(&engine.network, self.states, self.capacity, numbers)
                    refused = fl_network_run(&engine.network, cnp.PyArray_DATA(x), steps, cnp.PyArray_DATA(y))
                    if not refused:
                        fl_network_store_rows(&engine.network, self.states, self.capacity, numbers)
            chain.give(engine)
            if bad >= 0:
                raise ValueError(self._refusal(x, bad))
            if refused:
                raise RuntimeError("another thread has changed the instruction set: call again")
        finally:
            self.busy = False
        return y

    def step(self, x, out=None, rows=None):
        """Feed one step to every series, or to those with the numbers `rows`; see `fastlstm.Stream`."""
        cdef ptrdiff_t batch = self.batch
        self._require_chain()
        if rows is not None:
            rows = self._few(rows)
            batch = len(rows)
        return self._fed(self._as_array(x), shape2(batch, self.chain.input) if self.chain.input else shape1(batch), 1,
                         shape2(batch, self.chain.output), out, rows)

    cdef cnp.ndarray _few(self, rows):
        """Return numbers of series as an array of int64, without much ado for arrays of int64 and lists of int."""
        cdef cnp.ndarray numbers
        cdef int64_t *data
        cdef ptrdiff_t k, n
        if cnp.PyArray_CheckExact(rows):
            numbers = <cnp.ndarray>rows
            if (cnp.PyArray_TYPE(numbers) != cnp.NPY_INT64 or cnp.PyArray_NDIM(numbers) != 1
                    or not cnp.PyArray_ISCARRAY_RO(numbers)):
                return self._numbers(rows)
            data = <int64_t *>cnp.PyArray_DATA(numbers)
            for k in range(cnp.PyArray_DIM(numbers, 0)):
                if data[k] < 0:  # counted from the end
                    return self._numbers(rows)
            return numbers
        if type(rows) is not list and type(rows) is not tuple and type(rows) is not range:
            return self._numbers(rows)
        n = len(rows)
        numbers = cnp.PyArray_EMPTY(1, <cnp.npy_intp *>&n, cnp.NPY_INT64, 0)
        data = <int64_t *>cnp.PyArray_DATA(numbers)
        k = 0
        for row in rows:
            if type(row) is not int or not 0 <= row < self.batch:
                return self._numbers(rows)
            data[k] = row
            k += 1
        return numbers

    def _numbers(self, rows):
        """Return numbers of series, without repeats, as int64; subclasses may accept other objects."""
        return rows

    def run(self, x, out=None):
        """Feed a block of steps to every series; see `fastlstm.Stream`."""
        cdef cnp.ndarray a
        cdef ptrdiff_t steps, batch = self.batch, width
        self._require_chain()
        a, width = self._as_array(x), self.chain.input
        if cnp.PyArray_NDIM(a) < 2 or cnp.PyArray_DIM(a, 0) != batch or cnp.PyArray_DIM(a, 1) < 1:
            raise ValueError(f"x has shape {array_shape(a)}, expected ({batch}, steps, features) with 1 step or more")
        steps = cnp.PyArray_DIM(a, 1)
        return self._fed(a, shape3(batch, steps, width) if width else shape2(batch, steps), steps,
                         shape3(batch, steps, self.chain.output), out, None)
