/* kernels/lstm/weight_gradient.h - the weight gradient, over all (row, step) pairs n of some steps. Layouts: lstm.h.
 *
 *   dW_ih = sum dz x_t'              dW_hh = sum dz h_(t-1)'      db_ih = db_hh = sum dz        over rows and steps
 *
 * The work is shared out by items of the result, each summed by one thread in an order that depends on the shape alone.
 *
 * Vectors lie across columns of W: tiles of a few units of a gate, times COLS vectors of h or x. Their sums are added to
 * the caller's arrays directly. h_(t-1) is read where the walk has left it, and the columns of x are copied next to each
 * other first. Vectors across units, for which dz need not be broadcast, gave the same rate with much work, but the
 * transposed sums had to be set to zero, read and written once more, which took a quarter of a training step of few
 * rows and steps; and x was copied by six columns at a time (106 rows, 317 steps, input 272, hidden 32: 14 % of a
 * training step). They are still used for the columns of x that fill at most half of the widest vector, and for the bias.
 */

/* The number of tasks for work that can be cut into `parts`: one for one thread, a few for each of several threads.
 * Few, because each of the weights' tasks goes through all of `cells` (8 for 2 threads: 256 rows, 187 steps, hidden 64
 * +13 %; 2: the others would wait for a thread that is delayed). */
static ptrdiff_t backward_cut(int n_threads, ptrdiff_t parts)
{
    return n_threads < 2 ? 1 : minimum((ptrdiff_t)n_threads * 2, parts);
}

/* The columns of h and x in chunks of COLS vectors. An item is a chunk, for one gate of one bank of units; or, behind
 * all of these, the narrow columns and the bias of a bank. */
typedef struct {
    ptrdiff_t banks, per_chunk;       /* items of a chunk */
    ptrdiff_t h_chunks, chunks, wide; /* chunks of h, chunks in total, items of chunks */
    ptrdiff_t items;
} gradient_parts;

static gradient_parts gradient_parts_of(const lstm_work *work)
{
    gradient_parts parts;
    parts.banks = tile_count(work->hidden, UNITS);
    parts.per_chunk = parts.banks * GATES;
    if (lstm_bf16_way(work)) { /* weight_gradient_bf16.h has the chunks */
        parts.h_chunks = parts.chunks = parts.wide = 0;
        parts.items = parts.banks;
        return parts;
    }
    parts.h_chunks = tile_count(work->recurrent_blocks, COLS);
    parts.chunks = parts.h_chunks + tile_count(work->input - gradient_narrow(work), COLS * LANES);
    parts.wide = parts.chunks * parts.per_chunk;
    parts.items = parts.wide + parts.banks;
    return parts;
}

/* Columns of one array: h or x. */
typedef struct {
    const real *values; /* (count)(vectors)(LANES): pairs `row` apart, vectors `vector` apart */
    ptrdiff_t row, vector;
    ptrdiff_t first, columns; /* of W */
    real *gradient;           /* (rows of W, ld); NULL: not wanted */
    ptrdiff_t ld;
} gradient_columns;

/* Where the gradients of z of a bank begin at pair n, in `gates`; the next pair is *row further, the next gate *width. */
static const real *gradient_bank(const lstm_work *work, const real *gates, ptrdiff_t bank, ptrdiff_t n, ptrdiff_t *row,
                                 ptrdiff_t *width)
{
    gates += lstm_gates_at(work, bank * PARTS, n, width);
    *row = GATES * *width;
    return gates;
}

/* Add the pairs [n, n + count) to those items of a chunk that are in [begin, end). */
static void gradient_add(const lstm_work *work, const gradient_parts *parts, const real *gates, ptrdiff_t chunk,
                         ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n, ptrdiff_t count, const gradient_columns *columns)
{
    const ptrdiff_t item_end = minimum(parts->per_chunk, end - chunk * parts->per_chunk);
    ptrdiff_t item = begin - chunk * parts->per_chunk, lda, width;
    if (!columns->gradient)
        return;
    for (item = item < 0 ? 0 : item; item < item_end; ++item) {
        const ptrdiff_t bank = item / GATES, gate = item % GATES, row = lstm_gate_row(work, (int)gate);
        const ptrdiff_t units = minimum(UNITS, work->hidden - bank * UNITS), tiles = tile_count(units, ROWS);
        const real *dz = gradient_bank(work, gates, bank, n, &lda, &width) + gate * width;
        for (ptrdiff_t t = 0; t < tiles && row >= 0; ++t) {
            const ptrdiff_t unit = tile_begin(units, tiles, t), rows = tile_begin(units, tiles, t + 1) - unit;
            const outer_job tile = {
                .a = dz + unit,
                .lda = lda,
                .g = columns->values,
                .ldg = columns->row,
                .ldv = columns->vector,
                .n = count,
                .d = columns->gradient + (row * work->hidden + bank * UNITS + unit) * columns->ld + columns->first,
                .ldd = columns->ld,
                .count = columns->columns,
            };
            outer_product(&tile, (int)rows, (int)tile_count(columns->columns, LANES));
        }
    }
}

