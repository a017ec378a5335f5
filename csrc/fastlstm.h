/* fastlstm.h - the C interface of fastlstm on one page.
 *
 * Everything here is plain C11 and knows nothing of Python: arrays come in as pointers, memory as a workspace that the
 * caller owns, the thread count as a number. The caller checks its arguments; these functions trust them.
 *
 * Types      dtype FL_F32 means that every `void *` array below holds float, FL_F64 that it holds double.
 * Layouts    row-major; weights as in PyTorch: weight_ih (4*hidden, input), weight_hh (4*hidden, hidden), the
 *            biases (4*hidden); gates in the order i, f, g, o.
 * Same bits  a result depends neither on n_threads nor, row by row, on the other rows of the batch. It does depend
 *            on the instruction set (a fused multiply-add rounds once; with `bf16` AMX sums in another order).
 * Subnormal  numbers, below 1.2e-38 (float) or 2.2e-308 (double), count as 0 in the kernels; the caller's
 *            floating-point mode stays what it is (subnormal.h). Scaling, FL_STAGE_ADD, fl_first_nonfinite and the
 *            decoding of CTC work in the caller's mode.
 * Workspaces belong to the instruction set that was active when their size was asked for: after fl_isa_select() ask
 *            again, and do not use what they hold.
 * Memory     nothing is allocated, with one exception: in a child made by fork(), the thread that came through the
 *            fork starts a pool of threads when it first uses several, allocates it, and keeps it
 *            (threads/fork_pool.c). OpenMP allocates what its own threads need.
 * State      between calls, all of it safe to use from several threads at once. Only the first item has an influence
 *            on results; the others decide how work is divided among threads, and how these wait.
 *              the instruction set              dispatch.c: active_entry
 *              when teams worked, and may sleep threads/wake.c: always_wake, team_finished, single_end, single_work
 *              how other programs delay teams   threads/contention.c: single_thread_until, next_sample, last_pause,
 *                                               wall_time, processor_time
 *              calls at the same time           threads/calls.c: in_flight, seen, seen_until
 *              the pool of a forked child       threads/fork_pool.c: is_child, survivor, survivors_pool, which a
 *                                               handler of pthread_atfork() sets
 *              cache size, processor count,     machine.c: known (3), without_vnni,
 *                VNNI, BF16, AMX                without_byte_tiles, bf16_choice
 *            OpenMP keeps its threads and its limits (fl_openmp_set_max_threads) itself. A network (below) keeps its
 *            state in the caller's memory.
 * Threads    any function may be called from several threads at once, except fl_isa_select, and except that two calls
 *            must not write to the same array or workspace. No function prints.
 */
#ifndef FASTLSTM_H
#define FASTLSTM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { FL_F32 = 0, FL_F64 = 1 } fl_dtype;

/* ---------------------------------------------------------- Instruction sets and threads (dispatch.c, threads/) */

/* Names of the instruction sets that this machine can run, best last: "portable", "avx2", "avx512", "neon". The best one
 * is active, unless the environment variable FASTLSTM_ISA names another one when the first function is called. A name of
 * which there is none here changes nothing: compare it with fl_isa_active(). Capital letters count as small ones. */
int fl_isa_count(void);
const char *fl_isa_name(int index);
const char *fl_isa_active(void);
/* Choose one by name. Returns 0, or -1 if the name is unknown or the machine lacks it. Not while kernels run. */
int fl_isa_select(const char *name);
int fl_isa_lanes(fl_dtype dtype); /* elements in one vector of the active instruction set */
int fl_isa_fused(
    void); /* 1: it rounds a multiply-add once, and gives the bits of all sets that do; 0: the portable set */
/* 0: sums of 8-bit integers as on processors without VNNI, with the same results; not while packed weights are in use. For
 * tests. */
void fl_allow_vnni(int allow);
/* 0: the same for AMX, which adds them for several rows at a time. */
void fl_allow_byte_tiles(int allow);
enum { FL_BF16_WIDE = 1, FL_BF16_DOTS, FL_BF16_TILES };
/* Choose how products of numbers of 16 bits are computed (kernels/bf16.h), among what the processor has; not while packed
 * weights are in use, and not between a forward pass and its backward pass. At first the way that the environment variable
 * FASTLSTM_BF16 names, "wide", "dots" or "tiles", else the fastest. */
void fl_bf16_choose(int way);
/* The way that is taken. */
int fl_bf16_way(void);
int fl_has_openmp(void);
/* 1: work goes to several threads whenever they are faster once awake, even if they may sleep now (threads/wake.c).
 * For tests, and for runtimes whose threads never sleep. */
void fl_always_wake(int always);
/* Number of calls of fl_lstm_forward() and fl_lstm_backward() that compute at the same time, if one more begins now: those
 * of this moment or, if they were more, of the last hundredth of a second. The threads of a program that calls from
 * several threads are best divided by it. */
