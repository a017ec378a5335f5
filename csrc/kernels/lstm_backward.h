/* kernels/lstm_backward.h - back-propagation through time. Layouts: lstm.h.
 *
 * With dh = dL/dh_t (from above, and from step t+1) and dc = dL/dc_t, walking back from the last step:
 *
 *   dc   += dh o (1 - tanh(c_t)^2)
 *   dz_i  = dc g i (1 - i)           dz_f = dc c_(t-1) f (1 - f)
 *   dz_g  = dc i (1 - g^2)           dz_o = dh tanh(c_t) o (1 - o)
 *   dc_(t-1) = dc f                  dh_(t-1) = W_hh' dz          dx_t = W_ih' dz
 *   dW_ih = sum dz x_t'              dW_hh = sum dz h_(t-1)'      db_ih = db_hh = sum dz        over rows and steps
 *
 * First the team walks back through time, by rows or by units as in the forward pass, with inner products of dz and the
 * transposed W_hh. What is left then are matrix products over all (row, step) pairs n, with no time structure: dx is
 * shared out by n; the weight gradient by tiles of the result, each summed by one thread in the order of n, whatever the
 * team. tanh(c_t) is computed again rather than stored.
 */

typedef struct {
    const fl_lstm_pass *pass;
    const fl_lstm_gradients *out;
    const lstm_work *work;
    int by_units;
    ptrdiff_t h_vectors; /* width of a panel of W_hh', in vectors */
    fl_barrier barrier;
} backward_context;

/* Where the panels of W_ih' begin: behind those of W_hh', which have `padded` columns. */
static real *backward_panel_x(const lstm_work *work)
{
    return work->panel + work->padded * GATES * work->padded;
}

/* One panel of a transposed weight matrix (4 * hidden, columns), the columns from `first` on:
 * (unit block)(4)(LANES)(vectors)(LANES). */
static void backward_pack_matrix(const lstm_work *work, const void *weight, ptrdiff_t columns, ptrdiff_t first,
                                 ptrdiff_t vectors, real *panel)
{
    const ptrdiff_t width = minimum(columns - first, vectors * LANES), padded = round_up(width, LANES);
    real *to = panel + first * GATES * work->padded;
    for (ptrdiff_t block = 0; block < work->blocks; ++block)
        for (int gate = 0; gate < GATES; ++gate)
            for (int lane = 0; lane < LANES; ++lane, to += padded) {
                ptrdiff_t unit = block * LANES + lane, c = 0;
                if (unit < work->hidden) {
                    const real *from = row_of(weight, gate * work->hidden + unit, columns) + first;
                    for (; c < width; ++c)
                        to[c] = from[c];
                }
                for (; c < padded; ++c)
                    to[c] = 0;
            }
}

static void backward_pack(void *context, int thread, int team)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const ptrdiff_t panels_h = tile_count(work->blocks, job->h_vectors);
    const ptrdiff_t panels_x = job->out->dx ? tile_count(work->input, COLS * LANES) : 0;
    ptrdiff_t begin, end;
    fl_share(panels_h + panels_x, thread, team, &begin, &end);
    for (ptrdiff_t p = begin; p < end; ++p) {
        if (p < panels_h)
            backward_pack_matrix(work, job->pass->weight_hh, work->hidden, p * job->h_vectors * LANES, job->h_vectors,
                                 work->panel);
        else
            backward_pack_matrix(work, job->pass->weight_ih, work->input, (p - panels_h) * COLS * LANES, COLS,
                                 backward_panel_x(work));
    }
}

