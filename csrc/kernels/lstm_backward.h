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
 * The team walks back through some steps, by rows or by units as in the forward pass, with inner products of dz and the
 * transposed W_hh. What these steps leave are matrix products over (row, step) pairs n with no time structure: dx is shared
 * out by n (by rows it is part of the walk); the weight gradient by tiles of the result, each summed by one thread in an
 * order that depends on the shape alone. Then come the steps before. tanh(c_t) is computed again rather than stored, and
 * h_t with it. With checkpoint_every all this is done segment by segment (lstm.h).
 */

typedef struct {
    const fl_lstm_pass *pass;
    const fl_lstm_gradients *out;
    const lstm_work *work;
    lstm_plan plan;
    ptrdiff_t first;              /* step at which the segment begins */
    ptrdiff_t begin, end;         /* the steps to walk back through, of this segment */
    ptrdiff_t sum_begin, sum_end; /* the steps to add to the weight gradient */
    ptrdiff_t h_vectors;          /* width of a panel of W_hh', in vectors */
    fl_barrier barrier;
} backward_context;

/* Where the panels of W_ih' begin: behind those of W_hh', which have `recurrent_padded` columns. */
static real *backward_panel_x(const lstm_work *work)
{
    return work->transposed + work->recurrent_padded * GATES * work->padded;
}

/* The first pair n of a step, which in a segment count from its beginning. */
static ptrdiff_t backward_pair(const backward_context *job, ptrdiff_t s)
{
    return job->work->offset[s] - job->work->offset[job->first];
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
                const int row = lstm_gate_row(work, gate);
                ptrdiff_t unit = block * LANES + lane, c = 0;
                if (unit < work->hidden && row >= 0) {
                    const real *from = row_of(weight, row * work->hidden + unit, columns) + first;
                    for (; c < width; ++c)
                        to[c] = from[c];
                }
                for (; c < padded; ++c)
                    to[c] = 0;
            }
}

static void backward_pack(void *context, ptrdiff_t thread, ptrdiff_t team)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const ptrdiff_t panels_h = tile_count(work->recurrent_blocks, job->h_vectors);
    const ptrdiff_t panels_x = job->out->dx ? tile_count(work->input, COLS * LANES) : 0;
    ptrdiff_t begin, end;
    fl_share(panels_h + panels_x, thread, team, &begin, &end);
    for (ptrdiff_t p = begin; p < end; ++p) {
        if (p < panels_h)
            backward_pack_matrix(work, job->pass->weight_hh, work->recurrent, p * job->h_vectors * LANES, job->h_vectors,
                                 work->transposed);
        else
            backward_pack_matrix(work, job->pass->weight_ih, work->input, (p - panels_h) * COLS * LANES, COLS,
                                 backward_panel_x(work));
    }
}

/* Adds dL/dy to dh. Row by row, for its own sake: with the blocks outside, as in backward_cells, each access to dy is on
 * another page (256 rows, 187 steps, hidden 64: the walk took twice as long). */
static void backward_load(const backward_context *job, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t unit = share->h_begin * LANES;
    const ptrdiff_t units = minimum(share->h_end * LANES, work->recurrent) - unit;
    for (ptrdiff_t row = share->row_begin; row < end; ++row) {
        const real *dy = (const real *)out->dy + work->order[row] * out->dy_batch +
                         lstm_time_of(job->pass, work, row, s) * out->dy_time + unit;
        real *dh = work->dh + row * work->recurrent_padded + unit;
        for (ptrdiff_t u = 0; u < units; ++u)
            dh[u] += dy[u];
    }
}

/* The gates of step s become the gradients of z, dc moves one step back, and h_t takes the place of c_t. */
static void backward_cells(const backward_context *job, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    const V one = v_set(1);
    for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block) {
        real *gates = work->gates + (block * work->ldn + work->offset[s] - work->offset[job->first]) * GATES * LANES;
        real *cells = work->cells + (block * work->ldc + lstm_cells_at(work, job->first, s)) * LANES;
        real *before = work->cells + (block * work->ldc + lstm_cells_at(work, job->first, s - 1)) * LANES;
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
            v_store(cells + row * LANES, o * tanh_c);
        }
        if (s == job->first) {
            const real *h0 = lstm_state_h(work, s / work->segment) + block * work->batch * LANES;
            memcpy(before + share->row_begin * LANES, h0 + share->row_begin * LANES,
                   (size_t)((end - share->row_begin) * LANES) * sizeof(real));
        }
    }
}

