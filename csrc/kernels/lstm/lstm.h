/* kernels/lstm.h - how a pass over one LSTM layer lies in memory; shared by lstm_forward.h and lstm_backward.h.
 *
 * The cell (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000), for step t:
 *
 *   z = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh          z = (z_i, z_f, z_g, z_o)
 *   i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
 *   c_t = f c_(t-1) + i g                              h_t = o tanh(c_t)
 *
 * Rows and steps. The rows of the batch are sorted by length, longest first, so that the rows alive at step s are a
 * prefix of active[s] rows; a finished row costs nothing and its padding is never touched. Step s of a reversed row b is
 * time lengths[b] - 1 - s. All live (row, step) pairs are numbered n = offset[s] + row, of which there are `steps`, the
 * sum of the lengths. The backward pass then sees plain matrices of `steps` rows with no time structure: the weight
 * gradient is one matrix product over n.
 *
 * Units. The hidden units go in blocks of LANES; the last block is padded with units whose weights are zero: their
 * gates are 1/2, 1/2, 0, 1/2 and their c and h stay 0, as do all their gradients. h has as many units as c, but for a
 * projection (lstm_cells.h): its size is `recurrent`.
 *
 *   panel  (block)(pass)(k)(COLS)(LANES)   the weights, k over x then h; a pass does COLS of the four gates
 *   bias   (block)(4)(LANES)               b_ih + b_hh
 *   a      (2)(batch)(lda)                 rows [h_(t-1): recurrent_padded | x_t: input] of two steps; what the weights
 *                                          multiply
 *   c0     (block)(batch)(LANES)           the running cell state, of steps that are not kept
 *   early  (step)(batch)(block)(4)(LANES)  with few rows: what bias and x contribute to the gates of some steps
 *   final  (batch)(recurrent_padded)       h after each row's last step
 *
 * Training keeps what the backward pass reads, of one segment of time; normally that is all of it. With checkpoint_every,
 * the forward pass keeps the last segment and the state before each one, and the backward pass computes a segment again
 * before it walks back through it (Chen et al. 2016, arXiv:1604.06174). Within a segment that begins at step `first`, n
 * counts from offset[first].
 *
 *   states (segment)(block)(batch)(LANES)  h before each segment, then c
 *   cells  (block)(ldc)(LANES)             c before the segment (of the rows alive then), then c_t of every n:
 *                                          lstm_cells_at. The backward pass overwrites c_t, when its last use is over, with
 *                                          h_t = o tanh(c_t), which it needs for the weight gradient: h is never stored
 *                                          beside c
 *   gates  (block)(ldn)(4)(LANES)          i, f, g, o of every n; the backward pass overwrites them with the gradients
 *                                          of z_i, z_f, z_g, z_o, which is the layout that outer_product wants
 *   dh     (batch)(recurrent_padded)       gradient of h_(t-1)
 *   dc     (block)(batch)(LANES)           gradient of c_(t-1)
 *   transposed                             panels of W_hh' and W_ih', for dh and dx
 *   gradient (block)(column)(4)(LANES)     sums of the weight gradient, columns h, x, 1
 *
 * With one segment `panel` is dead when `transposed` begins to live, and they share their memory. What cells other than the
 * plain one need stands in lstm_cells.h.
 *
 * Dead ends, on a Zen 4 with AVX-512 (others stand where they were tried):
 *   prefetching the weights 1 to 4 kB ahead in the tiles' loop    3 rows +7 %, 6 rows and more within noise
 *   copying rows of x and y inline rather than by memcpy          within noise (32 rows, hidden 32)
 *   the reciprocal by vrcp14ps and a Newton step for v_sigmoid    -7 % (hidden 64), but the approximation is not the same
 *                                                                 on all makers' processors, and so would be the bits
 *   a walk by units for many rows                                 as fast in quiet, half as fast beside another process
 *
 * Strides between streams that are read multiple (lda, ldn) avoid multiples of 4096 bytes, which would send them all to
 * the same few sets of the first-level cache.
 */
enum { GATES = 4, PASSES = GATES / COLS };

/* With up to X_SUMS_MAX_ROWS rows and more than X_SUMS_MIN_INPUTS inputs, these are multiplied for some steps in one go
 * (forward_x_sums). */
enum { X_SUMS_MAX_ROWS = 8, X_SUMS_MIN_INPUTS = 4 };

/* The memory of cells other than the plain one: lstm_cells.h. */
typedef struct {
    real *panel_hr, *panel_rh, *peepholes, *gains, *norm_c;                  /* weights */
    real *mask_variational, *mask_g, *mask_h, *mask_c;                            /* masks */
    real *out, *projected, *sums, *c_new;                                    /* of the present step */
    real *h_read, *gates_x, *scales;                                         /* kept for the backward pass */
    real *dh_new, *dh_kept, *dh_all, *row_sums, *gradient_hr;                /* of the backward pass */
} cell_workspace;