/* The gates of a step become the gradients of z, and dc moves one step back. */
static void backward_cells(const lstm_work *work, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const V one = v_set(1);
    for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block) {
        real *gates = work->gates + (block * work->ldn + work->offset[s]) * GATES * LANES;
        const real *cells = work->cells + (block * work->ldn + work->offset[s]) * LANES;
        const real *before = s > 0 ? work->cells + (block * work->ldn + work->offset[s - 1]) * LANES
                                   : work->c0 + block * work->batch * LANES;
        for (ptrdiff_t row = share->row_begin; row < end; ++row) {
            real *at = gates + row * GATES * LANES;
            real *dc_at = work->dc + (block * work->batch + row) * LANES;
            V i = v_load(at), f = v_load(at + LANES), g = v_load(at + 2 * LANES), o = v_load(at + 3 * LANES);
            V dh = v_load(work->dh + row * work->padded + block * LANES);
            V tanh_c = v_tanh(v_load(cells + row * LANES));
            V dc = v_fma(dh * o, one - tanh_c * tanh_c, v_load(dc_at));
            v_store(at, dc * g * (i * (one - i)));
            v_store(at + LANES, dc * v_load(before + row * LANES) * (f * (one - f)));
            v_store(at + 2 * LANES, dc * i * (one - g * g));
            v_store(at + 3 * LANES, dh * tanh_c * (o * (one - o)));
            v_store(dc_at, dc * f);
        }
    }
}

/* to[r][0 .. count) = dz[n + r] times one panel of a transposed weight matrix. */
static void backward_product(const lstm_work *work, ptrdiff_t n, ptrdiff_t rows, const real *panel, ptrdiff_t count,
                             real **to, int add)
{
    const inner_job job = {
        .a = work->gates + n * GATES * LANES,
        .lda = GATES * LANES,
        .segments = work->blocks,
        .segment_stride = work->ldn * GATES * LANES,
        .k = GATES * LANES,
        .w = panel,
        .rows = to,
        .count = count,
        .add = add,
    };
    inner_product(&job, (int)rows, (int)((count + LANES - 1) / LANES));
}

/* dh_(t-1) of the share's units: W_hh' dz. */
static void backward_hidden(const backward_context *job, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t live = end - share->row_begin, tiles = tile_count(live, ROWS);
    for (ptrdiff_t block = share->block_begin; block < share->block_end; block += job->h_vectors) {
        const ptrdiff_t count = minimum(job->h_vectors, work->blocks - block) * LANES;
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = share->row_begin + tile_begin(live, tiles, t);
            const ptrdiff_t rows = share->row_begin + tile_begin(live, tiles, t + 1) - first;
            real *to[ROWS];
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] = work->dh + (first + r) * work->padded + block * LANES;
            backward_product(work, work->offset[s] + first, rows, work->panel + block * LANES * GATES * work->padded,
                             count, to, 0);
        }
    }
}

static void backward_begin(const backward_context *job, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    for (ptrdiff_t row = begin; row < end; ++row) {
        const real *dhn = row_of(job->out->dhn, work->order[row], work->hidden);
        real *dh = work->dh + row * work->padded;
        memset(dh, 0, (size_t)work->padded * sizeof(real));
        if (dhn)
            memcpy(dh, dhn, (size_t)work->hidden * sizeof(real));
        lstm_pack_state(work, row, row_of(job->out->dcn, work->order[row], work->hidden), work->dc);
    }
}

static void backward_end(const backward_context *job, ptrdiff_t begin, ptrdiff_t end)
{
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t hidden = work->hidden;
    for (ptrdiff_t row = begin; row < end; ++row) {
        const ptrdiff_t b = work->order[row];
        if (out->dh0)
            memcpy((real *)out->dh0 + b * hidden, work->dh + row * work->padded, (size_t)hidden * sizeof(real));
        if (out->dc0)
            lstm_unpack_state(work, work->dc + row * LANES, work->batch * LANES, (real *)out->dc0 + b * hidden);
        if (out->dx && !out->dx_add)
            for (ptrdiff_t t = work->length[row]; t < work->time; ++t)
                memset((real *)out->dx + b * out->dx_batch + t * out->dx_time, 0,
                       (size_t)work->input * sizeof(real));
    }
}