/* Where the gradients of W_ih x stand: those of z, but for layer normalisation. */
static const real *backward_gates_x(const lstm_work *work)
{
    return work->of_cell.gates_x ? work->of_cell.gates_x : work->gates;
}

/* to[r][0 .. count) = dz[n + r] times one panel of a transposed weight matrix. */
static void backward_product(const lstm_work *work, const real *gates, ptrdiff_t n, ptrdiff_t rows, const real *panel,
                             ptrdiff_t count, real **to, int add)
{
    const inner_job job = {
        .a = gates + n * GATES * LANES,
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
    const ptrdiff_t n = work->offset[s] - work->offset[job->first];
    const ptrdiff_t live = end - share->row_begin, tiles = tile_count(live, ROWS);
    for (ptrdiff_t block = share->h_begin; block < share->h_end; block += job->h_vectors) {
        const ptrdiff_t count = minimum(job->h_vectors, work->recurrent_blocks - block) * LANES;
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = share->row_begin + tile_begin(live, tiles, t);
            const ptrdiff_t rows = share->row_begin + tile_begin(live, tiles, t + 1) - first;
            real *to[ROWS];
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] = work->dh + (first + r) * work->recurrent_padded + block * LANES;
            backward_product(work, work->gates, n + first, rows, work->transposed + block * LANES * GATES * work->padded,
                             count, to, 0);
        }
    }
    if (work->cell)
        cell_backward_read(work, share, end);
}

static void backward_begin(const backward_context *job, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    for (ptrdiff_t row = begin; row < end; ++row) {
        const real *dhn = row_of(job->out->dhn, work->order[row], work->recurrent);
        real *dh = work->dh + row * work->recurrent_padded;
        memset(dh, 0, (size_t)work->recurrent_padded * sizeof(real));
        if (dhn)
            memcpy(dh, dhn, (size_t)work->recurrent * sizeof(real));
        lstm_pack_state(work, row, row_of(job->out->dcn, work->order[row], work->hidden), work->dc);
    }
}

static void backward_end(const backward_context *job, ptrdiff_t begin, ptrdiff_t end)
{
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t recurrent = work->recurrent;
    for (ptrdiff_t row = begin; row < end; ++row) {
        const ptrdiff_t b = work->order[row];
        if (out->dh0)
            memcpy((real *)out->dh0 + b * recurrent, work->dh + row * work->recurrent_padded,
                   (size_t)recurrent * sizeof(real));
        if (out->dc0)
            lstm_unpack_state(work, work->dc + row * LANES, work->batch * LANES, (real *)out->dc0 + b * work->hidden);
        if (out->dx && !out->dx_add)
            for (ptrdiff_t t = work->length[row]; t < work->time; ++t)
                memset((real *)out->dx + b * out->dx_batch + t * out->dx_time, 0,
                       (size_t)work->input * sizeof(real));
    }
}

/* dx_t = W_ih' dz for some rows of dz, to[r] in number: pairs n, n + 1, ... */
static void backward_inputs_tile(const backward_context *job, ptrdiff_t n, ptrdiff_t rows, real **to)
{
    const lstm_work *work = job->work;
    for (ptrdiff_t first = 0; first < work->input; first += COLS * LANES) {
        backward_product(work, backward_gates_x(work), n, rows, backward_panel_x(work) + first * GATES * work->padded,
                         minimum(work->input - first, COLS * LANES), to, job->out->dx_add);
        for (ptrdiff_t r = 0; r < rows; ++r)
            to[r] += COLS * LANES;
    }
}

static real *backward_dx(const backward_context *job, ptrdiff_t row, ptrdiff_t s)
{
    return (real *)job->out->dx + job->work->order[row] * job->out->dx_batch +
           lstm_time_of(job->pass, job->work, row, s) * job->out->dx_time;
}

