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
 * Strides between streams that are read together (lda, ldn) avoid multiples of 4096 bytes, which would send them all to
 * the same few sets of the first-level cache.
 */
enum { GATES = 4, PASSES = GATES / COLS };

/* With up to EARLY_ROWS rows and more than EARLY_INPUTS inputs, these are multiplied for some steps in one go
 * (forward_inputs_early). */
enum { EARLY_ROWS = 8, EARLY_INPUTS = 4 };

/* The memory of cells other than the plain one: lstm_cells.h. */
typedef struct {
    real *panel_hr, *panel_rh, *peepholes, *gains, *norm_c;                  /* weights */
    real *variational, *draw_g, *draw_h, *draw_c;                            /* masks */
    real *out, *projected, *sums, *c_new;                                    /* of the present step */
    real *h_read, *gates_x, *scales;                                         /* kept for the backward pass */
    real *dh_new, *dh_kept, *dh_all, *row_sums, *gradient_hr;                /* of the backward pass */
} cell_work;

typedef struct {
    ptrdiff_t batch, time, input, hidden;
    ptrdiff_t blocks, padded; /* of hidden units; padded = blocks * LANES */
    ptrdiff_t recurrent, recurrent_blocks, recurrent_padded; /* the same for h, which a projection makes narrower */
    ptrdiff_t lda, ldn, ldc;
    ptrdiff_t steps;             /* live (row, step) pairs */
    ptrdiff_t group;             /* steps of which the weight gradient is summed at a time: backward_weights */
    ptrdiff_t segment, segments; /* steps of a segment, and how many there are */
    ptrdiff_t ahead;             /* steps of `early` */
    int64_t *order;  /* (batch): sorted row -> row of the batch */
    int64_t *length; /* (batch), of sorted rows */
    int64_t *active; /* (time + 1) */
    int64_t *offset; /* (time + 2) */
    real *bias, *panel, *transposed, *gradient, *a, *c0, *states, *cells, *gates, *final, *early, *dh, *dc;
    const fl_lstm_cell *cell; /* NULL: the plain cell, and the following is not used */
    cell_work of_cell;
} lstm_work;

/* Sums that a cell's backward pass keeps for each row: the gradients of the peepholes; with layer normalisation, those of
 * the biases, of both gains of the gates, and of the gain and bias of the cell. */
enum { SUMS_PEEPHOLES = 3, SUMS_NORM = 3 * GATES + 2 };

static double cell_row_sums(const fl_lstm_cell *cell)
{
    return (cell->peepholes ? SUMS_PEEPHOLES : 0) + (cell->layer_norm ? SUMS_NORM : 0);
}

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

/* How a pass is cut in time. The weight gradient is summed over groups of whole steps, whose number depends on the shape
 * alone; segments are made of whole groups, so that the sums are the same bits with any checkpoint_every. */
static void lstm_cut(const fl_lstm_pass *pass, lstm_work *work)
{
    work->group = TERMS / (pass->batch > 0 ? pass->batch : 1);
    if (work->group < 1)
        work->group = 1;
    work->segment = pass->time;
    if (pass->training && pass->checkpoint_every > 0 && pass->checkpoint_every < pass->time)
        work->segment = minimum(round_up(pass->checkpoint_every, work->group), pass->time);
    work->segments = work->segment > 0 ? (pass->time + work->segment - 1) / work->segment : 1;
}