static void backward_body(void *argument, int thread, int team)
{
    backward_context *job = argument;
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const lstm_share share = lstm_share_walk(work, job->by_units, job->h_vectors, thread, team);
    const ptrdiff_t unit = share.block_begin * LANES;
    const ptrdiff_t units = minimum(share.block_end * LANES, work->hidden) - unit;
    unsigned round = 0;
    backward_begin(job, share.own_begin, share.own_end);
    if (job->by_units)
        fl_wait(&job->barrier, &round, team);
    for (ptrdiff_t s = work->time - 1; s >= 0; --s) {
        const ptrdiff_t end = minimum(share.row_end, work->active[s]);
        if (end <= share.row_begin)
            continue; /* no row of this share is that long: by rows, or for the whole team */
        if (out->dy)
            for (ptrdiff_t row = share.row_begin; row < end; ++row) {
                const real *dy = (const real *)out->dy + work->order[row] * out->dy_batch +
                                 lstm_time_of(job->pass, work, row, s) * out->dy_time + unit;
                real *dh = work->dh + row * work->padded + unit;
                for (ptrdiff_t u = 0; u < units; ++u)
                    dh[u] += dy[u];
            }
        backward_cells(work, &share, s, end);
        if (job->by_units)
            fl_wait(&job->barrier, &round, team);
        if (s > 0 || out->dh0)
            backward_hidden(job, &share, s, end);
    }
    if (job->by_units)
        fl_wait(&job->barrier, &round, team);
    backward_end(job, share.own_begin, share.own_end);
}

/* dx_t = W_ih' dz for a share of all n. */
static void backward_inputs(void *argument, int thread, int team)
{
    const backward_context *job = argument;
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    ptrdiff_t begin, end, s = 0;
    fl_share(work->steps, thread, team, &begin, &end);
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    for (ptrdiff_t t = 0; t < tiles; ++t) {
        const ptrdiff_t n = begin + tile_begin(end - begin, tiles, t);
        const ptrdiff_t rows = begin + tile_begin(end - begin, tiles, t + 1) - n;
        real *to[ROWS];
        for (ptrdiff_t r = 0; r < rows; ++r) {
            while (work->offset[s + 1] <= n + r)
                ++s;
            const ptrdiff_t row = n + r - work->offset[s];
            to[r] = (real *)out->dx + work->order[row] * out->dx_batch +
                    lstm_time_of(job->pass, work, row, s) * out->dx_time;
        }
        for (ptrdiff_t first = 0; first < work->input; first += COLS * LANES) {
            backward_product(work, n, rows, backward_panel_x(work) + first * GATES * work->padded,
                             minimum(work->input - first, COLS * LANES), to, out->dx_add);
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] += COLS * LANES;
        }
    }
}

/* Adds columns [first, last) of a block's gradient panel, which begins at column 0, to the caller's arrays. */
static void backward_unpack(const backward_context *job, ptrdiff_t block, ptrdiff_t first, ptrdiff_t last,
                            const real *panel)
{
    const fl_lstm_gradients *out = job->out;
    const ptrdiff_t hidden = job->work->hidden, input = job->work->input, width = GATES * LANES;
    const ptrdiff_t rows = minimum(LANES, hidden - block * LANES);
    const ptrdiff_t h_last = minimum(last, hidden), x_first = first > hidden ? first : hidden;
    const ptrdiff_t x_last = minimum(last, hidden + input);
    for (int gate = 0; gate < GATES; ++gate) {
        const ptrdiff_t row = gate * hidden + block * LANES;
        const real *from = panel + gate * LANES;
        if (out->dweight_hh && first < h_last)
            transpose_add(from + first * width, width, rows, h_last - first,
                          (real *)out->dweight_hh + row * hidden + first, hidden);
        if (out->dweight_ih && x_first < x_last)
            transpose_add(from + x_first * width, width, rows, x_last - x_first,
                          (real *)out->dweight_ih + row * input + x_first - hidden, input);
        if (last == hidden + input + 1) {
            const real *sums = from + (hidden + input) * width;
            for (ptrdiff_t lane = 0; lane < rows; ++lane) {
                if (out->dbias_ih)
                    ((real *)out->dbias_ih)[row + lane] += sums[lane];
                if (out->dbias_hh)
                    ((real *)out->dbias_hh)[row + lane] += sums[lane];
            }
        }
    }
}