/* dx of the share's rows, while their dz are in the cache (256 rows, 187 steps, input 1, hidden 64: a pass over all dz
 * of its own took .68 of the time of the product with W_hh, a quarter of which is arithmetic). */
static void backward_inputs_step(const backward_context *job, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t live = end - share->row_begin, tiles = tile_count(live, ROWS);
    for (ptrdiff_t t = 0; t < tiles; ++t) {
        const ptrdiff_t row = share->row_begin + tile_begin(live, tiles, t);
        const ptrdiff_t rows = share->row_begin + tile_begin(live, tiles, t + 1) - row;
        real *to[ROWS];
        for (ptrdiff_t r = 0; r < rows; ++r)
            to[r] = backward_dx(job, row + r, s);
        backward_inputs_tile(job, work->offset[s] - work->offset[job->first] + row, rows, to);
    }
}

/* dx of a part of all n: after a walk by units, in which no thread has all of a row's dz. */
static void backward_inputs(void *argument, ptrdiff_t task, ptrdiff_t tasks)
{
    const backward_context *job = argument;
    const lstm_work *work = job->work;
    ptrdiff_t begin, end, s = job->begin;
    const ptrdiff_t all = backward_pair(job, job->begin), before = work->offset[job->first];
    fl_share(backward_pair(job, job->end) - all, task, tasks, &begin, &end);
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    for (ptrdiff_t t = 0; t < tiles; ++t) {
        const ptrdiff_t n = all + begin + tile_begin(end - begin, tiles, t);
        const ptrdiff_t rows = all + begin + tile_begin(end - begin, tiles, t + 1) - n;
        real *to[ROWS];
        for (ptrdiff_t r = 0; r < rows; ++r) {
            while (work->offset[s + 1] - before <= n + r)
                ++s;
            to[r] = backward_dx(job, n + r + before - work->offset[s], s);
        }
        backward_inputs_tile(job, n, rows, to);
    }
}

/* Walks one share back through the segment. */
static void backward_walk(void *context, ptrdiff_t number, ptrdiff_t shares)
{
    backward_context *job = context;
    const lstm_work *work = job->work;
    const int by_units = job->plan.by_units, team = (int)shares;
    const lstm_share share = lstm_share_walk(work, by_units, job->h_vectors, number, shares);
    unsigned round = 0;
    if (job->end == work->time)
        backward_begin(job, share.own_begin, share.own_end);
    if (by_units)
        fl_wait(&job->barrier, &round, team);
    for (ptrdiff_t s = job->end - 1; s >= job->begin; --s) {
        const ptrdiff_t end = minimum(share.row_end, work->active[s]);
        if (end <= share.row_begin)
            continue; /* no row of this share is that long: by rows, or for the whole team */
        if (job->out->dy)
            backward_load(job, &share, s, end);
        if (work->cell) {
            const backward_step step = {
                .work = work,
                .pair = backward_pair(job, s),
                .cells = work->cells + lstm_cells_at(work, job->first, s) * LANES,
                .before = work->cells + lstm_cells_at(work, job->first, s - 1) * LANES,
            };
            cell_draw(job->pass, work, &share, s, end);
            cell_backward(&step, &share, end);
        } else {
            backward_cells(job, &share, s, end);
        }
        if (by_units)
            fl_wait(&job->barrier, &round, team);
        if (s > 0 || job->out->dh0)
            backward_hidden(job, &share, s, end);
        if (job->out->dx && !by_units)
            backward_inputs_step(job, &share, s, end);
    }
    if (by_units)
        fl_wait(&job->barrier, &round, team);
    if (job->begin == 0)
        backward_end(job, share.own_begin, share.own_end);
}

/* The tiles of the weight gradient: for each block of units (rows of W) those of the columns h, then those of x and 1. An h
 * tile has columns of one block of units, where they stand side by side in `cells`. */
typedef struct {
    ptrdiff_t per_block, last_block; /* h tiles of a block of columns, and of the last block, which may be narrower */
    ptrdiff_t h_tiles, x_tiles, all; /* of one block of rows */
} gradient_tiles;

