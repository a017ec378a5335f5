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
 * gates are 1/2, 1/2, 0, 1/2 and their c and h stay 0, as do all their gradients.
 *
 *   panel  (block)(pass)(k)(COLS)(LANES)   the weights, k over x then h; a pass does COLS of the four gates
 *   bias   (block)(4)(LANES)               b_ih + b_hh
 *   a      (n)(lda)                        rows [h_(t-1): padded | x_t: input | 1]; what the weights multiply. The 1 makes
 *                                          the bias gradient a column of the weight gradient. Inference keeps two steps.
 *   c0     (block)(batch)(LANES)           the initial cell state; in inference the running one
 *   early  (step)(block)(4)(LANES)         with one row: what bias and x contribute to the gates of EARLY steps
 *   cells  (block)(ldn)(LANES)             c_t of every n            } training only
 *   gates  (block)(ldn)(4)(LANES)          i, f, g, o of every n; the backward pass overwrites them with the gradients
 *                                          of z_i, z_f, z_g, z_o, which is the layout that outer_product wants
 *   final  (batch)(padded)                 h after each row's last step
 *   dh     (batch)(padded)                 gradient of h_(t-1)       } backward only
 *   dc     (block)(batch)(LANES)           gradient of c_(t-1)       }
 *
 * `panel` is dead once the forward pass is over; the backward pass packs the transposed weights there, and when it has
 * walked back through time it sums the weight gradient there, (block)(column)(4)(LANES), columns h, x, 1.
 *
 * Strides between streams that are read together (lda, ldn) avoid multiples of 4096 bytes, which would send them all to
 * the same few sets of the first-level cache.
 */
enum { GATES = 4, PASSES = GATES / COLS };

/* Steps whose inputs are multiplied in one go when there is a single row (forward_inputs_early): some full tiles. */
enum { EARLY = 4 * ROWS };

typedef struct {
    ptrdiff_t batch, time, input, hidden;
    ptrdiff_t blocks, padded; /* of hidden units; padded = blocks * LANES */
    ptrdiff_t steps, lda, ldn;
    int64_t *order;  /* (batch): sorted row -> row of the batch */
    int64_t *length; /* (batch), of sorted rows */
    int64_t *active; /* (time + 1) */
    int64_t *offset; /* (time + 2) */
    real *panel, *bias, *a, *c0, *cells, *gates, *final, *early, *dh, *dc;
} lstm_work;

/* Takes `count` elements of `size` bytes, aligned to a cache line, from a block that begins at `base` and of which *used
 * bytes are taken. *used becomes SIZE_MAX when the sum does not fit; with base NULL only *used matters. */
static void *take(char *base, size_t *used, double count, size_t size)
{
    double bytes = count * (double)size;
    if (*used == SIZE_MAX || bytes >= (double)(SIZE_MAX / 4) || *used >= SIZE_MAX / 4) {
        *used = SIZE_MAX;
        return NULL;
    }
    char *at = base ? base + *used : NULL;
    *used += ((size_t)bytes + 63) / 64 * 64;
    return at;
}

/* Lays the work out in pass->workspace (may be NULL) and gives its size. Counts are doubles so that they cannot wrap. */
static size_t lstm_lay_out(const fl_lstm_pass *pass, lstm_work *work)
{
    const double batch = (double)pass->batch, time = (double)pass->time, input = (double)pass->input;
    const double hidden = (double)pass->hidden, blocks = ceil(hidden / LANES), padded = blocks * LANES;
    double steps = batch * time;
    if (pass->lengths) {
        steps = 0;
        for (ptrdiff_t b = 0; b < pass->batch; ++b)
            steps += (double)pass->lengths[b];
    }
    const double line = 64 / sizeof(real);
    double lda = ceil((padded + input + 1) / line);
    lda = (fmod(lda, 16) == 0 ? lda + 1 : lda) * line;
    const double ldn = ceil(steps / 16) * 16 + 7;
    const double a_rows = pass->training ? steps : 2 * batch;

    char *base = pass->workspace;
    size_t used = 0;
    double panel = padded * GATES * (hidden + input);
    if (pass->training) {
        const double transposed = padded * GATES * (padded + ceil(input / LANES) * LANES);
        const double gradient = padded * GATES * (hidden + input + 1);
        panel = fmax(transposed, gradient);
    }
    /* The packed weights come first: their place must not depend on batch and time (fl_lstm_pass.packed). */
    work->bias = take(base, &used, padded * GATES, sizeof(real));
    work->panel = take(base, &used, panel, sizeof(real));
    work->order = take(base, &used, batch, sizeof(int64_t));
    work->length = take(base, &used, batch, sizeof(int64_t));
    work->active = take(base, &used, time + 1, sizeof(int64_t));
    work->offset = take(base, &used, time + 2, sizeof(int64_t));
    work->c0 = take(base, &used, batch * padded, sizeof(real));
    work->final = take(base, &used, batch * padded, sizeof(real));
    const int one_row = pass->batch == 1 && pass->time > 1;
    work->early = take(base, &used, one_row ? EARLY * padded * GATES : 0, sizeof(real));
    if (!one_row)
        work->early = NULL;
    if (pass->training) {
        work->dh = take(base, &used, batch * padded, sizeof(real));
        work->dc = take(base, &used, batch * padded, sizeof(real));
        work->cells = take(base, &used, padded * ldn, sizeof(real));
        work->gates = take(base, &used, padded * ldn * GATES, sizeof(real));
    } else {
        work->dh = work->dc = work->cells = work->gates = NULL;
    }
    work->a = take(base, &used, a_rows * lda, sizeof(real));
    if (used == SIZE_MAX)
        return used;
    work->batch = pass->batch;
    work->time = pass->time;
    work->input = pass->input;
    work->hidden = pass->hidden;
    work->blocks = (ptrdiff_t)blocks;
    work->padded = (ptrdiff_t)padded;
    work->steps = (ptrdiff_t)steps;
    work->lda = (ptrdiff_t)lda;
    work->ldn = (ptrdiff_t)ldn;
    return used;
}