/* Tiles of the columns: those of h, then those of x and the 1 (in `a` they stand apart, behind the padding of h). */
typedef struct {
    ptrdiff_t h_tiles, x_tiles;
} column_tiles;

static void backward_columns(const lstm_work *work, column_tiles tiles, ptrdiff_t t, ptrdiff_t *first, ptrdiff_t *last)
{
    if (t < tiles.h_tiles) {
        *first = tile_begin(work->hidden, tiles.h_tiles, t);
        *last = tile_begin(work->hidden, tiles.h_tiles, t + 1);
    } else {
        *first = work->hidden + tile_begin(work->input + 1, tiles.x_tiles, t - tiles.h_tiles);
        *last = work->hidden + tile_begin(work->input + 1, tiles.x_tiles, t - tiles.h_tiles + 1);
    }
}

static void backward_weights(void *context, int thread, int team)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const ptrdiff_t columns = work->hidden + work->input + 1, width = GATES * LANES;
    const column_tiles tiles = {tile_count(work->hidden, ROWS), tile_count(work->input + 1, ROWS)};
    const ptrdiff_t per_block = tiles.h_tiles + tiles.x_tiles, block_n = outer_block(work->lda);
    ptrdiff_t begin, end, first, last;
    fl_share(work->blocks * per_block, thread, team, &begin, &end);
    for (ptrdiff_t t = begin; t < end; ++t) {
        backward_columns(work, tiles, t % per_block, &first, &last);
        memset(work->panel + (t / per_block * columns + first) * width, 0,
               (size_t)((last - first) * width) * sizeof(real));
    }
    for (ptrdiff_t n = 0; n < work->steps; n += block_n)
        for (ptrdiff_t t = begin; t < end; ++t) {
            const ptrdiff_t block = t / per_block;
            backward_columns(work, tiles, t % per_block, &first, &last);
            const ptrdiff_t offset = first < work->hidden ? first : work->padded + first - work->hidden;
            for (int pass = 0; pass < PASSES; ++pass) {
                outer_job tile = {
                    .a = work->a + n * work->lda + offset,
                    .lda = work->lda,
                    .g = work->gates + (block * work->ldn + n) * width + pass * COLS * LANES,
                    .ldg = width,
                    .n = minimum(block_n, work->steps - n),
                    .d = work->panel + (block * columns + first) * width + pass * COLS * LANES,
                    .ldd = width,
                    .count = COLS * LANES,
                };
                outer_product(&tile, (int)(last - first), COLS);
            }
        }
    for (ptrdiff_t t = begin; t < end;) { /* all of the thread's tiles of one block at a time */
        const ptrdiff_t block = t / per_block, next = minimum(end, (block + 1) * per_block);
        ptrdiff_t unused;
        backward_columns(work, tiles, t % per_block, &first, &unused);
        backward_columns(work, tiles, (next - 1) % per_block, &unused, &last);
        backward_unpack(job, block, first, last, work->panel + block * columns * width);
        t = next;
    }
}

static void lstm_backward(const fl_lstm_pass *pass, const fl_lstm_gradients *out)
{
    lstm_work work;
    lstm_lay_out(pass, &work); /* the forward pass has filled what is laid out here, the order of the rows included */
    const lstm_plan plan = lstm_make_plan(pass, &work);
    backward_context context = {
        .pass = pass,
        .out = out,
        .work = &work,
        .by_units = plan.by_units,
        .h_vectors = plan.by_units ? minimum(COLS, tile_count(work.blocks, plan.n_threads)) : COLS,
    };
    const double weights = 4.0 * (double)work.padded * (double)(work.hidden + work.input);
    const int n_threads = fl_worthwhile_threads(pass->n_threads, (double)work.steps * weights);
    fl_parallel(fl_worthwhile_threads(pass->n_threads, weights), backward_pack, &context);
    fl_parallel(plan.n_threads, backward_body, &context);
    if (out->dx)
        fl_parallel(n_threads, backward_inputs, &context);
    if (out->dweight_ih || out->dweight_hh || out->dbias_ih || out->dbias_hh)
        fl_parallel(n_threads, backward_weights, &context);
}