static gradient_tiles backward_tiles(const lstm_work *work)
{
    gradient_tiles tiles;
    tiles.per_block = tile_count(LANES, ROWS);
    tiles.last_block = tile_count(work->recurrent - (work->recurrent_blocks - 1) * LANES, ROWS);
    tiles.h_tiles = (work->recurrent_blocks - 1) * tiles.per_block + tiles.last_block;
    tiles.x_tiles = tile_count(work->input + 1, ROWS);
    tiles.all = tiles.h_tiles + tiles.x_tiles;
    return tiles;
}

/* The columns [*begin, *end) of an h tile. */
static void backward_h_columns(const lstm_work *work, const gradient_tiles *tiles, ptrdiff_t t, ptrdiff_t *begin,
                               ptrdiff_t *end)
{
    const ptrdiff_t block = t / tiles->per_block, in_block = t - block * tiles->per_block;
    const ptrdiff_t units = minimum(LANES, work->recurrent - block * LANES);
    const ptrdiff_t count = block == work->recurrent_blocks - 1 ? tiles->last_block : tiles->per_block;
    *begin = block * LANES + tile_begin(units, count, in_block);
    *end = block * LANES + tile_begin(units, count, in_block + 1);
}

/* Adds the pairs [n, n + count) to one tile: `a` are the rows of what is multiplied with the gradients of z, `gates`. */
static void backward_add(const lstm_work *work, const real *gates, ptrdiff_t block, ptrdiff_t column, ptrdiff_t columns,
                         const real *a, ptrdiff_t lda, ptrdiff_t n, ptrdiff_t count)
{
    const ptrdiff_t width = GATES * LANES, all = work->recurrent + work->input + 1;
    for (int pass = 0; pass < PASSES; ++pass) {
        const outer_job tile = {
            .a = a,
            .lda = lda,
            .g = gates + (block * work->ldn + n) * width + pass * COLS * LANES,
            .ldg = width,
            .n = count,
            .d = work->gradient + (block * all + column) * width + pass * COLS * LANES,
            .ldd = width,
            .count = COLS * LANES,
        };
        outer_product(&tile, (int)columns, COLS);
    }
}

/* The h tiles among [begin, end), for the pairs from n, which is of step s or later, up to n_end. h_(t-1) stands in `cells`
 * (`h_read` of other cells) at a distance that changes only where rows have ended. */
static void backward_add_h(const backward_context *job, const gradient_tiles *tiles, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t before = work->offset[job->first];
    const real *h = work->cell ? work->of_cell.h_read : work->cells;
    while (n < n_end) {
        while (work->offset[s + 1] - before <= n)
            ++s;
        const ptrdiff_t ahead = lstm_cells_at(work, job->first, s - 1) - (work->offset[s] - before);
        ptrdiff_t stop = s + 1;
        while (work->offset[stop] - before < n_end && work->active[stop - 1] == lstm_alive(work, s - 1))
            ++stop;
        const ptrdiff_t count = minimum(work->offset[stop] - before, n_end) - n;
        for (ptrdiff_t t = begin; t < end; ++t) {
            ptrdiff_t column, column_end;
            if (t % tiles->all >= tiles->h_tiles)
                continue;
            backward_h_columns(work, tiles, t % tiles->all, &column, &column_end);
            const ptrdiff_t block = column / LANES;
            backward_add(work, work->gates, t / tiles->all, column, column_end - column,
                         h + (block * work->ldc + n + ahead) * LANES + column - block * LANES, LANES, n, count);
        }
        n += count;
    }
}

/* Puts columns [column, column + columns) of x and 1 side by side, for the pairs from n of step s or later to n_end. */
static void backward_gather_x(const backward_context *job, ptrdiff_t column, ptrdiff_t columns, ptrdiff_t s, ptrdiff_t n,
                              ptrdiff_t n_end, real *to)
{
    const fl_lstm_pass *pass = job->pass;
    const lstm_work *work = job->work;
    const ptrdiff_t before = work->offset[job->first], inputs = minimum(columns, work->input - column);
    for (; n < n_end; ++n, to += columns) {
        while (work->offset[s + 1] - before <= n)
            ++s;
        const ptrdiff_t row = n + before - work->offset[s];
        const real *from = (const real *)pass->x + work->order[row] * pass->x_batch +
                           lstm_time_of(pass, work, row, s) * pass->x_time + column;
        for (ptrdiff_t k = 0; k < inputs; ++k)
            to[k] = from[k];
        if (inputs < columns)
            to[inputs] = 1;
    }
}

