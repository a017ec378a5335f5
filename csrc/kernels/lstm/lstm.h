/* kernels/lstm/lstm.h - the LSTM cell, and how a pass over one layer lies in memory.
 *
 * The cell (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000), for step t:
 *
 *   z = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh          z = (z_i, z_f, z_g, z_o)
 *   i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
 *   c_t = f c_(t-1) + i g                              h_t = o tanh(c_t)
 *
 * Rows and steps. The rows of the batch are sorted by length, longest first, so that the rows that are alive at step s
 * are a prefix of active[s] rows. A finished row costs nothing, and its padding is never touched. Step s of a reversed
 * row b is time lengths[b] - 1 - s. All live (row, step) pairs are numbered n = offset[s] + row. There are `steps` of
 * them, the sum of the lengths. The backward pass then sees plain matrices of `steps` rows without time structure: the
 * weight gradient is one matrix product over n.
 *
 * Units. The hidden units come in blocks of LANES. The last block is padded with units whose weights are zero: their
 * gates are 1/2, 1/2, 0, 1/2, and their c and h stay 0, as do all their gradients. h has as many units as c, unless
 * there is a projection (cells.h): the size of h is `recurrent`.
 *
 *   panel  (block)(pass)(k)(COLS)(LANES)   the weights, k over x then h; a pass computes COLS of the four gates
 *   bias   (block)(4)(LANES)               b_ih + b_hh
 *   hx     (2)(batch)(ldhx)                rows [h_(t-1): recurrent_padded | x_t: input] of two steps: what the weights
 *                                          multiply
 *   c0     (block)(batch)(LANES)           the running cell state, of steps that are not kept
 *   x_sums (step)(batch)(block)(4)(LANES)  with few rows: the part of bias and x in the gates of `lookahead` steps
 *   final  (batch)(recurrent_padded)       h after each row's last step
 *
 * Training keeps what the backward pass reads, for one segment of time; normally one segment is the whole time. With
 * recompute_every, the forward pass keeps the last segment and the state before each segment, and the backward pass
 * recomputes a segment before it walks back through it (Chen et al. 2016, arXiv:1604.06174). Within a segment that
 * begins at step `first`, n counts from offset[first].
 *
 *   states (segment)(block)(batch)(LANES)  h before each segment, then c
 *   cells  (block)(ldc)(LANES)             c before the segment (of the rows that are alive then), then c_t of every n:
 *                                          lstm_cells_at. After the last use of c_t the backward pass overwrites it
 *                                          with h_t = o tanh(c_t), which the weight gradient needs: h_t and c_t are
 *                                          never stored at the same time
 *   gates  (bank)(ldn)(4)(UNITS)           i, f, g, o of every n; the backward pass overwrites them with the gradients
 *                                          of z_i, z_f, z_g, z_o, in the layout that inner_product and outer_product
 *                                          read. A bank is UNITS units, PARTS blocks; the last one is as wide as
 *                                          the blocks that it has
 *   dh     (batch)(recurrent_padded)       gradient of h_(t-1)
 *   dc     (block)(batch)(LANES)           gradient of c_(t-1)
 *   transposed                             panels of W_hh' and W_ih', for dh and dx
 *   gradient (bank)(column)(4)(UNITS)      sums of the weight gradient for the last few columns of x, and the bias
 *
 * The order of sums. A sum over x or h goes in their order, one over rows and steps in that of n. The backward pass
 * also sums over gates and units, for dh and dx: bank by bank, in a bank gate by gate, in a gate unit by unit, without
 * the units that pad the last bank. No order depends on LANES, so that all instruction sets with a fused
 * multiply-add give the same bits.
 *
 * With one segment, `panel` is no longer needed when `transposed` is first written, and the two share their memory.
 * cells.h says what other cells need in addition.
 *
 * Dead ends, on a Zen 4 with AVX-512 (further ones are described where they were tried):
 *   prefetching the weights 1 to 4 kB ahead in the tiles' loop    3 rows +7 %, 6 rows and more within noise
 *   copying rows of x and y inline rather than by memcpy          within noise (32 rows, hidden 32)
 *   the reciprocal by vrcp14ps and a Newton step for v_sigmoid    -7 % (hidden 64), but the approximation differs
 *                                                                 between makers' processors, and so would the bits
 *   a walk by units for many rows                                 as fast on an idle machine, half as fast next to
 *                                                                 another process
 *   a reciprocal by vrcp14ps and two Newton steps, the second     the bits of a division, but +2 to +16 % on an Emerald
 *   of which rounds as a division does                            Rapids (hidden 64 to 256): the cell waits for the units
 *                                                                 that add and multiply, while that of divisions is idle
 *
 * Strides between streams that are read at the same time (ldhx, ldn) avoid multiples of 4096 bytes, which would map
 * them all to the same few sets of the first-level cache.
 */