int fl_calls_at_once(void);
/* Processors of the process if OpenMP is told to bind threads to them (the main thread then has only one), else 0. */
int fl_openmp_bound_processors(void);
/* omp_get_max_threads(), which OMP_NUM_THREADS and threadpoolctl set; 1 without OpenMP. */
int fl_openmp_max_threads(void);
void fl_openmp_set_max_threads(int n);

/* ---------------------------------------------------------- LSTM: one layer, one direction (kernels/lstm/) */

enum { FL_FUNCTIONS = 15 };
/* A function of one number. `kind` is its number, from 0, in the list sigmoid, tanh, relu, affine, leaky_relu,
 * thresholded_relu, scaled_tanh, hard_sigmoid, elu, softsign, softplus, silu, selu, gelu, gelu_tanh
 * (kernels/activation.h). */
typedef struct {
    int kind;
    double alpha, beta;
} fl_function;

/* Options of a cell that is not the plain one (kernels/lstm/cells.h); they combine freely. */
typedef struct {
    ptrdiff_t projection;           /* size of h, with weight_hr; 0: the size of c */
    int coupled;                    /* f = 1 - i: 3 * hidden rows instead of 4 * hidden, those of i, g, o */
    int layer_norm;                 /* with the gains and bias_c below; the biases are those of the normalisations */
    fl_function gate, cell, output; /* of i, f, o; of g; of c in h = o output(c) */
    /* Limits of the gates' net inputs, of c, and of the argument of `output`; INFINITY: none. */
    double gate_clip, cell_clip, output_clip;
    double norm_eps; /* added to the variance */
    /* Probabilities in [0, 1), the seed of their masks, and the number of the first row: row b of the pass has the masks
     * of row first_row + b, so that a part of a batch has those of the whole. first_row + batch < 2^32. */
    double recurrent_dropout, variational_dropout, zoneout_h, zoneout_c;
    uint64_t seed;
    ptrdiff_t first_row;

    const void *weight_hr;         /* (projection, hidden) */
    const void *peepholes;         /* (3, hidden): i, f, o; or (2, hidden): i, o with `coupled`; NULL: none */
    const void *gain_ih, *gain_hh; /* (4 * hidden) */
    const void *gain_c, *bias_c;   /* (hidden) */
} fl_lstm_cell;

/* A pass over a batch. The same struct, with the same workspace and the same values, is given to fl_lstm_forward and
 * then, if `training` was set, to fl_lstm_backward. */
typedef struct {
    ptrdiff_t batch, time, input, hidden; /* input, hidden >= 1; batch, time >= 0 */
    const int64_t *lengths;               /* (batch), each in [0, time]; NULL: all rows are `time` long */
    int reverse;                          /* 1: row b runs from its own last step, lengths[b]-1, down to 0 */
    int training;                         /* 1: keep in the workspace what the backward pass needs */
    ptrdiff_t recompute_every;            /* in training, n > 0: keep about n steps only, and the state before every n
                                             steps; the backward pass recomputes the others. The results have the same
                                             bits. 0: keep all steps */

    const void *weight_ih, *weight_hh;
    const void *bias_ih, *bias_hh; /* NULL: no bias */
    const fl_lstm_cell *cell;      /* NULL: the plain cell. With a projection, the size of h is the projection's in
                                      weight_hh (4*hidden, projection), h0, y, hn and their gradients */

    const void *x; /* (batch, time, input): element (b, t, k) at b * x_batch + t * x_time + k; padding is never read.
                      The backward pass reads x and the weights, too */
    ptrdiff_t x_batch, x_time;
    const void *h0, *c0; /* (batch, hidden); NULL: zeros */

    void *y; /* (batch, time, hidden), strides as for x; padding is set to zero; NULL: not wanted */
    ptrdiff_t y_batch, y_time;
    void *hn, *cn; /* (batch, hidden): the state after each row's last step; NULL: not wanted */

    void *workspace;    /* fl_lstm_workspace() bytes, aligned to 64 */
    const void *packed; /* the weights as fl_lstm_pack() has packed them, which any number of passes may read at the
                           same time. NULL: this pass packs them in its workspace. Not with training. */
    int bf16;      /* 1: round the operands of the products with W_ih and W_hh to bfloat16 (kernels/bf16.h), also in the
                      backward pass. FL_F32, and not with `quantized` */
    int quantized; /* 1: compute with weights and inputs of 8 bits (kernels/bytes.h), which fl_lstm_pack() makes of
                      `weight_ih` and `weight_hh`. FL_F32, without `cell` and training, input and hidden up to
                      FL_QUANTIZED_SIZE, |h0| <= 1 */
    const float
        *x_limits; /* `quantized`: (input), the largest magnitude of each feature of x, beyond which it is cut; it
                              counts when the weights are packed, too. NULL: each row and step has its own scale */
    int n_threads;
} fl_lstm_pass;

enum { FL_QUANTIZED_SIZE = 65536 };