static size_t lstm_workspace(const fl_lstm_pass *pass)
{
    fl_lstm_pass sized = *pass;
    lstm_work work;
    sized.workspace = NULL;
    return lstm_lay_out(&sized, &work);
}

/* Fills order, length, active, offset: a counting sort by length, longest first, equal lengths in the batch's order. */
static void lstm_sort_rows(const fl_lstm_pass *pass, const lstm_work *work)
{
    const ptrdiff_t time = work->time, batch = work->batch;
    int64_t *active = work->active, *offset = work->offset;
    for (ptrdiff_t s = 0; s <= time; ++s)
        offset[s] = 0; /* for now: how many rows have length s */
    for (ptrdiff_t b = 0; b < batch; ++b)
        ++offset[pass->lengths ? pass->lengths[b] : time];
    int64_t longer = 0;
    for (ptrdiff_t s = time; s >= 0; --s) {
        active[s] = longer;
        longer += offset[s];
    }
    for (ptrdiff_t s = 0; s <= time; ++s)
        offset[s] = active[s]; /* for now: where the next row of length s goes */
    for (ptrdiff_t b = 0; b < batch; ++b) {
        int64_t length = pass->lengths ? pass->lengths[b] : time;
        int64_t row = offset[length]++;
        work->order[row] = b;
        work->length[row] = length;
    }
    offset[0] = 0;
    for (ptrdiff_t s = 0; s <= time; ++s)
        offset[s + 1] = offset[s] + active[s];
}

/* The sorted rows [*begin, *end) of one thread: contiguous, with about the same number of live steps for each thread. */
static void lstm_share_rows(const lstm_work *work, int thread, int team, ptrdiff_t *begin, ptrdiff_t *end)
{
    const double each = (double)work->steps / team;
    ptrdiff_t row = 0;
    double done = 0;
    for (; thread && row < work->batch && done < each * thread; ++row)
        done += (double)work->length[row];
    *begin = row;
    for (; row < work->batch && (thread == team - 1 || done < each * (thread + 1)); ++row)
        done += (double)work->length[row];
    *end = row;
}

/* How a team divides the walk through time. By rows, a thread owns its rows for all steps and never waits; but with few
 * rows each thread reads all the weights for little work. By units, a thread owns some units of all rows: it reads its
 * part of the weights only, and the team meets at a barrier in every step.
 *
 * The cost model, in cycles of a step. A tile reads each of its vectors of weights once, for LOAD cycles that the
 * arithmetic does not hide, and multiplies it with each of its rows, a cycle each. A barrier costs BARRIER for each thread.
 * Measured on a Zen 4 with 2 threads (input 64, hidden 256, 100 steps, inference, ms by rows / by units: batch 3 1.22 / 1.22,
 * 4 1.79 / 1.31, 6 2.45 / 1.93; input 32, hidden 64, batch 1, 200 steps: .175 / .121; input 16, hidden 32: .043 / .054).
 * To measure again: make by_units 0 or 1 below and time one row with small hidden sizes (BARRIER) and three to six rows
 * with large ones (LOAD). */
#define LOAD 1.2
#define BARRIER 300.0

typedef struct {
    int n_threads;
    int by_units;
} lstm_plan;

static lstm_plan lstm_make_plan(const fl_lstm_pass *pass, const lstm_work *work)
{
    const double vectors = 4.0 * (double)work->blocks * (double)(work->hidden + work->input);
    lstm_plan plan = {fl_worthwhile_threads(pass->n_threads, (double)work->steps * vectors * LANES), 0};
    const double rows = (double)work->active[0];
    if (plan.n_threads > 1 && rows > 0) {
        const double team_units = (double)minimum(plan.n_threads, work->blocks);
        const double team_rows = (double)minimum(plan.n_threads, work->active[0]);
        const double own_rows = ceil(rows / team_rows);
        const double by_rows = vectors * (LOAD * ceil(own_rows / ROWS) + own_rows);
        const double by_units = vectors / team_units * (LOAD * ceil(rows / ROWS) + rows) + BARRIER * team_units;
        plan.by_units = by_units < by_rows;
        plan.n_threads = (int)(plan.by_units ? team_units : team_rows);
    }
    return plan;
}

/* What one thread does of the walk. */
typedef struct {
    ptrdiff_t own_begin, own_end;     /* rows whose beginnings and ends (states, x, padding) it handles */
    ptrdiff_t row_begin, row_end;     /* rows that it computes */
    ptrdiff_t block_begin, block_end; /* unit blocks that it computes */
} lstm_share;

/* `together`: blocks that must not be torn apart. */
static lstm_share lstm_share_walk(const lstm_work *work, int by_units, ptrdiff_t together, int thread, int team)
{
    lstm_share share;
    lstm_share_rows(work, thread, team, &share.own_begin, &share.own_end);
    share.row_begin = share.own_begin;
    share.row_end = share.own_end;
    share.block_begin = 0;
    share.block_end = work->blocks;
    if (by_units) {
        share.row_begin = 0;
        share.row_end = work->batch;
        fl_share(tile_count(work->blocks, together), thread, team, &share.block_begin, &share.block_end);
        share.block_begin *= together;
        share.block_end = minimum(share.block_end * together, work->blocks);
    }
    return share;
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

static inline const real *row_of(const void *array, ptrdiff_t row, ptrdiff_t width)
{
    return array ? (const real *)array + row * width : NULL;
}