enum { GATES = 4, PASSES = GATES / COLS };

/* With at most X_SUMS_MAX_ROWS rows and more than X_SUMS_MIN_INPUTS inputs, x is multiplied for several steps at once
 * (forward_x_sums). */
enum { X_SUMS_MAX_ROWS = 8, X_SUMS_MIN_INPUTS = 4 };

/* Additional arrays of cells other than the plain one: see cells.h. */
typedef struct {
    real *panel_hr, *panel_rh, *peepholes, *gains, *norm_c;   /* weights */
    real *mask_variational, *mask_g, *mask_h, *mask_c;        /* random masks */
    real *out, *projected, *sums, *c_new;                     /* of the current step */
    real *h_read, *gates_x, *scales;                          /* kept for the backward pass */
    real *dh_new, *dh_kept, *dh_all, *row_sums, *gradient_hr; /* of the backward pass */
} cell_workspace;

/* Weights of 8 bits, in `panel` as (block)(pass)(group of x, then of h)(COLS)(LANES) words: bytes.h. */
typedef struct {
    int way;                                     /* of bytes.h; BYTES_NONE: the weights are of type real */
    int tiles;                                   /* packed for AMX, too */
    ptrdiff_t groups_x, groups_h;                /* of k */
    ptrdiff_t panel_x, panel_h;                  /* the same in a panel: for AMX filled up with zeros to whole chunks */
    ptrdiff_t words_h;                           /* of a row of h in hx; those of x follow */
    real *scale_x, *scale_h, *start_x, *start_h; /* (block)(4)(LANES) */
    real *inverse;                               /* (input): 127 / limit of each column of x, or NULL */
    real *factor;                                /* (2)(batch): of the x of two steps */
} lstm_bytes;

/* Operands of 16 bits: bf16.h. `panel` is (block)(pass)(word of x, then of h)(COLS)(LANES), a row of hx has the words of
 * h, then those of x; h itself is in `final`. */
typedef struct {
    int way;                    /* of bf16.h; BF16_NONE: operands of type real */
    ptrdiff_t words_x, words_h; /* of a row of hx, with padding */
    real *x_words;              /* (batch)(lookahead)(words_x): of the steps in x_sums */
    ptrdiff_t terms, lddz;      /* words of a row of dz: (bank)(4)(UNITS / 2); distance of rows */
    real *dz, *dz_x;            /* (2)(batch)(lddz): gradients of W_hh h and W_ih x of two steps; most often the same */
    ptrdiff_t groups;           /* of steps whose weight gradient is summed in one go */
    ptrdiff_t ldsum;            /* words of these pairs n */
    real *dz_rows, *dz_x_rows;  /* (bank)(4)(UNITS)(ldsum): their dz */
    real *columns;              /* (chunk)(ldsum)(COLS)(LANES): their h and x */
} lstm_bf16;

typedef struct {
    ptrdiff_t batch, time, input, hidden;
    ptrdiff_t blocks, padded;                                /* of hidden units; padded = blocks * LANES */
    ptrdiff_t recurrent, recurrent_blocks, recurrent_padded; /* the same for h, which a projection makes narrower */
    ptrdiff_t ldhx, ldn, ldc;
    ptrdiff_t steps;             /* live (row, step) pairs */
    ptrdiff_t group;             /* steps whose weight gradient is summed at a time: backward_weights */
    ptrdiff_t segment, segments; /* steps of a segment, and number of segments */
    ptrdiff_t lookahead;         /* steps in `x_sums` */
    int64_t *order;              /* (batch): row of the batch for each sorted row */
    int64_t *length;             /* (batch), of sorted rows */
    int64_t *active;             /* (time + 1) */
    int64_t *offset;             /* (time + 2) */
    real *bias, *panel, *transposed, *gradient, *hx, *c0, *states, *cells, *gates, *final, *x_sums, *dh, *dc;
    const fl_lstm_cell *cell; /* NULL: the plain cell, and cell_ws is not used */
    cell_workspace cell_ws;
    lstm_bytes bytes;
    lstm_bf16 bf16;
} lstm_work;

/* The way of products with operands of 16 bits, BF16_NONE: of type real. The compiler leaves out the code of the former for
 * doubles. */
INLINE int lstm_bf16_way(const lstm_work *work)
{
    return REAL_IS_FLOAT ? work->bf16.way : BF16_NONE;
}

/* The number of columns of x, the last ones, whose weight gradient is summed by vectors of units: those that fill no more
 * than half of the widest vector (weight_gradient.h). None with operands of 16 bits. */
static inline ptrdiff_t gradient_narrow(const lstm_work *work)
{
    return lstm_bf16_way(work) || work->input % UNITS > UNITS / 2 ? 0 : work->input % UNITS;
}