/* Gradients. Those that come in (dy, dhn, dcn) may be NULL for zeros, those that go out may be NULL for 'not wanted'.
 * The weight gradients are added to what the arrays hold. dx is overwritten, or added to with `dx_add`; dh0 and dc0 are
 * overwritten. */
typedef struct {
    const void *dy; /* (batch, time, hidden): strides dy_batch, dy_time; padding is never read */
    ptrdiff_t dy_batch, dy_time;
    const void *dhn, *dcn; /* (batch, hidden) */

    void *dx; /* (batch, time, input): strides dx_batch, dx_time; padding is set to zero */
    ptrdiff_t dx_batch, dx_time;
    int dx_add;
    void *dweight_ih, *dweight_hh, *dbias_ih, *dbias_hh;
    void *dh0, *dc0; /* (batch, hidden) */
    /* Of the weights that only other cells have; added to. */
    void *dweight_hr, *dpeepholes, *dgain_ih, *dgain_hh, *dgain_c, *dbias_c;
} fl_lstm_gradients;

/* Bytes of workspace that the pass needs; SIZE_MAX when they cannot fit in memory. Reads no pointers of the pass except
 * lengths, and the options of `cell`; `packed` only counts as given or not. */
size_t fl_lstm_workspace(fl_dtype dtype, const fl_lstm_pass *pass);
/* Pack the weights of a pass for inference, once for many passes with the same input, hidden and cell, of any batch and
 * time. `packed` is memory of fl_lstm_packed_size() bytes, aligned to 64, for the instruction set that is active. It
 * depends on input, hidden, the weights and biases, and `cell` alone; the weights themselves are not read again. */
size_t fl_lstm_packed_size(fl_dtype dtype, const fl_lstm_pass *pass);
void fl_lstm_pack(fl_dtype dtype, const fl_lstm_pass *pass, void *packed);
void fl_lstm_forward(fl_dtype dtype, const fl_lstm_pass *pass);
void fl_lstm_backward(fl_dtype dtype, const fl_lstm_pass *pass, const fl_lstm_gradients *gradients);

/* ---------------------------------------------------------- Dense: y = x W' + b (kernels/dense.h) */

typedef struct {
    ptrdiff_t rows, input, output;
    const void *weight, *bias; /* (output, input), (output) or NULL */
    const void *x;             /* (rows, input) */
    void *y;                   /* (rows, output) */
    void *workspace;           /* fl_dense_workspace() bytes, aligned to 64 */
    int backward;              /* 1: the workspace is for fl_dense_backward(), or for both functions */
    const void *packed;        /* for the forward pass: weight and bias as fl_dense_pack() has packed them; NULL: it
                                  packs them in its workspace */
    int quantized;             /* as in fl_lstm_pass; not with `backward` */
    const float *x_limits;
    int n_threads;
} fl_dense_pass;

/* 0 with `packed` and without `backward` and `quantized`. */
size_t fl_dense_workspace(fl_dtype dtype, const fl_dense_pass *pass);
/* As fl_lstm_packed_size() and fl_lstm_pack(): `input`, `output`, `weight` and `bias` matter, `rows` does not. */
size_t fl_dense_packed_size(fl_dtype dtype, const fl_dense_pass *pass);
void fl_dense_pack(fl_dtype dtype, const fl_dense_pass *pass, void *packed);
void fl_dense_forward(fl_dtype dtype, const fl_dense_pass *pass);
/* dweight and dbias are added to; dx (may be NULL) is overwritten. pass->y is not used. */
void fl_dense_backward(fl_dtype dtype, const fl_dense_pass *pass, const void *dy, void *dx, void *dweight, void *dbias);

/* ---------------------------------------------------------- Convolution over the steps (kernels/conv.h) */

/* y[t] = bias + sum over k of weight[:, :, k] x[t * stride - left + k * dilation], where x is 0 outside of its series. */
typedef struct {
    ptrdiff_t batch, time, input, filters, kernel, stride, dilation;
    ptrdiff_t groups;       /* divides input and filters */
    ptrdiff_t left, right;  /* zeros before and after each series, 0 or more */
    int same;               /* 1: as many zeros as give ceil(length / stride) steps, half of them, rounded down, before
                               the series; left and right do not count then */
    ptrdiff_t steps;        /* of y: those of the longest series, or more */
    const int64_t *lengths; /* (batch), each in [0, time]; NULL: all are `time` long */
    const void *weight, *bias; /* (filters, input / groups, kernel), (filters) or NULL */
    const void *x;             /* (batch, time, input); padding is never read */
    void *y;                   /* (batch, steps, filters): (length + left + right - span) / stride + 1 steps of each
                                  series, none if there are fewer than span, (kernel - 1) * dilation + 1; zeros after */
    void *workspace;           /* fl_conv_workspace() bytes, aligned to 64 */
    int backward;              /* as in fl_dense_pass */
    const void *packed;        /* as in fl_dense_pass, by fl_conv_pack() */
    int n_threads;
} fl_conv_pass;

