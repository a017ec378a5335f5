/* kernels/lstm/weight_gradient.h - the weight gradient, over all (row, step) pairs n of some steps. Layouts: lstm.h.
 *
 *   dW_ih = sum dz x_t'              dW_hh = sum dz h_(t-1)'      db_ih = db_hh = sum dz        over rows and steps
 *
 * The work is shared out by tiles of the result, each summed by one thread in an order that depends on the shape alone.
 */

/* The tiles of the weight gradient: for each bank of units (rows of W) those of the columns h, then those of x and 1.
 * The columns of an h tile belong to one block of units, where they are contiguous in `cells`. */
typedef struct {
    ptrdiff_t per_block, last_block; /* h tiles of a block of columns, and of the last block, which may be narrower */
    ptrdiff_t h_tiles, x_tiles, all; /* of one bank of rows */
    ptrdiff_t banks;
} gradient_tiles;

static gradient_tiles backward_tiles(const lstm_work *work)
{
    gradient_tiles tiles;
    tiles.per_block = tile_count(LANES, ROWS);
    tiles.last_block = tile_count(work->recurrent - (work->recurrent_blocks - 1) * LANES, ROWS);
    tiles.h_tiles = (work->recurrent_blocks - 1) * tiles.per_block + tiles.last_block;
    tiles.x_tiles = tile_count(work->input + 1, ROWS);
    tiles.all = tiles.h_tiles + tiles.x_tiles;
    tiles.banks = tile_count(work->blocks, PARTS);
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

/* Add the pairs [n, n + count) to one tile. The rows of `a` hold what is multiplied with the gradients of z,
 * `gates`. */
static void backward_add(const lstm_work *work, const real *gates, ptrdiff_t bank, ptrdiff_t column, ptrdiff_t columns,
                         const real *a, ptrdiff_t lda, ptrdiff_t n, ptrdiff_t count)
{
    const ptrdiff_t width = GATES * lstm_bank_width(work, bank), all = work->recurrent + work->input + 1;
    const real *g = gates + bank * UNITS * work->ldn * GATES + n * width;
    real *to = work->gradient + bank * UNITS * all * GATES + column * width;
    for (ptrdiff_t first = 0; first < width; first += COLS * LANES) {
        const outer_job tile = {
            .a = a,
            .lda = lda,
            .g = g + first,
            .ldg = width,
            .n = count,
            .d = to + first,
            .ldd = width,
            .count = COLS * LANES,
        };
        outer_product(&tile, (int)columns, COLS);
    }
}

/* Add to the h tiles among [begin, end) the pairs from n, which belongs to step s or later, up to n_end. h_(t-1) is in
 * `cells` (`h_read` of other cells), at a distance from n that changes only where rows have ended. */
static void backward_add_h(const backward_context *job, const gradient_tiles *tiles, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t before = work->offset[job->first];
    const real *h = work->cell ? work->cell_ws.h_read : work->cells;
    while (n < n_end) {
        while (work->offset[s + 1] - before <= n)
            ++s;
        const ptrdiff_t h_offset = lstm_cells_at(work, job->first, s - 1) - (work->offset[s] - before);
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
                         h + (block * work->ldc + n + h_offset) * LANES + column - block * LANES, LANES, n, count);
        }
        n += count;
    }
}

/* Copy columns [column, column + columns) of x and 1 next to each other, for the pairs from n, of step s or later, to
 * n_end. */
static void backward_gather_x(const backward_context *job, ptrdiff_t column, ptrdiff_t columns, ptrdiff_t s,
                              ptrdiff_t n, ptrdiff_t n_end, real *to)
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

/* Add to the x tiles among [begin, end), as backward_add_h does to the h tiles. */
static void backward_add_x(const backward_context *job, const gradient_tiles *tiles, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end)
{
    const lstm_work *work = job->work;
    real x[TERMS * ROWS];
    for (ptrdiff_t tile = 0; tile < tiles->x_tiles; ++tile) {
        const ptrdiff_t column = tile_begin(work->input + 1, tiles->x_tiles, tile);
        const ptrdiff_t columns = tile_begin(work->input + 1, tiles->x_tiles, tile + 1) - column;
        int gathered = 0;
        for (ptrdiff_t bank = begin / tiles->all; bank * tiles->all < end; ++bank) {
            const ptrdiff_t t = bank * tiles->all + tiles->h_tiles + tile;
            if (t < begin || t >= end)
                continue;
            if (!gathered)
                backward_gather_x(job, column, columns, s, n, n_end, x);
            gathered = 1;
            backward_add(work, backward_gates_x(work), bank, work->recurrent + column, columns, x, columns, n,
                         n_end - n);
        }
    }
}

/* Sum one part of the weight gradient's tiles, over all pairs of steps [sum_begin, sum_end). The pairs are taken in
 * groups of whole steps, the latest group first, so that the sums do not depend on where a segment or a walk begins; a
 * group of many rows is summed in pieces. */
static void backward_weights(void *context, ptrdiff_t task, ptrdiff_t tasks)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const gradient_tiles tiles = backward_tiles(work);
    ptrdiff_t begin, end, block_begin = 0, block_end = 0;
    fl_share(tiles.banks * tiles.all, task, tasks, &begin, &end);
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

/* Add the sums of some blocks to the caller's arrays. */
static void backward_unpack(void *context, ptrdiff_t thread, ptrdiff_t team)
{
    const backward_context *job = context;
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t hidden = work->hidden, recurrent = work->recurrent, input = work->input;
    const int norm = work->cell && work->cell->layer_norm; /* dbias is not the sum of dz then: cell_unpack */
    ptrdiff_t begin, end;
    fl_share(work->blocks, thread, team, &begin, &end);
    for (ptrdiff_t block = begin; block < end; ++block) {
        const ptrdiff_t rows = minimum(LANES, hidden - block * LANES);
        const ptrdiff_t bank = lstm_bank_width(work, block / PARTS), width = GATES * bank;
        for (int gate = 0; gate < GATES; ++gate) {
            const int caller_gate = lstm_gate_row(work, gate);
            const ptrdiff_t row = caller_gate * hidden + block * LANES;
            const real *from = work->gradient + block / PARTS * UNITS * (recurrent + input + 1) * GATES + gate * bank +
                               block % PARTS * LANES;
            if (caller_gate < 0)
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
