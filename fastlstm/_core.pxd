# cython: language_level=3
"""Declarations of ``_core.pyx``: the C interface, ``csrc/fastlstm.h``, and the attributes of the classes."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
cimport numpy as cnp

cdef extern from "fastlstm.h" nogil:
    ctypedef enum fl_dtype:
        FL_F32
        FL_F64

    int fl_isa_count()
    const char *fl_isa_name(int index)
    const char *fl_isa_active()
    int fl_isa_select(const char *name)
    int fl_isa_lanes(fl_dtype dtype)
    int fl_isa_fused()
    double fl_sum(ptrdiff_t n, const double *x, const double *weights)
    void fl_row_sums(ptrdiff_t rows, ptrdiff_t width, const double *x, double *sums)
    void fl_column_sums(ptrdiff_t rows, ptrdiff_t width, const double *x, const double *center, double *sums)
    void fl_exp_of(ptrdiff_t n, const double *x, double *y)
    void fl_log_of(ptrdiff_t n, const double *x, double *y)
    double fl_power_of(double base, int64_t n)
    double fl_cosine(double turns)
    int fl_has_openmp()
    int fl_openmp_max_threads()
    void fl_openmp_set_max_threads(int n)
    int fl_openmp_bound_processors()
    int fl_calls_at_once()
    void fl_always_wake(int always)

    enum:
        FL_FUNCTIONS

    ctypedef struct fl_function:
        int kind
        double alpha, beta

    ctypedef struct fl_lstm_cell:
        ptrdiff_t projection
        int coupled, layer_norm
        fl_function gate, cell, output
        double gate_clip, cell_clip, output_clip
        double norm_eps
        double recurrent_dropout, variational_dropout, zoneout_h, zoneout_c
        uint64_t seed
        ptrdiff_t first_row
        const void *weight_hr
        const void *peepholes
        const void *gain_ih
        const void *gain_hh
        const void *gain_c
        const void *bias_c

    ctypedef struct fl_lstm_pass:
        ptrdiff_t batch, time, input, hidden
        const int64_t *lengths
        int reverse, training
        ptrdiff_t recompute_every
        const void *weight_ih
        const void *weight_hh
        const void *bias_ih
        const void *bias_hh
        const fl_lstm_cell *cell
        const void *x
        ptrdiff_t x_batch, x_time
        const void *h0
        const void *c0
        void *y
        ptrdiff_t y_batch, y_time
        void *hn
        void *cn
        void *workspace
        const void *packed
        int bf16
        int quantized
        const float *x_limits
        int n_threads

    cdef enum:
        FL_QUANTIZED_SIZE

    ctypedef struct fl_lstm_gradients:
        const void *dy
        ptrdiff_t dy_batch, dy_time
        const void *dhn
        const void *dcn
        void *dx
        ptrdiff_t dx_batch, dx_time
        int dx_add
        void *dweight_ih
        void *dweight_hh
        void *dbias_ih
        void *dbias_hh
        void *dh0
        void *dc0
        void *dweight_hr
        void *dpeepholes
        void *dgain_ih
        void *dgain_hh
        void *dgain_c
        void *dbias_c

    void fl_allow_vnni(int allow)
    void fl_allow_byte_tiles(int allow)
    void fl_bf16_choose(int way)
    int fl_bf16_way()
    size_t fl_lstm_workspace(fl_dtype dtype, const fl_lstm_pass *lstm)
    size_t fl_lstm_packed_size(fl_dtype dtype, const fl_lstm_pass *lstm)
    void fl_lstm_pack(fl_dtype dtype, const fl_lstm_pass *lstm, void *packed)
    void fl_lstm_forward(fl_dtype dtype, const fl_lstm_pass *lstm)
    void fl_lstm_backward(fl_dtype dtype, const fl_lstm_pass *lstm, const fl_lstm_gradients *gradients)

    ctypedef struct fl_dense_pass:
        ptrdiff_t rows, input, output
        const void *weight
        const void *bias
        const void *x
        void *y
        void *workspace
        int backward
        const void *packed
        int quantized
        const float *x_limits
        int n_threads

    size_t fl_dense_workspace(fl_dtype dtype, const fl_dense_pass *dense)
    size_t fl_dense_packed_size(fl_dtype dtype, const fl_dense_pass *dense)
    void fl_dense_pack(fl_dtype dtype, const fl_dense_pass *dense, void *packed)
    void fl_dense_forward(fl_dtype dtype, const fl_dense_pass *dense)
    void fl_dense_backward(fl_dtype dtype, const fl_dense_pass *dense, const void *dy, void *dx, void *dweight,
                           void *dbias)

    ctypedef struct fl_conv_pass:
        ptrdiff_t batch, time, input, filters, kernel, stride, dilation
        ptrdiff_t groups
        ptrdiff_t left, right
        int same
        ptrdiff_t steps
        const int64_t *lengths
        const void *weight
        const void *bias
        const void *x
        void *y
        void *workspace
        int backward
        const void *packed
        int n_threads

    size_t fl_conv_workspace(fl_dtype dtype, const fl_conv_pass *conv)
    size_t fl_conv_packed_size(fl_dtype dtype, const fl_conv_pass *conv)
    void fl_conv_pack(fl_dtype dtype, const fl_conv_pass *conv, void *packed)
    void fl_conv_forward(fl_dtype dtype, const fl_conv_pass *conv)
    void fl_conv_backward(fl_dtype dtype, const fl_conv_pass *conv, const void *dy, void *dx, void *dweight,
                          void *dbias)

    ctypedef struct fl_batch_norm_pass:
        ptrdiff_t batch, time, width
        const int64_t *lengths
        const unsigned char *mask
        const void *x
        double *sums
        int n_threads

    ptrdiff_t fl_batch_norm_statistics(fl_dtype dtype, const fl_batch_norm_pass *norm, double *mean, double *variance)
    void fl_batch_norm_forward(fl_dtype dtype, const fl_batch_norm_pass *norm, const double *mean, const double *scale,
                               const double *shift, void *y)
    void fl_batch_norm_backward(fl_dtype dtype, const fl_batch_norm_pass *norm, const double *mean,
                                const double *scale, const void *weight, ptrdiff_t count, const void *dy, void *dx,
                                void *dweight, void *dbias)

    ctypedef struct fl_layer_norm_pass:
        ptrdiff_t batch, time, width
        const int64_t *lengths
        const void *weight
        const void *bias
        double eps
        const void *x
        void *y
        double *sums
        int n_threads

    void fl_layer_norm_forward(fl_dtype dtype, const fl_layer_norm_pass *norm)
    void fl_layer_norm_backward(fl_dtype dtype, const fl_layer_norm_pass *norm, const void *dy, void *dx,
                                void *dweight, void *dbias)

    void fl_standardize(fl_dtype dtype, fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x,
                        const double *mean, const double *scale, void *y)
    void fl_standardize_missing(fl_dtype dtype, fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x,
                                const double *mean, const double *scale, const int64_t *missing, ptrdiff_t count,
                                void *y)
    void fl_unstandardize(fl_dtype dtype, fl_dtype y_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x,
                          const double *mean, const double *scale, void *y)
    void fl_embedding_forward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *table,
                              void *out, int n_threads)
    void fl_embedding_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *dout,
                               void *dtable, int n_threads)
    void fl_dropout(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double p, uint64_t seed,
                    ptrdiff_t first_row, int n_threads)
    void fl_noise(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double stddev, uint64_t seed,
                  ptrdiff_t first_row, int n_threads)
    void fl_random_words(uint64_t seed, uint64_t first, ptrdiff_t n, uint64_t *words)
    void fl_normals(uint64_t seed, uint64_t first, ptrdiff_t n, double *y)
    void fl_philox4x32(uint64_t seed, uint64_t counter, uint32_t *out)
    void fl_activation(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x, void *y,
                       int n_threads)
    void fl_activation_backward(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x,
                                const void *y, const void *dy, void *dx, int n_threads)
    void fl_softmax_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *p, const void *dy, void *dx,
                             int n_threads)
    void fl_softmax(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits, void *out, int n_threads)
    void fl_softmax_cross_entropy(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits,
                                  const int64_t *labels, const void *weights, void *dlogits, double *losses,
                                  int n_threads)
    enum:
        FL_POOL_LAST
        FL_POOL_MEAN
        FL_POOL_MAX
        FL_POOL_ATTENTION
        FL_POOL_COUNTS

    ctypedef struct fl_pool_pass:
        int kind
        ptrdiff_t batch, time, width
        const int64_t *lengths
        const void *x
        const void *scores
        double *counts
        double *sums
        void *y
        int every_step
        int64_t *index
        void *weights
        int n_threads

    ctypedef struct fl_window_pool_pass:
        int kind, counts_zeros
        ptrdiff_t batch, time, width, kernel, stride
        ptrdiff_t left, right
        int same
        ptrdiff_t steps
        const int64_t *lengths
        const void *x
        void *y
        int n_threads

    void fl_window_pool_forward(fl_dtype dtype, const fl_window_pool_pass *window)
    void fl_window_pool_backward(fl_dtype dtype, const fl_window_pool_pass *window, const void *dy, void *dx)

    ctypedef struct fl_ctc_pass:
        ptrdiff_t batch, time, classes, max_labels
        const int64_t *lengths
        const void *logits
        const int64_t *labels
        const int64_t *label_lengths
        int64_t blank
        const double *weights
        void *dlogits
        double *losses
        void *workspace
        int n_threads

    size_t fl_ctc_workspace(fl_dtype dtype, const fl_ctc_pass *ctc)
    void fl_ctc(fl_dtype dtype, const fl_ctc_pass *ctc)
    size_t fl_ctc_beam_workspace(ptrdiff_t time, ptrdiff_t classes, ptrdiff_t beam_width)
    ptrdiff_t fl_ctc_beam_search(ptrdiff_t time, ptrdiff_t classes, const double *log_p, int64_t blank,
                                 ptrdiff_t beam_width, int64_t *labels, double *score, void *workspace)
    int64_t fl_edit_distance(ptrdiff_t n, const int64_t *a, ptrdiff_t m, const int64_t *b, int64_t *row)
    void fl_pool_forward(fl_dtype dtype, const fl_pool_pass *pool)
    void fl_pool_backward(fl_dtype dtype, const fl_pool_pass *pool, const void *dy, void *dx, void *dscores)

    ctypedef struct fl_attention_pass:
        ptrdiff_t batch, queries, time, key_size, width
        const int64_t *lengths
        const int64_t *query_lengths
        const void *query
        const void *keys
        const void *values
        void *weights
        void *y
        int n_threads

    void fl_attention_forward(fl_dtype dtype, const fl_attention_pass *attention)
    void fl_attention_backward(fl_dtype dtype, const fl_attention_pass *attention, const void *dy, void *dscores,
                               void *dquery, void *dkeys, void *dvalues)

    ctypedef enum fl_stage_kind:
        FL_STAGE_STANDARDIZE
        FL_STAGE_UNSTANDARDIZE
        FL_STAGE_EMBEDDING
        FL_STAGE_LSTM
        FL_STAGE_DENSE
        FL_STAGE_CONV
        FL_STAGE_WINDOW_POOL
        FL_STAGE_BATCH_NORM
        FL_STAGE_LAYER_NORM
        FL_STAGE_ACTIVATION
        FL_STAGE_SOFTMAX
        FL_STAGE_POOL
        FL_STAGE_ADD
        FL_STAGE_MULTIPLY
        FL_STAGE_TAKE
        FL_STAGE_MAGNITUDE
        FL_STAGE_FRAME_CONV
        FL_STAGE_CONCAT
        FL_STAGE_FINAL

    enum:
        FL_STAGE_STATES

    ctypedef struct fl_scaling:
        const double *mean
        const double *scale
        const int64_t *missing
        ptrdiff_t count

    ctypedef struct fl_embedding:
        const void *table
        ptrdiff_t width

    ctypedef struct fl_directions:
        ptrdiff_t forward

    ctypedef struct fl_taken:
        const int64_t *index
        ptrdiff_t count

    ctypedef struct fl_magnitude:
        ptrdiff_t parts
        double eps

    ctypedef struct fl_stage:
        fl_stage_kind kind
        ptrdiff_t main
        ptrdiff_t *side
        const void **initial
        const void *packed
        int last
        fl_scaling scaling
        fl_embedding embedding
        fl_lstm_pass lstm
        fl_dense_pass dense
        fl_conv_pass conv
        fl_function activation
        fl_pool_pass pool
        fl_window_pool_pass window
        fl_layer_norm_pass layer_norm
        fl_directions directions
        fl_taken take
        fl_magnitude magnitude
        ptrdiff_t input, output
        void **state
        bint one_step

    ctypedef struct fl_network:
        fl_dtype dtype
        ptrdiff_t batch, input
        fl_stage *stages
        ptrdiff_t count
        int n_threads
        const int64_t *lengths
        int x_double, y_double
        ptrdiff_t steps
        const char *isa

    size_t fl_network_state(fl_network *network)
    void fl_network_attach(fl_network *network, void *state, ptrdiff_t capacity)
    void fl_network_load_rows(fl_network *network, const void *source, ptrdiff_t capacity, const int64_t *rows)
    void fl_network_store_rows(const fl_network *network, void *to, ptrdiff_t capacity, const int64_t *rows)
    size_t fl_stage_state(const fl_network *network, ptrdiff_t stage, int which)
    size_t fl_network_workspace(fl_network *network, ptrdiff_t steps)
    void fl_network_bind(fl_network *network, void *state, void *workspace, ptrdiff_t steps)
    void fl_network_reset(fl_network *network, const int64_t *rows, ptrdiff_t count)
    bint fl_network_fits(const fl_network *network, ptrdiff_t steps)
    int fl_network_run(fl_network *network, const void *x, ptrdiff_t steps, void *y)

    void fl_sgd(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, double lr, double momentum, int nesterov,
                double weight_decay, int n_threads)
    void fl_rmsprop(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *v, void *m, double lr, double alpha,
                    double eps, double momentum, double weight_decay, int n_threads)
    void fl_adam(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, void *v, double lr, double beta1,
                 double beta2, double eps, double weight_decay, int decoupled, int64_t step, int n_threads)
    double fl_norm(fl_dtype dtype, ptrdiff_t n, const void *x, int n_threads)
    void fl_scale(fl_dtype dtype, ptrdiff_t n, void *x, double factor, int n_threads)
    void fl_clip(fl_dtype dtype, ptrdiff_t n, void *x, double limit, int n_threads)
    ptrdiff_t fl_first_nonfinite(fl_dtype dtype, ptrdiff_t n, const void *x)

cdef extern from *:
    """
    #if defined(__clang__)
    #define FASTLSTM_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTLSTM_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define FASTLSTM_COMPILER "MSVC"
    #else
    #define FASTLSTM_COMPILER "unknown"
    #endif
    """
    const char *FASTLSTM_COMPILER

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FASTLSTM_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define FASTLSTM_PREFETCH(address) (void)(address)
    #endif
    """
    void FASTLSTM_PREFETCH(const void *address) noexcept nogil