/* 0 with `packed`, and without `backward` and padding. */
size_t fl_conv_workspace(fl_dtype dtype, const fl_conv_pass *pass);
/* As fl_dense_packed_size() and fl_dense_pack(): input, filters, kernel, groups, weight and bias matter. */
size_t fl_conv_packed_size(fl_dtype dtype, const fl_conv_pass *pass);
void fl_conv_pack(fl_dtype dtype, const fl_conv_pass *pass, void *packed);
void fl_conv_forward(fl_dtype dtype, const fl_conv_pass *pass);
/* dweight and dbias are added to; dx is overwritten, with zeros in the padding; each may be NULL. The padding of dy is
 * never read. pass->y is not used. */
void fl_conv_backward(fl_dtype dtype, const fl_conv_pass *pass, const void *dy, void *dx, void *dweight, void *dbias);

/* ---------------------------------------------------------- Normalisation (kernels/normalize.h) */

/* Of a batch: mean and variance of each feature over the valid steps that count. All sums are in double. */
typedef struct {
    ptrdiff_t batch, time, width;
    const int64_t *lengths;    /* (batch), each in [0, time]; NULL: all are `time` long */
    const unsigned char *mask; /* (batch, time): 0 where a valid step does not count; NULL: all count */
    const void *x;             /* (batch, time, width); padding is never read */
    double *sums;              /* (batch, 2, width), for the kernel's own use; not of fl_batch_norm_forward() */
    int n_threads;
} fl_batch_norm_pass;

/* Write mean and variance (width), that with the divisor n; return n, the number of steps that count. If it is 0, both
 * are 0. */
ptrdiff_t fl_batch_norm_statistics(fl_dtype dtype, const fl_batch_norm_pass *pass, double *mean, double *variance);
/* y = (x - mean) scale + shift, computed in double, at each valid step, and 0 in the padding. */
void fl_batch_norm_forward(fl_dtype dtype, const fl_batch_norm_pass *pass, const double *mean, const double *scale,
                           const double *shift, void *y);
/* The gradients of y = weight (x - mean) scale + bias; weight NULL: ones. `count`: the number of steps of which mean and
 * scale, 1 / sqrt(variance + eps), are the statistics; 0: they are constants. dweight and dbias are added to; dx is
 * overwritten, with zeros in the padding; each may be NULL. */
void fl_batch_norm_backward(fl_dtype dtype, const fl_batch_norm_pass *pass, const double *mean, const double *scale,
                            const void *weight, ptrdiff_t count, const void *dy, void *dx, void *dweight, void *dbias);

/* Of each step: y = weight (x - mean) / sqrt(variance + eps) + bias, over its features. */
typedef struct {
    ptrdiff_t batch, time, width;
    const int64_t *lengths;    /* as above */
    const void *weight, *bias; /* (width); NULL: ones and zeros */
    double eps;
    const void *x; /* (batch, time, width); padding is never read */
    void *y;       /* the same shape, zeros in the padding; not of the backward pass */
    double *sums;  /* (batch, 2, width), of the backward pass with dweight or dbias alone */
    int n_threads;
} fl_layer_norm_pass;

void fl_layer_norm_forward(fl_dtype dtype, const fl_layer_norm_pass *pass);
/* dweight and dbias are added to; dx is overwritten, with zeros in the padding; each may be NULL. */
void fl_layer_norm_backward(fl_dtype dtype, const fl_layer_norm_pass *pass, const void *dy, void *dx, void *dweight,
                            void *dbias);

/* ---------------------------------------------------------- Scaling, embedding and dropout (kernels/elementwise.h) */

/* y = (x - mean) / scale, computed in double; x has a dtype of its own. */
void fl_standardize(fl_dtype dtype, fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x,
                    const double *mean, const double *scale, void *y);
/* The same for data in which values of `count` of the features, with the indices `missing`, may be missing (NaN): they
 * become 0, the mean, and y has width + count columns, of which the last ones are 1 where a value of these features is
 * missing, else 0. NaN in other features stays NaN. y may not be x. */
void fl_standardize_missing(fl_dtype dtype, fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x,
                            const double *mean, const double *scale, const int64_t *missing, ptrdiff_t count, void *y);
/* y = x * scale + mean, computed in double; y has a dtype of its own. Here and in fl_standardize() y may be x if the
 * dtypes are the same. */
void fl_unstandardize(fl_dtype dtype, fl_dtype y_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x,
                      const double *mean, const double *scale, void *y);

/* out[n] = table[index[n]]; rows of `width` elements. */
void fl_embedding_forward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *table,
                          void *out, int n_threads);
/* dtable[index[n]] += dout[n], in the order of n. */
void fl_embedding_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *dout,
                           void *dtable, int n_threads);
/* For `rows` rows of `size` elements: y[n] = x[n] / (1 - p) where the generator's n-th draw of the row keeps it, else 0.
 * The draw depends on (seed, row, n) alone, so the backward pass calls the same function with the gradient as x. Rows are
 * numbered from first_row on, so that a part of a batch draws what the whole does; first_row + rows < 2^32. y may be x. */
