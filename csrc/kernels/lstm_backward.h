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
 * First every thread walks its own rows back through all steps (inner products with the transposed weights, no barrier);
 * then the weight gradient, one matrix product over all (row, step) pairs, is shared out by tiles of the result, each
 * summed by one thread in the order of n, whatever the team. tanh(c_t) is computed again rather than stored.
 */

typedef struct {
    const fl_lstm_pass *pass;
    const fl_lstm_gradients *out;
    const lstm_work *work;
} backward_context;

/* Where the panels of W_ih' begin: behind those of W_hh', which have `padded` columns. */
static real *backward_panel_x(const lstm_work *work)
{
    return work->panel + work->padded * GATES * work->padded;
}

/* Panels of a transposed weight matrix (4 * hidden, columns): (column block)(unit block)(4)(LANES)(COLS)(LANES). */
static void backward_pack_matrix(const lstm_work *work, const void *weight, ptrdiff_t columns, ptrdiff_t first,
                                 real *panel)
{
    const ptrdiff_t width = minimum(columns - first, COLS * LANES), padded = round_up(width, LANES);
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
    const ptrdiff_t width = COLS * LANES, blocks_h = tile_count(work->hidden, width);
    const ptrdiff_t blocks_x = job->out->dx ? tile_count(work->input, width) : 0;
    ptrdiff_t begin, end;
    fl_share(blocks_h + blocks_x, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        if (b < blocks_h)
            backward_pack_matrix(work, job->pass->weight_hh, work->hidden, b * width, work->panel);
        else
            backward_pack_matrix(work, job->pass->weight_ih, work->input, (b - blocks_h) * width,
                                 backward_panel_x(work));
    }
}