typedef struct {
    ptrdiff_t batch, time, input, hidden;
    ptrdiff_t blocks, padded; /* of hidden units; padded = blocks * LANES */
    ptrdiff_t recurrent, recurrent_blocks, recurrent_padded; /* the same for h, which a projection makes narrower */
    ptrdiff_t ldhx, ldn, ldc;
    ptrdiff_t steps;             /* live (row, step) pairs */
    ptrdiff_t group;             /* steps of which the weight gradient is summed at a time: backward_weights */
    ptrdiff_t segment, segments; /* steps of a segment, and how many there are */
    ptrdiff_t lookahead;             /* steps of `early` */
    int64_t *order;  /* (batch): sorted row -> row of the batch */
    int64_t *length; /* (batch), of sorted rows */
    int64_t *active; /* (time + 1) */
    int64_t *offset; /* (time + 2) */
    real *bias, *panel, *transposed, *gradient, *hx, *c0, *states, *cells, *gates, *final, *x_sums, *dh, *dc;
    const fl_lstm_cell *cell; /* NULL: the plain cell, and the following is not used */
    cell_workspace cell_ws;
} lstm_work;

/* Sums that a cell's backward pass keeps for each row: the gradients of the peepholes; with layer normalisation, those of
 * the biases, of both gains of the gates, and of the gain and bias of the cell. */
enum { SUMS_PEEPHOLES = 3, SUMS_NORM = 3 * GATES + 2 };

static double cell_row_sums(const fl_lstm_cell *cell)
{
    return (cell->peepholes ? SUMS_PEEPHOLES : 0) + (cell->layer_norm ? SUMS_NORM : 0);
}

/* How many rows are alive after step s; -1: before all steps. */
static inline ptrdiff_t lstm_alive(const lstm_work *work, ptrdiff_t s)
{
    return s < 0 ? work->batch : work->active[s];
}

/* Where the state after step s stands in `cells`, in a segment that begins at step `first`; s = first - 1 is what it begins
 * with. */
static inline ptrdiff_t lstm_cells_at(const lstm_work *work, ptrdiff_t first, ptrdiff_t s)
{
    return s < first ? 0 : lstm_alive(work, first - 1) + work->offset[s] - work->offset[first];
}

/* h or c before a segment: (block)(batch)(LANES). */
static inline real *lstm_state_h(const lstm_work *work, ptrdiff_t segment)
{
    return work->states + segment * work->batch * (work->recurrent_padded + work->padded);
}

static inline real *lstm_state_c(const lstm_work *work, ptrdiff_t segment)
{
    return lstm_state_h(work, segment) + work->batch * work->recurrent_padded;
}

/* Which gate of the caller's weights a gate is: their rows are those of i, f, g, o; or of i, g, o with coupled gates, and
 * -1 for f. */
static inline int lstm_gate_row(const lstm_work *work, int gate)
{
    return !work->cell || !work->cell->coupled || gate == 0 ? gate : gate == 1 ? -1 : gate - 1;
}

/* The time index of step s of a sorted row. */
static inline ptrdiff_t lstm_time_of(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t row, ptrdiff_t s)
{
    return pass->reverse ? work->length[row] - 1 - s : s;
}

/* Between (batch, hidden) rows of the caller, which may be NULL for zeros, and (block)(batch)(LANES). */
static void lstm_pack_state(const lstm_work *work, ptrdiff_t row, const real *from, real *to)
{
    for (ptrdiff_t unit = 0; unit < work->padded; unit += LANES) {
        real *block = to + unit * work->batch + row * LANES;
        V value = v_set(0);
        if (from)
            value = v_load_part(from + unit, minimum(LANES, work->hidden - unit));
        v_store(block, value);
    }
}

static void lstm_unpack_state(const lstm_work *work, const real *from, ptrdiff_t block_stride, real *to)
{
    for (ptrdiff_t unit = 0; unit < work->padded; unit += LANES)
        v_store_part(to + unit, v_load(from + unit / LANES * block_stride), minimum(LANES, work->hidden - unit));
}

/* What is the same for all tiles of a step of the forward pass. */
typedef struct {
    const lstm_work *work;
    const real *hx;            /* (row)(lda) of this step */
    real *hx_next;              /* of the next step: rows below next_active write their h there, the others to final */
    ptrdiff_t next_active;
    const real *c_before;      /* (row)(LANES) in blocks c_before_block apart */
    real *c_after;
    ptrdiff_t c_before_block, c_after_block;
    real *gates;               /* (row)(4)(LANES), or NULL in inference */
    const real *init;          /* (block)(4)(LANES): what the sums begin with, the bias or the part of x as well */
    ptrdiff_t init_row;        /* how far apart that of different rows is: 0 for the bias */
    ptrdiff_t inputs;          /* terms of x still to add: all, or none */
    ptrdiff_t pair;            /* the first pair n of the step, where gates are kept */
    real *h_kept;              /* (row)(LANES) in blocks ldc apart: where other cells keep what W_hh multiplies next; or NULL */
} forward_step;

/* The same of the backward pass. */
typedef struct {
    const lstm_work *work;
    ptrdiff_t pair;        /* the first pair n of the step */
    real *cells, *before;  /* (row)(LANES) in blocks ldc apart: c after the step, and before it */
} backward_step;