void fl_dropout(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double p, uint64_t seed,
                ptrdiff_t first_row, int n_threads);
/* y[n] = x[n] + stddev z, with z a normal number that depends on (seed, row, n) alone. */
void fl_noise(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double stddev, uint64_t seed,
              ptrdiff_t first_row, int n_threads);
/* Four draws of Philox4x32-10 at a counter: the generator beneath all draws. */
void fl_philox4x32(uint64_t seed, uint64_t counter, uint32_t out[4]);
/* The random words of 64 bits number first, first + 1, ... of a seed, and normal numbers in the same way. */
void fl_random_words(uint64_t seed, uint64_t first, ptrdiff_t n, uint64_t *words);
void fl_normals(uint64_t seed, uint64_t first, ptrdiff_t n, double *y);

/* ---------------------------------------------------------- Activations (kernels/activation.h) */

/* y[n] = f(x[n]), where `kind` is the number of f, and alpha and beta are its parameters. y may be x. */
void fl_activation(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x, void *y,
                   int n_threads);
/* dx[n] = dy[n] f'(x[n]), where y = f(x). dx may be dy. */
void fl_activation_backward(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x,
                            const void *y, const void *dy, void *dx, int n_threads);

/* ---------------------------------------------------------- Sums and functions of doubles (doubles.c) */

/* Sums in an order that depends on the sizes alone; functions that do not depend on the C library. */
double fl_sum(ptrdiff_t n, const double *x, const double *weights); /* of x w; weights NULL: of x */
void fl_row_sums(ptrdiff_t rows, ptrdiff_t width, const double *x, double *sums);
/* Sums over the rows: of x, or of (x - center)^2 if center (width) is not NULL. */
void fl_column_sums(ptrdiff_t rows, ptrdiff_t width, const double *x, const double *center, double *sums);
void fl_exp_of(ptrdiff_t n, const double *x, double *y); /* y may be x */
void fl_log_of(ptrdiff_t n, const double *x, double *y);
double fl_power_of(double base, int64_t n); /* n >= 0 */
double fl_cosine(double turns);             /* cos(2 pi turns), for turns in [0, 0.5] */

/* ---------------------------------------------------------- Softmax and cross-entropy (kernels/softmax.h) */

void fl_softmax(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits, void *out, int n_threads);
/* dx = p (dy - sum_c p[c] dy[c]) for each row of the probabilities p. dx may be dy. */
void fl_softmax_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *p, const void *dy, void *dx,
                         int n_threads);
/* losses[n] = -w[n] log softmax(logits[n])[label[n]] (float64); dlogits[n] = w[n] (softmax - onehot), if not NULL.
 * weights NULL: ones. A negative label: loss and gradient 0, whatever the logits hold. */
void fl_softmax_cross_entropy(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits,
                              const int64_t *labels, const void *weights, void *dlogits, double *losses, int n_threads);

/* ---------------------------------------------------------- CTC (kernels/ctc.h, decode.c) */

typedef struct {
    ptrdiff_t batch, time, classes, max_labels;
    const int64_t *lengths;       /* (batch), each in [0, time]; NULL: all are `time` long */
    const void *logits;           /* (batch, time, classes); padding is never read */
    const int64_t *labels;        /* (batch, max_labels), in [0, classes), none of them the blank */
    const int64_t *label_lengths; /* (batch), each in [0, max_labels] */
    int64_t blank;
    const double *weights; /* (batch); NULL: ones */
    void *dlogits;         /* (batch, time, classes), zeros in the padding; NULL: not wanted */
    double *losses;        /* (batch): w times the loss; infinity, with a gradient of zeros, for impossible labels */
    void *workspace;       /* fl_ctc_workspace() bytes, aligned to 64 */
    int n_threads;
} fl_ctc_pass;

size_t fl_ctc_workspace(fl_dtype dtype, const fl_ctc_pass *pass); /* SIZE_MAX when it cannot fit in memory */
void fl_ctc(fl_dtype dtype, const fl_ctc_pass *pass);

/* Find the most probable labels of one case by prefix beam search, from log probabilities (time, classes). Returns
 * their number. labels has room for `time`; score is the logarithm of their probability, over the paths in the beam. */
size_t fl_ctc_beam_workspace(ptrdiff_t time, ptrdiff_t classes, ptrdiff_t beam_width);
ptrdiff_t fl_ctc_beam_search(ptrdiff_t time, ptrdiff_t classes, const double *log_p, int64_t blank,
                             ptrdiff_t beam_width, int64_t *labels, double *score, void *workspace);
/* The smallest number of insertions, deletions and changes that turn a (n) into b (m) (Levenshtein); row has room for
 * m + 1. */
int64_t fl_edit_distance(ptrdiff_t n, const int64_t *a, ptrdiff_t m, const int64_t *b, int64_t *row);

/* ---------------------------------------------------------- Pooling over the steps (kernels/pooling.h) */