/* Add to the items of h among [begin, end) the pairs from n, which belongs to step s or later, up to n_end. h_(t-1) is in
 * `cells` (`h_read` of other cells), at a distance from n that changes only where rows have ended. */
static void backward_add_h(const backward_context *job, const gradient_parts *parts, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t before = work->offset[job->first], per_chunk = parts->per_chunk;
    const real *h = work->cell ? work->cell_ws.h_read : work->cells;
    const ptrdiff_t last = minimum(parts->h_chunks, tile_count(minimum(end, parts->wide), per_chunk));
    while (n < n_end) {
        while (work->offset[s + 1] - before <= n)
            ++s;
        const ptrdiff_t h_offset = lstm_cells_at(work, job->first, s - 1) - (work->offset[s] - before);
        ptrdiff_t stop = s + 1;
        while (work->offset[stop] - before < n_end && work->active[stop - 1] == lstm_alive(work, s - 1))
            ++stop;
        const ptrdiff_t count = minimum(work->offset[stop] - before, n_end) - n;
        for (ptrdiff_t chunk = begin / per_chunk; chunk < last; ++chunk) {
            const ptrdiff_t block = chunk * COLS;
            const gradient_columns columns = {
                .values = h + (block * work->ldc + n + h_offset) * LANES,
                .row = LANES,
                .vector = work->ldc * LANES,
                .first = block * LANES,
                .columns = minimum(COLS * LANES, work->recurrent - block * LANES),
                .gradient = job->out->dweight_hh,
                .ld = work->recurrent,
            };
            gradient_add(work, parts, work->gates, chunk, begin, end, n, count, &columns);
        }
        n += count;
    }
}

/* Copy columns [column, column + columns) of x next to each other, `width` apart, for the pairs from n, of step s or
 * later, to n_end; fill up with `fill`. */
static void backward_gather_x(const backward_context *job, ptrdiff_t column, ptrdiff_t columns, ptrdiff_t width,
                              real fill, ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end, real *to)
{
    const fl_lstm_pass *pass = job->pass;
    const lstm_work *work = job->work;
    const ptrdiff_t before = work->offset[job->first];
    for (; n < n_end; ++n, to += width) {
        while (work->offset[s + 1] - before <= n)
            ++s;
        const ptrdiff_t row = n + before - work->offset[s];
        const real *from = lstm_x_at(pass, work, row, s) + column;
        ptrdiff_t k = 0;
        for (; k + LANES <= columns; k += LANES)
            v_store(to + k, v_load(from + k));
        for (; k < columns; ++k)
            to[k] = from[k];
        for (; k < width; ++k)
            to[k] = fill;
    }
}