/* The x tiles among [begin, end): as backward_add_h. */
static void backward_add_x(const backward_context *job, const gradient_tiles *tiles, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end)
{
    const lstm_work *work = job->work;
    real x[TERMS * ROWS];
    for (ptrdiff_t tile = 0; tile < tiles->x_tiles; ++tile) {
        const ptrdiff_t column = tile_begin(work->input + 1, tiles->x_tiles, tile);
        const ptrdiff_t columns = tile_begin(work->input + 1, tiles->x_tiles, tile + 1) - column;
        int gathered = 0;
        for (ptrdiff_t block = begin / tiles->all; block * tiles->all < end; ++block) {
            const ptrdiff_t t = block * tiles->all + tiles->h_tiles + tile;
            if (t < begin || t >= end)
                continue;
            if (!gathered)
                backward_gather_x(job, column, columns, s, n, n_end, x);
            gathered = 1;
            backward_add(work, backward_gates_x(work), block, work->recurrent + column, columns, x, columns, n, n_end - n);
        }
    }
}

/* One part of the weight gradient's tiles, over all pairs of steps [sum_begin, sum_end). The pairs are taken in groups
 * of whole steps, the latest group first, so that it makes no difference where a segment or a walk begins; a group of many
 * rows in pieces. */
static void backward_weights(void *context, ptrdiff_t task, ptrdiff_t tasks)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const gradient_tiles tiles = backward_tiles(work);
    ptrdiff_t begin, end, block_begin = 0, block_end = 0;
    fl_share(work->blocks * tiles.all, task, tasks, &begin, &end);
    if (work->cell && work->cell->projection)
        fl_share(work->blocks, task, tasks, &block_begin, &block_end);
    for (ptrdiff_t s = (job->sum_end - 1) / work->group * work->group; s >= job->sum_begin; s -= work->group) {
        const ptrdiff_t group_end = backward_pair(job, minimum(s + work->group, job->sum_end));
        const ptrdiff_t group_begin = backward_pair(job, s), pairs = group_end - group_begin;
        const ptrdiff_t pieces = tile_count(pairs, TERMS);
        for (ptrdiff_t piece = 0; piece < pieces; ++piece) {
            const ptrdiff_t n = group_begin + tile_begin(pairs, pieces, piece);
            const ptrdiff_t n_end = group_begin + tile_begin(pairs, pieces, piece + 1);
            backward_add_h(job, &tiles, begin, end, s, n, n_end);
            backward_add_x(job, &tiles, begin, end, s, n, n_end);
            projection_backward(work, block_begin, block_end, lstm_alive(work, job->first - 1), n, n_end);
        }
    }
}

/* Adds the sums of some blocks to the caller's arrays. */
static void backward_unpack(void *context, ptrdiff_t thread, ptrdiff_t team)
{
    const backward_context *job = context;
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t hidden = work->hidden, recurrent = work->recurrent, input = work->input, width = GATES * LANES;
    const int norm = work->cell && work->cell->layer_norm; /* dbias is no sum of dz's columns then: cell_unpack */
    ptrdiff_t begin, end;
    fl_share(work->blocks, thread, team, &begin, &end);
    for (ptrdiff_t block = begin; block < end; ++block) {
        const ptrdiff_t rows = minimum(LANES, hidden - block * LANES);
        for (int gate = 0; gate < GATES; ++gate) {
            const int of_caller = lstm_gate_row(work, gate);
            const ptrdiff_t row = of_caller * hidden + block * LANES;
            const real *from = work->gradient + block * (recurrent + input + 1) * width + gate * LANES;
            if (of_caller < 0)
                continue;
            if (out->dweight_hh)
                transpose_add(from, width, rows, recurrent, (real *)out->dweight_hh + row * recurrent, recurrent);
            from += recurrent * width;
            if (out->dweight_ih)
                transpose_add(from, width, rows, input, (real *)out->dweight_ih + row * input, input);
            from += input * width;
            for (ptrdiff_t lane = 0; lane < rows && !norm; ++lane) {
                if (out->dbias_ih)
                    ((real *)out->dbias_ih)[row + lane] += from[lane];
                if (out->dbias_hh)
                    ((real *)out->dbias_hh)[row + lane] += from[lane];
            }
        }
    }
}