enum { FL_POOL_LAST = 0, FL_POOL_MEAN = 1, FL_POOL_MAX = 2, FL_POOL_ATTENTION = 3 };
enum { FL_POOL_COUNTS = 3 };

/* The same struct, with the same values, is given to fl_pool_forward and then to fl_pool_backward. */
typedef struct {
    int kind;
    ptrdiff_t batch, time, width;
    const int64_t *lengths; /* (batch), each in [0, time]; NULL: all are `time` long */
    const void *x;          /* (batch, time, width); padding is never read */
    const void *scores;     /* (batch, time), of attention */
    double *counts, *sums;  /* the state, (batch, FL_POOL_COUNTS) and (batch, width): zeros begin a series */
    void *y;                /* (batch, width), or (batch, time, width) with every_step */
    int every_step;         /* 1: the result for the series up to each step; not with lengths, nor before backward */
    int64_t *index;         /* (batch, width), of max: the step that y comes from; may be NULL without backward */
    void *weights;          /* (batch, time), of attention: softmax of the scores; may be NULL without backward */
    int n_threads;
} fl_pool_pass;

void fl_pool_forward(fl_dtype dtype, const fl_pool_pass *pass);
/* dx (batch, time, width) and dscores (batch, time) are overwritten, with zeros in the padding; either may be NULL. */
void fl_pool_backward(fl_dtype dtype, const fl_pool_pass *pass, const void *dy, void *dx, void *dscores);

/* ---------------------------------------------------------- Pooling over windows of steps (kernels/window_pool.h) */

/* y[t] = maximum or mean of x[t * stride - left + k], k < kernel, over the steps that the series has. */
typedef struct {
    int kind;         /* FL_POOL_MEAN or FL_POOL_MAX */
    int counts_zeros; /* of FL_POOL_MEAN, 1: steps beyond the ends are zeros that count */
    ptrdiff_t batch, time, width, kernel, stride;
    ptrdiff_t left, right;  /* steps before and after each series, each below `kernel` */
    int same;               /* as in fl_conv_pass */
    ptrdiff_t steps;        /* of y, as in fl_conv_pass */
    const int64_t *lengths; /* (batch), each in [0, time]; NULL: all are `time` long */
    const void *x;          /* (batch, time, width); padding is never read */
    void *y;                /* (batch, steps, width), zeros after the steps of each series; not of the backward pass */
    int n_threads;
} fl_window_pool_pass;

void fl_window_pool_forward(fl_dtype dtype, const fl_window_pool_pass *pass);
/* dx (batch, time, width) is overwritten, with zeros in the padding. The gradient of a maximum goes to the first step that
 * has it. */
void fl_window_pool_backward(fl_dtype dtype, const fl_window_pool_pass *pass, const void *dy, void *dx);

/* ---------------------------------------------------------- Attention of queries over a memory (kernels/attention.h) */

/* The same struct, with the same values, is given to fl_attention_forward and then to fl_attention_backward. */
typedef struct {
    ptrdiff_t batch, queries, time, key_size, width; /* queries and memory steps of each case; their features */
    const int64_t *lengths;       /* (batch), each in [0, time], of the memory; NULL: all are `time` long */
    const int64_t *query_lengths; /* (batch), each in [0, queries]; NULL: all queries count */
    const void *query;            /* (batch, queries, key_size); padding is never read, here and below */
    const void *keys;             /* (batch, time, key_size) */
    const void *values;           /* (batch, time, width) */
    void *weights;                /* (batch, queries, time): what each query takes of each step; 0 in padding */
    void *y;                      /* (batch, queries, width); 0 for queries that do not count, or without memory */
    int n_threads;
} fl_attention_pass;

void fl_attention_forward(fl_dtype dtype, const fl_attention_pass *pass);
/* The gradients are overwritten, with zeros in the padding. dscores (batch, queries, time) is memory that the caller
 * lends. */
void fl_attention_backward(fl_dtype dtype, const fl_attention_pass *pass, const void *dy, void *dscores, void *dquery,
                           void *dkeys, void *dvalues);

/* ---------------------------------------------------------- Networks: stages with states (network.c) */

/* A whole model in inference. Each of its stages reads one value (batch, steps, features) and computes one; an LSTM,
 * a convolution and a pool carry their states from one run to the next. So the steps of a series may come one by one or in blocks of any
 * length: the results have the bits of the whole series at once, and of the functions above.
 *
 * The caller owns the memory. Fill in the stages and the network, with zeros in all other fields; allocate
 * fl_network_state() and fl_network_workspace() bytes, each aligned to 64; call fl_network_bind() and
 * fl_network_reset(); then call fl_network_run() for each block of steps. examples/embed.c does all that.
 *
 * A network serves one thread at a time. Several networks may share weights, and also their packed form (`packed` of a
 * stage): then each needs little more than its states. The states may change between two runs: one network, with its
 * workspace, can serve any number of series in turn (fl_network_attach()), or any of many series together
 * (fl_network_load_rows()).
 *
 * A network may also compute whole series, with a reset before each run: then an LSTM may be reversed, `lengths` may say
 * how long each series is, and `last` asks for one result of a series instead of one for each step. */