/* Add to the items of x among [begin, end), as backward_add_h does to those of h. */
static void backward_add_x(const backward_context *job, const gradient_parts *parts, ptrdiff_t begin, ptrdiff_t end,
                           ptrdiff_t s, ptrdiff_t n, ptrdiff_t n_end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t per_chunk = parts->per_chunk, narrow = gradient_narrow(work);
    const ptrdiff_t wide = work->input - narrow, last = tile_count(minimum(end, parts->wide), per_chunk);
    real x[TERMS * (COLS * LANES > UNITS ? COLS * LANES : UNITS)];
    ptrdiff_t chunk = begin / per_chunk;
    for (chunk = chunk < parts->h_chunks ? parts->h_chunks : chunk; chunk < last && job->out->dweight_ih; ++chunk) {
        const ptrdiff_t first = (chunk - parts->h_chunks) * COLS * LANES, count = minimum(COLS * LANES, wide - first);
        const ptrdiff_t width = round_up(count, LANES);
        const gradient_columns columns = {
            .values = x,
            .row = width,
            .vector = LANES,
            .first = first,
            .columns = count,
            .gradient = job->out->dweight_ih,
            .ld = work->input,
        };
        backward_gather_x(job, first, count, width, 0, s, n, n_end, x);
        gradient_add(work, parts, backward_gates_x(work), chunk, begin, end, n, n_end - n, &columns);
    }
    const ptrdiff_t columns = narrow + 1, tiles = tile_count(columns, ROWS);
    ptrdiff_t bank = begin - parts->wide, row, gate;
    bank = bank < 0 ? 0 : bank;
    if (bank < end - parts->wide)
        backward_gather_x(job, wide, narrow, columns, 1, s, n, n_end, x);
    for (; bank < end - parts->wide; ++bank) {
        const real *dz = gradient_bank(work, backward_gates_x(work), bank, n, &row, &gate);
        for (ptrdiff_t t = 0; t < tiles; ++t)
            for (ptrdiff_t first = 0; first < row; first += COLS * LANES) {
                const ptrdiff_t column = tile_begin(columns, tiles, t);
                const outer_job tile = {
                    .a = x + column,
                    .lda = columns,
                    .g = dz + first,
                    .ldg = row,
                    .ldv = LANES,
                    .n = n_end - n,
                    .d = work->gradient + bank * UNITS * columns * GATES + column * row + first,
                    .ldd = row,
                    .count = COLS * LANES,
                };
                outer_product(&tile, (int)(tile_begin(columns, tiles, t + 1) - column), COLS);
            }
    }
}

/* Sum one part of the weight gradient's items, over all pairs of steps [sum_begin, sum_end). The pairs are taken in
 * groups of whole steps, the latest group first, so that the sums do not depend on where a segment or a walk begins; a
 * group of many rows is summed in pieces. */
static void backward_weights(void *context, ptrdiff_t task, ptrdiff_t tasks)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const gradient_parts parts = gradient_parts_of(work);
    ptrdiff_t begin, end, block_begin = 0, block_end = 0;
    fl_share(parts.items, task, tasks, &begin, &end);
    if (work->cell && work->cell->projection)
        fl_share(work->blocks, task, tasks, &block_begin, &block_end);
    for (ptrdiff_t s = (job->sum_end - 1) / work->group * work->group; s >= job->sum_begin; s -= work->group) {
        const ptrdiff_t group_end = backward_pair(job, minimum(s + work->group, job->sum_end));
        const ptrdiff_t group_begin = backward_pair(job, s), pairs = group_end - group_begin;
        const ptrdiff_t pieces = tile_count(pairs, TERMS);
        for (ptrdiff_t piece = 0; piece < pieces; ++piece) {
            const ptrdiff_t n = group_begin + tile_begin(pairs, pieces, piece);
            const ptrdiff_t n_end = group_begin + tile_begin(pairs, pieces, piece + 1);
            backward_add_h(job, &parts, begin, end, s, n, n_end);
            backward_add_x(job, &parts, begin, end, s, n, n_end);
            projection_backward(work, block_begin, block_end, lstm_alive(work, job->first - 1), n, n_end);
        }
    }
}

/* Add the sums of the narrow columns and of the bias to the caller's arrays. */
static void backward_unpack(const backward_context *job)
{
    const fl_lstm_gradients *out = job->out;
    const lstm_work *work = job->work;
    const ptrdiff_t narrow = gradient_narrow(work);
    const int norm = work->cell && work->cell->layer_norm; /* dbias is not the sum of dz then: cell_unpack */
    for (ptrdiff_t first = 0; first < work->hidden; first += UNITS)
        for (int gate = 0; gate < GATES; ++gate) {
            const ptrdiff_t units = minimum(UNITS, work->hidden - first), caller_gate = lstm_gate_row(work, gate);
            const ptrdiff_t row = caller_gate * work->hidden + first, width = lstm_bank_width(work, first / UNITS);
            const real *from = work->gradient + first * (narrow + 1) * GATES + gate * width;
            for (ptrdiff_t unit = 0; unit < units && caller_gate >= 0; ++unit) {
                const real *sums = from + unit;
                if (out->dweight_ih) {
                    real *to = (real *)out->dweight_ih + (row + unit + 1) * work->input - narrow;
                    for (ptrdiff_t column = 0; column < narrow; ++column)
                        to[column] += sums[column * GATES * width];
                }
                if (out->dbias_ih && !norm)
                    ((real *)out->dbias_ih)[row + unit] += sums[narrow * GATES * width];
                if (out->dbias_hh && !norm)
                    ((real *)out->dbias_hh)[row + unit] += sums[narrow * GATES * width];
            }
        }
}