/* Sums that a cell's backward pass keeps for each row: the gradients of the peepholes; with layer normalisation, those
 * of the biases, of both gains of the gates, and of the gain and bias of the cell. */
enum { SUMS_PEEPHOLES = 3, SUMS_NORM = 3 * GATES + 2 };

static double cell_row_sums(const fl_lstm_cell *cell)
{
    return (cell->peepholes ? SUMS_PEEPHOLES : 0) + (cell->layer_norm ? SUMS_NORM : 0);
}

/* The most rows of a tile of the products with W_ih and W_hh. */
enum { MOST_HEIGHT = AMX_ROWS };

static inline ptrdiff_t lstm_height(const lstm_work *work)
{
    return lstm_bf16_way(work) ? bf16_height(lstm_bf16_way(work)) : ROWS;
}

/* Whether AMX may multiply, which reads and computes whole tiles of rows. */
static inline int lstm_tiled(const lstm_work *work)
{
    return lstm_bf16_way(work) == BF16_TILES || work->bytes.tiles;
}

/* The most steps of a row whose x is multiplied in one tile (forward_x_sums). */
enum { LOOKAHEAD_MOST = 16 };

/* Number of rows that are alive after step s; s = -1: before all steps. */
static inline ptrdiff_t lstm_alive(const lstm_work *work, ptrdiff_t s)
{
    return s < 0 ? work->batch : work->active[s];
}

/* Index in `cells` of the state after step s, in a segment that begins at step `first`. s = first - 1 is the state
 * before the segment. */
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

/* The width of a gate of a bank: UNITS, or what the blocks of the last bank need. */
INLINE ptrdiff_t lstm_bank_width(const lstm_work *work, ptrdiff_t bank)
{
    return PARTS == 1 ? LANES : minimum(UNITS, work->padded - bank * UNITS);
}

/* Where the gates of block `block` at pair n begin, in `gates`; the next gate is *stride further. */
INLINE ptrdiff_t lstm_gates_at(const lstm_work *work, ptrdiff_t block, ptrdiff_t n, ptrdiff_t *stride)
{
    const ptrdiff_t bank = block / PARTS;
    *stride = lstm_bank_width(work, bank);
    return bank * UNITS * work->ldn * GATES + n * GATES * *stride + block % PARTS * LANES;
}

/* The gate's number among the caller's weights, whose rows are those of i, f, g, o, or of i, g, o with coupled gates:
 * then -1 for f. */
static inline int lstm_gate_row(const lstm_work *work, int gate)
{
    return !work->cell || !work->cell->coupled || gate == 0 ? gate : gate == 1 ? -1 : gate - 1;
}

/* The time index of step s of a sorted row. */
static inline ptrdiff_t lstm_time_of(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t row, ptrdiff_t s)
{
    return pass->reverse ? work->length[row] - 1 - s : s;
}

/* Where the caller's x of step s of a sorted row is. */
static inline const real *lstm_x_at(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t row, ptrdiff_t s)
{
    return (const real *)pass->x + work->order[row] * pass->x_batch + lstm_time_of(pass, work, row, s) * pass->x_time;
}

/* Convert between (batch, hidden) rows of the caller, which may be NULL for zeros, and (block)(batch)(LANES). */
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

/* Arguments that all tiles of one step of the forward pass share. */
typedef struct {
    const lstm_work *work;
    const real *hx; /* (row)(ldhx) of this step */
    real *hx_next;  /* of the next step: rows below next_active store h here, the others in `final` */
    ptrdiff_t next_active;
    const real *c_before; /* (row)(LANES) in blocks c_before_block apart */
    real *c_after;
    ptrdiff_t c_before_block, c_after_block;
    real *gates;        /* `gates` of the pass, or NULL where they are not kept */
    const real *init;   /* (block)(4)(LANES): what the sums begin with, the bias or x_sums */
    ptrdiff_t init_row; /* distance between the values of two rows; 0 for the bias */
    ptrdiff_t inputs;   /* terms of x that are still to add: all, or none */
    ptrdiff_t pair;     /* the first pair n of the step, where gates are kept */
    int h_apart;        /* h goes to `final`, and its caller writes to hx: as integers, or as words of 16 bits */
    const real *factor; /* (row): of x in integers, or NULL */
    real *h_kept;       /* (row)(LANES) in blocks ldc apart: h_read of other cells, or NULL */
} forward_step;

/* Arguments that all rows of one step of the backward pass share. */
typedef struct {
    const lstm_work *work;
    ptrdiff_t pair;       /* the first pair n of the step */
    real *cells, *before; /* (row)(LANES) in blocks ldc apart: c after the step, and before it */
} backward_step;