typedef enum {
    FL_STAGE_STANDARDIZE,   /* `scaling` */
    FL_STAGE_UNSTANDARDIZE, /* `scaling` */
    FL_STAGE_EMBEDDING,     /* `embedding`; reads int64 tokens (batch, steps), which only the first stage can */
    FL_STAGE_LSTM,          /* `lstm`: hidden, the weights and biases, cell, reverse. States: h, c */
    FL_STAGE_DENSE,         /* `dense`: output, weight, bias */
    FL_STAGE_CONV,        /* `conv`: filters, kernel, dilation, groups, weight, bias. It has the stride 1, and reads the
                               steps up to its own. State: the last (kernel - 1) * dilation steps */
    FL_STAGE_WINDOW_POOL, /* `window`: kind, counts_zeros, kernel. As FL_STAGE_CONV. States: the last kernel - 1 steps, and
                               how many there have been, of double */
    FL_STAGE_BATCH_NORM, /* `scaling`: x * scale + mean, as FL_STAGE_UNSTANDARDIZE, but always of `dtype` */
    FL_STAGE_LAYER_NORM, /* `layer_norm`: weight, bias, eps */
    FL_STAGE_ACTIVATION, /* `activation` */
    FL_STAGE_SOFTMAX,    /* over the features */
    FL_STAGE_POOL,       /* `pool`: kind; each step gives the result so far. Side input of FL_POOL_ATTENTION:
                               the scores (batch, steps, 1). States: sums, counts, of double */
    FL_STAGE_ADD,        /* the main input plus the side input */
    FL_STAGE_MULTIPLY,   /* the main input times the side input */
    FL_STAGE_TAKE,       /* `take`: the features in another order, and zeros */
    FL_STAGE_MAGNITUDE, /* `magnitude`: sqrt(re^2 + im^2 + eps); the features consist of `parts` parts of equal size, the
                               first half of a part are re, the second half im */
    FL_STAGE_FRAME_CONV, /* `conv`: time, stride, filters, kernel, dilation, groups, weight, bias. The features of each
                               step are a series of its own of `time` steps, whose windows it takes */
    FL_STAGE_CONCAT,     /* the features of the main input, then those of the side input */
    FL_STAGE_FINAL,      /* `directions`, of whole series, with `last`: each case's last step of the features of
                               a forward direction, and its first step of the others; 0 for a case without steps */
    FL_STAGE_KINDS
} fl_stage_kind;

enum { FL_STAGE_SIDES = 1, FL_STAGE_STATES = 2 };

typedef struct {
    const double *mean, *scale; /* one number for each feature */
    const int64_t *missing;     /* FL_STAGE_STANDARDIZE: `count` features whose values may be NaN; each of them adds */
    ptrdiff_t count;            /* a feature to the output, as in fl_standardize_missing() */
} fl_scaling;

typedef struct {
    const void *table; /* one row of `width` numbers for each token */
    ptrdiff_t width;
} fl_embedding;

typedef struct {
    ptrdiff_t forward; /* number of features, the first ones, of a forward direction; the others are of a reverse one */
} fl_directions;

typedef struct {
    const int64_t *index; /* `count` numbers of features of the main input; -1: zero */
    ptrdiff_t count;
} fl_taken;

typedef struct {
    ptrdiff_t parts;
    double eps;
} fl_magnitude;

typedef struct {
    fl_stage_kind kind;
    /* Which values the stage reads, counted back: 0 is the output of the stage before (for the first stage, the
     * network's input), 1 is the value before that one, and so on. */
    ptrdiff_t main, side[FL_STAGE_SIDES];
    /* The states at the beginning of a series, one row for each state; NULL: zeros. */
    const void *initial[FL_STAGE_STATES];
    /* Of an LSTM, dense or convolution stage: its weights as fl_lstm_pack(), fl_dense_pack() or fl_conv_pack() has packed
     * them for the active instruction set; NULL: the network packs them in its workspace. */
    const void *packed;
    int last; /* of an LSTM, a pool or FL_STAGE_FINAL, 1: the value is the result of the last step alone, (batch, 1, features), and so
                 are all values that are computed from it, which may go through no LSTM, convolution or pool of any kind */
    union { /* the one of the stage's kind; the network sets the other fields of a pass */
        fl_scaling scaling;
        fl_embedding embedding;
        fl_lstm_pass lstm;
        fl_dense_pass dense;
        fl_conv_pass conv;
        fl_function activation;
        fl_pool_pass pool;
        fl_window_pool_pass window;
        fl_layer_norm_pass layer_norm;
        fl_directions directions;
        fl_taken take;
        fl_magnitude magnitude;
    };
    /* The network sets the rest. */
    ptrdiff_t input, output;      /* features of the value read, and of the value computed */
    void *state[FL_STAGE_STATES]; /* each with `batch` rows; may be read and written between two runs */
    void *out;                    /* (batch, steps, output); NULL in the last stage, which writes to the caller's y */
    int one_step;                 /* 1: the value has one step */
    void *workspace;              /* of a kind whose pass has no field for it */
    void *own_packed;             /* the packed weights in the workspace, if there are no others */
    int is_packed;                /* 1: they are packed */
    ptrdiff_t last_use, buffer, width, next_unused; /* the memory of `out`: network.c */
} fl_stage;