/* The gates of a step become the gradients of z, and dc moves one step back. */
static void backward_cells(const lstm_work *work, ptrdiff_t s, ptrdiff_t begin, ptrdiff_t end)
{
    const V one = v_set(1);
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        real *gates = work->gates + (block * work->ldn + work->offset[s]) * GATES * LANES;
        const real *cells = work->cells + (block * work->ldn + work->offset[s]) * LANES;
        const real *before = s > 0 ? work->cells + (block * work->ldn + work->offset[s - 1]) * LANES
                                   : work->c0 + block * work->batch * LANES;
        for (ptrdiff_t row = begin; row < end; ++row) {
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

/* rows[r] (+)= dz[r] W for the columns of one transposed weight matrix; `to` is stepped along with the columns. */
static void backward_product(const lstm_work *work, ptrdiff_t n, int rows, const real *panel, ptrdiff_t columns,
                             real **to, int add)
{
    inner_job job = {
        .a = work->gates + n * GATES * LANES,
        .lda = GATES * LANES,
        .segments = work->blocks,
        .segment_stride = work->ldn * GATES * LANES,
        .k = GATES * LANES,
        .rows = to,
        .add = add,
    };
    for (ptrdiff_t first = 0; first < columns; first += COLS * LANES) {
        job.count = minimum(columns - first, COLS * LANES);
        job.w = panel + first * GATES * work->padded;
        inner_product(&job, rows, (int)((job.count + LANES - 1) / LANES));
        for (int r = 0; r < rows; ++r)
            to[r] += COLS * LANES;
    }
}

static void backward_step(const backward_context *job, ptrdiff_t s, ptrdiff_t begin, ptrdiff_t end)
{
    const fl_lstm_pass *pass = job->pass;
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    if (out->dy)
        for (ptrdiff_t row = begin; row < end; ++row) {
            const real *dy = (const real *)out->dy + work->order[row] * out->dy_batch +
                             lstm_time_of(pass, work, row, s) * out->dy_time;
            real *dh = work->dh + row * work->padded;
            for (ptrdiff_t unit = 0; unit < work->hidden; ++unit)
                dh[unit] += dy[unit];
        }
    backward_cells(work, s, begin, end);
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    for (ptrdiff_t t = 0; t < tiles; ++t) {
        real *to[ROWS];
        const ptrdiff_t first = begin + tile_begin(end - begin, tiles, t);
        const int rows = (int)(begin + tile_begin(end - begin, tiles, t + 1) - first);
        if (s > 0 || out->dh0) {
            for (int r = 0; r < rows; ++r)
                to[r] = work->dh + (first + r) * work->padded;
            backward_product(work, work->offset[s] + first, rows, work->panel, work->padded, to, 0);
        }
        if (out->dx) {
            for (int r = 0; r < rows; ++r)
                to[r] = (real *)out->dx + work->order[first + r] * out->dx_batch +
                        lstm_time_of(pass, work, first + r, s) * out->dx_time;
            backward_product(work, work->offset[s] + first, rows, backward_panel_x(work), work->input, to,
                             out->dx_add);
        }
    }
}

static void backward_body(void *context, int thread, int team)
{
    const backward_context *job = context;
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t hidden = work->hidden;
    ptrdiff_t begin, end;
    lstm_share_rows(work, thread, team, &begin, &end);
    for (ptrdiff_t row = begin; row < end; ++row) {
        const real *dhn = row_of(out->dhn, work->order[row], hidden);
        real *dh = work->dh + row * work->padded;
        memset(dh, 0, (size_t)work->padded * sizeof(real));
        if (dhn)
            memcpy(dh, dhn, (size_t)hidden * sizeof(real));
        lstm_pack_state(work, row, row_of(out->dcn, work->order[row], hidden), work->dc);
    }
    for (ptrdiff_t s = work->time - 1; s >= 0; --s) {
        const ptrdiff_t live_end = minimum(end, work->active[s]);
        if (live_end > begin)
            backward_step(job, s, begin, live_end);
    }
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

/* Adds columns [first, last) of a block's gradient panel to the caller's arrays. */
static void backward_unpack(const backward_context *job, ptrdiff_t block, ptrdiff_t first, ptrdiff_t last,
                            const real *panel)
{
    const fl_lstm_gradients *out = job->out;
    const ptrdiff_t hidden = job->work->hidden, input = job->work->input;
    for (int gate = 0; gate < GATES; ++gate)
        for (ptrdiff_t lane = 0; lane < minimum(LANES, hidden - block * LANES); ++lane) {
            const ptrdiff_t row = gate * hidden + block * LANES + lane;
            const real *from = panel + gate * LANES + lane;
            for (ptrdiff_t column = first; column < last; ++column) {
                const real value = from[(column - first) * GATES * LANES];
                if (column < hidden) {
                    if (out->dweight_hh)
                        ((real *)out->dweight_hh)[row * hidden + column] += value;
                } else if (column < hidden + input) {
                    if (out->dweight_ih)
                        ((real *)out->dweight_ih)[row * input + column - hidden] += value;
                } else {
                    if (out->dbias_ih)
                        ((real *)out->dbias_ih)[row] += value;
                    if (out->dbias_hh)
                        ((real *)out->dbias_hh)[row] += value;
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
    for (ptrdiff_t t = begin; t < end; ++t) {
        backward_columns(work, tiles, t % per_block, &first, &last);
        backward_unpack(job, t / per_block, first, last, work->panel + (t / per_block * columns + first) * width);
    }
}

static void lstm_backward(const fl_lstm_pass *pass, const fl_lstm_gradients *out)
{
    lstm_work work;
    lstm_lay_out(pass, &work); /* the forward pass has filled what is laid out here, the order of the rows included */
    backward_context context = {pass, out, &work};
    const double weights = 4.0 * (double)work.padded * (double)(work.hidden + work.input);
    fl_parallel(fl_worthwhile_threads(pass->n_threads, weights), backward_pack, &context);
    fl_parallel(lstm_row_threads(pass, &work), backward_body, &context);
    if (out->dweight_ih || out->dweight_hh || out->dbias_ih || out->dbias_hh)
        fl_parallel(fl_worthwhile_threads(pass->n_threads, (double)work.steps * weights), backward_weights, &context);
}