/* Lays the work out in pass->workspace (may be NULL) and gives its size. Counts are doubles so that they cannot wrap. */
static size_t lstm_lay_out(const fl_lstm_pass *pass, lstm_work *work)
{
    const double batch = (double)pass->batch, time = (double)pass->time, input = (double)pass->input;
    const double hidden = (double)pass->hidden, blocks = ceil(hidden / LANES), padded = blocks * LANES;
    const fl_lstm_cell *cell = work->cell = pass->cell;
    const double recurrent = cell && cell->projection ? (double)cell->projection : hidden;
    const double recurrent_padded = ceil(recurrent / LANES) * LANES;
    lstm_cut(pass, work);
    double steps = batch * time, kept = batch * (double)work->segment;
    if (pass->lengths) {
        steps = kept = 0;
        for (ptrdiff_t b = 0; b < pass->batch; ++b) {
            steps += (double)pass->lengths[b];
            kept += (double)minimum(pass->lengths[b], work->segment);
        }
    }
    const double line = 64 / sizeof(real);
    double lda = ceil((recurrent_padded + input) / line);
    lda = (fmod(lda, 16) == 0 ? lda + 1 : lda) * line;
    const double ldn = ceil(kept / 16) * 16 + 7, ldc = ceil((batch + kept) / 16) * 16 + 7;

    char *base = pass->workspace;
    size_t used = 0;
    const double panel = padded * GATES * (recurrent + input);
    const double transposed = padded * GATES * (recurrent_padded + ceil(input / LANES) * LANES);
    const double gradient = padded * GATES * (recurrent + input + 1);
    const int apart = pass->training && work->segments > 1;
    /* The packed weights come first: their place must not depend on batch and time (fl_lstm_pass.packed). */
    work->bias = take(base, &used, padded * GATES, sizeof(real));
    work->panel = take(base, &used, pass->training && !apart ? transposed : panel, sizeof(real));
    cell_work *own = &work->of_cell;
    memset(own, 0, sizeof *own);
    const int projects = cell && cell->projection, norm = cell && cell->layer_norm;
    if (projects)
        own->panel_hr = take(base, &used, recurrent_padded * hidden, sizeof(real));
    if (cell && cell->peepholes)
        own->peepholes = take(base, &used, 3 * padded, sizeof(real));
    if (norm) {
        own->gains = take(base, &used, 2 * padded * GATES, sizeof(real));
        own->norm_c = take(base, &used, 2 * padded, sizeof(real));
    }
    work->transposed = apart ? take(base, &used, transposed, sizeof(real)) : work->panel;
    work->gradient = pass->training ? take(base, &used, gradient, sizeof(real)) : NULL;
    work->order = take(base, &used, batch, sizeof(int64_t));
    work->length = take(base, &used, batch, sizeof(int64_t));
    work->active = take(base, &used, time + 1, sizeof(int64_t));
    work->offset = take(base, &used, time + 2, sizeof(int64_t));
    work->c0 = take(base, &used, batch * padded, sizeof(real));
    work->final = take(base, &used, batch * recurrent_padded, sizeof(real));
    work->a = take(base, &used, 2 * batch * lda, sizeof(real));
    /* Full tiles of steps of a row, some 24 (row, step) pairs in all. */
    const int early = pass->batch > 0 && pass->batch <= EARLY_ROWS && pass->time > 1 && pass->input > EARLY_INPUTS && !norm;
    work->ahead = early ? ROWS * (pass->batch > 4 ? 1 : 4 / pass->batch) : 0;
    work->early = take(base, &used, (double)work->ahead * batch * padded * GATES, sizeof(real));
    if (!early)
        work->early = NULL;
    work->states = work->dh = work->dc = work->cells = work->gates = NULL;
    if (pass->training) {
        work->states = take(base, &used, (double)work->segments * batch * (recurrent_padded + padded), sizeof(real));
        work->dh = take(base, &used, batch * recurrent_padded, sizeof(real));
        work->dc = take(base, &used, batch * padded, sizeof(real));
        work->cells = take(base, &used, padded * ldc, sizeof(real));
        work->gates = take(base, &used, padded * ldn * GATES, sizeof(real));
    }
    const int drawn = pass->training && cell;
    if (drawn && cell->variational_dropout > 0)
        own->variational = take(base, &used, batch * recurrent_padded, sizeof(real));
    if (drawn && cell->recurrent_dropout > 0)
        own->draw_g = take(base, &used, batch * padded, sizeof(real));
    if (drawn && cell->zoneout_h > 0)
        own->draw_h = take(base, &used, batch * recurrent_padded, sizeof(real));
    if (drawn && cell->zoneout_c > 0)
        own->draw_c = take(base, &used, batch * padded, sizeof(real));
    if (projects || norm)
        own->out = take(base, &used, batch * padded, sizeof(real));
    if (projects)
        own->projected = take(base, &used, batch * recurrent_padded, sizeof(real));
    if (norm) {
        own->sums = take(base, &used, 2 * batch * padded * GATES, sizeof(real));
        own->c_new = take(base, &used, batch * padded, sizeof(real));
    }
    if (drawn) {
        own->h_read = take(base, &used, recurrent_padded * ldc, sizeof(real));
        own->row_sums = take(base, &used, cell_row_sums(cell) * batch * padded, sizeof(real));
        if (cell->zoneout_h > 0)
            own->dh_kept = take(base, &used, batch * recurrent_padded, sizeof(real));
    }
    if (drawn && projects) {
        own->panel_rh = take(base, &used, padded * recurrent, sizeof(real));
        own->dh_new = take(base, &used, batch * recurrent_padded, sizeof(real));
        own->dh_all = take(base, &used, recurrent_padded * ldn, sizeof(real));
        own->gradient_hr = take(base, &used, recurrent * padded, sizeof(real));
    }
    if (drawn && norm) {
        own->gates_x = take(base, &used, padded * ldn * GATES, sizeof(real));
        own->scales = take(base, &used, 2 * ldn, sizeof(real));
    }
    if (used == SIZE_MAX)
        return used;
    work->batch = pass->batch;
    work->time = pass->time;
    work->input = pass->input;
    work->hidden = pass->hidden;
    work->blocks = (ptrdiff_t)blocks;
    work->padded = (ptrdiff_t)padded;
    work->recurrent = (ptrdiff_t)recurrent;
    work->recurrent_padded = (ptrdiff_t)recurrent_padded;
    work->recurrent_blocks = work->recurrent_padded / LANES;
    work->steps = (ptrdiff_t)steps;
    work->lda = (ptrdiff_t)lda;
    work->ldn = (ptrdiff_t)ldn;
    work->ldc = (ptrdiff_t)ldc;
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

/* The sorted rows [*begin, *end) of one share of several: contiguous, with about the same number of live steps each. */
static void lstm_share_rows(const lstm_work *work, ptrdiff_t share, ptrdiff_t shares, ptrdiff_t *begin, ptrdiff_t *end)
{
    const double each = (double)work->steps / (double)shares;
    ptrdiff_t row = 0;
    double done = 0;
    for (; share && row < work->batch && done < each * (double)share; ++row)
        done += (double)work->length[row];
    *begin = row;
    for (; row < work->batch && (share == shares - 1 || done < each * (double)(share + 1)); ++row)
        done += (double)work->length[row];
    *end = row;
}

/* How a team divides the walk through time. By rows, the batch is cut into shares of rows, and a thread that is free takes
 * the next share and goes through all steps with it, without waiting for anybody. There are a few more shares than threads,
 * so that a thread that is held up (another process, another library's threads that spin) is not waited for with half of
 * the work in its hands. But a share of few rows reads all the weights for little work. By units, a thread owns some units
 * of all rows: it reads its part of the weights only, and the team meets at a barrier in every step.
 *
 * The cost model, in cycles of a step. A tile reads each of its vectors of weights once, for LOAD cycles that the
 * arithmetic does not hide, and multiplies it with each of its rows, a cycle each. A barrier costs BARRIER for each thread.
 * What x contributes counts only where it is not summed ahead (`early`), which costs the same in both ways.
 * Measured on a Zen 4 with 2 threads (input 64, hidden 256, 100 steps, inference, ms by rows / by units: batch 3 1.22 / 1.22,
 * 4 1.79 / 1.31, 6 2.45 / 1.93; input 32, hidden 64, batch 1, 200 steps: .175 / .121; input 16, hidden 32: .043 / .054).
 * By units has to be better by a factor GAIN: a team that meets in every step suffers from whatever holds one thread up
 * (64 rows, hidden 128, with one of two processors busy with another process: 16 ms by units, 7 by rows).
 * To measure again: make by_units 0 or 1 below and time one row with small hidden sizes (BARRIER) and three to six rows
 * with large ones (LOAD).
 *
 * Weights that fit the second-level cache together with what else is there (half of it) are read from it by each tile, so
 * that shares may be as low as SHARE_ROWS; larger ones come from the third level for each share and step, and are shared by
 * SHARE_ROWS_FAR rows. */
#define LOAD 1.2
#define BARRIER 300.0
#define GAIN 0.9
#define SHARES 4 /* for each thread */
#define SHARE_ROWS 8
#define SHARE_ROWS_FAR 64

typedef struct {
    int n_threads;
    int by_units;
    ptrdiff_t shares; /* of rows */
} lstm_plan;

static lstm_plan lstm_make_plan(const fl_lstm_pass *pass, const lstm_work *work)
{
    const double vectors = 4.0 * (double)work->blocks * (double)(work->recurrent + work->input);
    lstm_plan plan = {fl_worthwhile_threads(pass->n_threads, (double)work->steps * vectors * LANES), 0, 1};
    const double rows = (double)work->active[0];
    if (plan.n_threads > 1 && rows > 0) {
        const double team_units = (double)minimum(plan.n_threads, work->blocks);
        const double team_rows = (double)minimum(plan.n_threads, work->active[0]);
        const double own_rows = ceil(rows / team_rows);
        const double of_block = 4.0 * (double)(work->recurrent + (work->early ? 0 : work->input));
        const double blocks = (double)work->blocks, own_blocks = ceil(blocks / team_units);
        const double by_rows = of_block * blocks * (LOAD * ceil(own_rows / ROWS) + own_rows);
        const double by_units = of_block * own_blocks * (LOAD * ceil(rows / ROWS) + rows) + BARRIER * team_units;
        /* Normalising and projecting need all units of a row. */
        plan.by_units = by_units < GAIN * by_rows && !(work->cell && (work->cell->layer_norm || work->cell->projection));
        plan.n_threads = (int)(plan.by_units ? team_units : team_rows);
        const int near = vectors * LANES * sizeof(real) < 0.5 * fl_second_level_cache();
        const double least = near ? SHARE_ROWS : SHARE_ROWS_FAR;
        const double each = floor(rows / (least * plan.n_threads));
        plan.shares = plan.n_threads * (ptrdiff_t)(each < 1 ? 1 : each > SHARES ? SHARES : each);
    }
    return plan;
}

/* Has a team walk: every share of the rows, or every thread's units. */
static void lstm_run(const lstm_plan *plan, fl_body walk, void *context)
{
    if (plan->by_units)
        fl_parallel(plan->n_threads, walk, context);
    else
        fl_parallel_tasks(plan->n_threads, plan->shares, walk, context);
}

/* A part of the walk. */
typedef struct {
    ptrdiff_t own_begin, own_end;     /* rows whose beginnings and ends (states, x, padding) it handles */
    ptrdiff_t row_begin, row_end;     /* rows that it computes */
    ptrdiff_t block_begin, block_end; /* unit blocks that it computes */
    ptrdiff_t h_begin, h_end;         /* the same of h */
} lstm_share;

/* `together`: blocks that must not be torn apart. */
static lstm_share lstm_share_walk(const lstm_work *work, int by_units, ptrdiff_t together, ptrdiff_t number,
                                  ptrdiff_t shares)
{
    lstm_share share;
    lstm_share_rows(work, number, shares, &share.own_begin, &share.own_end);
    share.row_begin = share.own_begin;
    share.row_end = share.own_end;
    share.block_begin = 0;
    share.block_end = work->blocks;
    if (by_units) {
        share.row_begin = 0;
        share.row_end = work->batch;
        fl_share(tile_count(work->blocks, together), number, shares, &share.block_begin, &share.block_end);
        share.block_begin *= together;
        share.block_end = minimum(share.block_end * together, work->blocks);
    }
    share.h_begin = share.block_begin;
    share.h_end = by_units ? share.block_end : work->recurrent_blocks;
    return share;
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

static inline const real *row_of(const void *array, ptrdiff_t row, ptrdiff_t width)
{
    return array ? (const real *)array + row * width : NULL;
}

/* What is the same for all tiles of a step of the forward pass. */
typedef struct {
    const lstm_work *work;
    const real *a;             /* (row)(lda) of this step */
    real *a_next;              /* of the next step: rows below next_active write their h there, the others to final */
    ptrdiff_t next_active;
    const real *c_before;      /* (row)(LANES) in blocks c_before_block apart */
    real *c_after;
    ptrdiff_t c_before_block, c_after_block;
    real *gates;               /* (row)(4)(LANES), or NULL in inference */
    const real *base;          /* (block)(4)(LANES): what the sums begin with, the bias or the part of x as well */
    ptrdiff_t base_row;        /* how far apart that of different rows is: 0 for the bias */
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