typedef struct {
    fl_dtype dtype;
    ptrdiff_t batch; /* number of series */
    ptrdiff_t input; /* features of x; 0 for tokens */
    fl_stage *stages;
    ptrdiff_t count; /* of stages, 1 or more; the last one computes y. After a change of this field, of one above or
                        of a stage, bind again */
    int n_threads;
    const int64_t *lengths; /* (batch), each in [0, steps], of whole series; NULL: all steps. No stage may give a result
                               for each step so far: a pool needs `last` */
    int x_double;           /* 1: x holds double whatever `dtype` is; only stages FL_STAGE_STANDARDIZE may read it */
    int y_double;           /* 1: y holds double whatever `dtype` is; the last stage is FL_STAGE_UNSTANDARDIZE */
    /* The network sets the rest. */
    ptrdiff_t steps; /* of the longest block that fits the workspace */
    const char *isa; /* the instruction set that the workspace is for */
} fl_network;

/* Bytes of the states, and of the workspace for blocks of up to `steps` steps: packed weights that no stage has been
 * given, values between stages, and what the kernels need. SIZE_MAX when they cannot fit in memory. A network that is
 * bound remains so, provided that no field of it has been changed. */
size_t fl_network_state(fl_network *network);
size_t fl_network_workspace(fl_network *network, ptrdiff_t steps);
/* Assign memory of these sizes to the network. The content of `state` stays, so that a network may be bound again: to a
 * larger workspace, or after the instruction set has changed. The next run packs the weights, once for all runs that
 * follow, unless they are given. */
void fl_network_bind(fl_network *network, void *state, void *workspace, ptrdiff_t steps);
/* Let a bound network continue from other states. The memory has room for `capacity` series, `batch` or more: it has
 * fl_network_state() bytes of a network of that batch. The network runs the first `batch` of them. */
void fl_network_attach(fl_network *network, void *state, ptrdiff_t capacity);
/* Copy the states of the series `rows` (batch), numbers below `capacity` without repeats, from memory with room for
 * `capacity` series to the network's own; and back to it after a run. */
void fl_network_load_rows(fl_network *network, const void *from, ptrdiff_t capacity, const int64_t *rows);
void fl_network_store_rows(const fl_network *network, void *to, ptrdiff_t capacity, const int64_t *rows);
/* Bytes of a state of one series, in a network that is bound; 0: the stage has no such state. */
size_t fl_stage_state(const fl_network *network, ptrdiff_t stage, int which);
/* Begin new series: those with these numbers, or all if `rows` is NULL. */
void fl_network_reset(fl_network *network, const int64_t *rows, ptrdiff_t count);
/* Whether a block of `steps` steps can be run: it fits the workspace, and the instruction set is still the same. */
int fl_network_fits(const fl_network *network, ptrdiff_t steps);
/* Run the next `steps` (1 or more) steps x (batch, steps, input), or tokens (batch, steps), and write y (batch, steps,
 * output of the last stage), or (batch, output) if that has one step, which must not overlap x. Returns 0, or -1, having
 * done nothing, where fl_network_fits() gives 0. */
int fl_network_run(fl_network *network, const void *x, ptrdiff_t steps, void *y);

/* ---------------------------------------------------------- Optimizers over one flat vector (kernels/optimizers.h) */

/* m may be NULL when momentum is 0. */
void fl_sgd(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, double lr, double momentum, int nesterov,
            double weight_decay, int n_threads);
void fl_rmsprop(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *v, void *m, double lr, double alpha,
                double eps, double momentum, double weight_decay, int n_threads);
void fl_adam(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, void *v, double lr, double beta1,
             double beta2, double eps, double weight_decay, int decoupled, int64_t step, int n_threads);
/* The 2-norm, summed in double in an order that depends on n alone. */
double fl_norm(fl_dtype dtype, ptrdiff_t n, const void *x, int n_threads);
void fl_scale(fl_dtype dtype, ptrdiff_t n, void *x, double factor, int n_threads);
/* x[n] = min(max(x[n], -limit), limit). */
void fl_clip(fl_dtype dtype, ptrdiff_t n, void *x, double limit, int n_threads);
/* The index of the first element that is NaN or infinite; -1: all are finite. */
ptrdiff_t fl_first_nonfinite(fl_dtype dtype, ptrdiff_t n, const void *x);

#ifdef __cplusplus
}
#endif
#endif