# A shape without Python objects: a small pass checks some twenty arrays.
cdef struct Shape:
    int axes
    ptrdiff_t size[3]


# The data of an array as a vector, or as rows, whose dtype is that of a call.
cdef struct Vector:
    fl_dtype dtype
    ptrdiff_t n
    void *data


cdef struct Rows:
    fl_dtype dtype
    ptrdiff_t n, width
    void *data


cdef class Workspace:
    cdef object memory
    cdef size_t size
    cdef void *data
    cdef void *reserve(self, size_t size) except? NULL


cdef class _Packed:
    cdef Workspace memory
    cdef void *data
    cdef const char *isa
    cdef object arrays
    cdef fl_dtype dtype
    cdef fl_lstm_pass lstm
    cdef fl_lstm_cell cell
    cdef fl_dense_pass dense
    cdef fl_conv_pass conv

    @staticmethod
    cdef _Packed make(size_t size, arrays)


cdef class PackedWeights:
    cdef dict entries
    cdef _Packed keep(self, key, _Packed packed, _Packed old)
    cdef _Packed of_lstm(self, fl_dtype dtype, const fl_lstm_pass *lstm, arrays)
    cdef _Packed of_dense(self, fl_dtype dtype, const fl_dense_pass *dense, arrays)
    cdef _Packed of_conv(self, fl_dtype dtype, const fl_conv_pass *conv, arrays)