/* Tasks for work that falls into `parts`: one for one thread, some for each of several. Few, because each of the weights'
 * tasks goes through all of `cells` (8 for 2 threads: 256 rows, 187 steps, hidden 64 +13 %; 2: a thread that is held up
 * would be waited for). */
static ptrdiff_t backward_cut(int n_threads, ptrdiff_t parts)
{
    return n_threads < 2 ? 1 : minimum((ptrdiff_t)n_threads * 2, parts);
}

/* Steps of a walk: whole groups whose gates and cells fit the second-level caches of the team, for the weight gradient to
 * find them there. */
static ptrdiff_t backward_stride(const lstm_work *work, int n_threads)
{
    const double step = (GATES + 1.0) * (double)(work->batch * work->padded) * sizeof(real);
    const double groups = fl_second_level_cache() * n_threads / (step * (double)work->group);
    return groups < 1 ? work->group : groups < (double)work->time ? (ptrdiff_t)groups * work->group : work->time;
}

/* Walks back through some steps, and adds to the weights' gradient what can be added then: h before the first step of the
 * walk stands in its place only when the walk has gone one step further, so one group is left for the next time. */
static void backward_steps(backward_context *context, double weights, int want_weights)
{
    const lstm_plan plan = context->plan;
    const ptrdiff_t pairs = backward_pair(context, context->end) - backward_pair(context, context->begin);
    const int n_threads = fl_worthwhile_threads(context->pass->n_threads, (double)pairs * weights);
    context->barrier.arrived = 0;
    lstm_run(&plan, backward_walk, context);
    if (context->out->dx && plan.by_units)
        fl_parallel_tasks(n_threads, backward_cut(n_threads, tile_count(pairs, ROWS)), backward_inputs, context);
    context->sum_begin = context->begin + (context->begin > context->first ? context->work->group : 0);
    if (want_weights && context->sum_begin < context->sum_end) {
        const ptrdiff_t tiles = context->work->blocks * backward_tiles(context->work).all;
        fl_parallel_tasks(n_threads, backward_cut(n_threads, tiles), backward_weights, context);
        context->sum_end = context->sum_begin;
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
        .plan = plan,
        .h_vectors = plan.by_units ? minimum(COLS, tile_count(work.blocks, plan.n_threads)) : COLS,
    };
    const double weights = 4.0 * (double)work.padded * (double)(work.recurrent + work.input);
    const int few = fl_worthwhile_threads(pass->n_threads, weights);
    const int want_weights = out->dweight_ih || out->dweight_hh || out->dbias_ih || out->dbias_hh || out->dweight_hr;
    const ptrdiff_t stride = backward_stride(&work, plan.n_threads);
    fl_parallel(few, backward_pack, &context);
    if (want_weights)
        memset(work.gradient, 0, (size_t)(4 * work.padded * (work.recurrent + work.input + 1)) * sizeof(real));
    if (work.cell)
        cell_backward_begin(&work);
    for (ptrdiff_t segment = work.segments - 1; segment >= 0; --segment) {
        const ptrdiff_t last = minimum((segment + 1) * work.segment, work.time);
        context.first = segment * work.segment;
        if (segment < work.segments - 1) {
            forward_context forward = {.pass = pass, .work = &work, .plan = plan, .begin = context.first, .end = last,
                                       .keep = context.first, .again = 1};
            lstm_run(&plan, forward_walk, &forward);
        }
        context.begin = context.sum_end = last;
        do { /* once with no steps at all, too: the state's gradient goes through */
            context.end = context.begin;
            context.begin = context.end > stride + context.first ? context.end - stride : context.first;
            context.begin = context.first + round_up(context.begin - context.first, work.group);
            backward_steps(&context, weights, want_weights);
        } while (context.begin > context.first);
    }
    if (want_weights)
        fl_parallel(few, backward_unpack, &context);
    if (work.cell)
        cell_unpack(&work, out);
}