cdef class LSTMPass:
    cdef Workspace workspace
    cdef fl_lstm_pass lstm
    cdef fl_lstm_cell cell
    cdef fl_dtype dtype
    cdef const char *isa
    cdef object settings, held
    cdef bint busy
    cdef int enter(self) except -1


cdef class _Engine:
    cdef fl_network network
    cdef Workspace workspace, own_states
    cdef void *attached
    cdef ptrdiff_t capacity, own_batch
    cdef list packed
    cdef int begin(self, Chain chain) except -1
    cdef int fit(self, Chain chain, ptrdiff_t batch, ptrdiff_t steps) except -1
    cdef int attach(self, void *states, ptrdiff_t capacity) except -1
    cdef int attach_own(self) except -1
    cdef size_t bytes(self)


cdef class Chain:
    cdef fl_stage *stages
    cdef fl_lstm_cell *cells
    cdef ptrdiff_t count, input, output, tokens
    cdef fl_dtype dtype
    cdef int reads, writes
    cdef bint scales, whole
    cdef readonly bint one_step
    cdef bytes may_be_missing
    cdef const char *missing
    cdef _Engine spare
    cdef readonly object description
    cdef list held, free, states
    cdef size_t idle
    cdef readonly PackedWeights packed
    cdef ptrdiff_t _reads(self, ptrdiff_t k, ptrdiff_t value, ptrdiff_t *features) except -1
    cdef ptrdiff_t _add(self, stage, fl_stage *to, ptrdiff_t k) except -1
    cdef ptrdiff_t _add_frame_conv(self, fl_stage *to, weights, settings, ptrdiff_t k) except -1
    cdef ptrdiff_t _add_lstm(self, fl_stage *to, fl_lstm_cell *cell, weights, settings) except -1
    cdef int _take_states(self, stages) except -1
    cdef bint _scaler_alone_reads_x(self)
    cdef list packed_stages(self, fl_stage *stages)
    cdef _Engine take(self, ptrdiff_t batch, ptrdiff_t steps)
    cdef int give(self, _Engine engine) except -1
    cdef ptrdiff_t first_refused(self, int dtype, ptrdiff_t n, const void *x, const char *missing) noexcept nogil
    cdef bint tokens_fit(self, const int64_t *x, ptrdiff_t n) noexcept nogil
    cdef bint accepts(self, int dtype, ptrdiff_t batch, ptrdiff_t steps, const void *x,
                      const int64_t *lengths) noexcept nogil
    cdef tuple side_by_side(self, series, ptrdiff_t most)
    cdef ptrdiff_t widest(self) noexcept


cdef class Stream:
    cdef readonly Chain chain
    cdef Workspace memory
    cdef char *states
    cdef ptrdiff_t batch, capacity
    cdef int n_threads
    cdef bint busy
    cdef int _resize(self, ptrdiff_t batch, ptrdiff_t capacity) except -1
    cdef _Engine _engine(self, ptrdiff_t steps)
    cdef int _require_chain(self) except -1
    cdef int _require_idle(self) except -1
    cdef const int64_t *_rows(self, rows, ptrdiff_t *n, bint distinct) except? NULL
    cdef cnp.ndarray _as_array(self, x)
    cdef cnp.ndarray _few(self, rows)
    cdef cnp.ndarray _fed(self, cnp.ndarray x, Shape of_x, ptrdiff_t steps, Shape of_y, out, rows)
