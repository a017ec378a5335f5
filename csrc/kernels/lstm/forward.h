/* kernels/lstm/forward.h - the forward pass: packing, and the walk through time. Equations and layouts: lstm.h.
 *
 * A thread walks a share of the rows through all steps or, with few rows, some of the units (plan.h). At each step it
 * takes its unit blocks one after the other, so that a block's weights serve all rows from the cache, and for each
 * block it computes tiles of rows (forward_tile.h). Inference stores no gates at all. Training stores those of the last
 * segment of time, and with recompute_every the backward pass comes here to recompute each of the other segments.
 */

typedef struct {
    const fl_lstm_pass *pass;
    const lstm_work *work;
    lstm_plan plan;
    ptrdiff_t begin, end; /* the steps to walk */
    ptrdiff_t keep;       /* gates and cells are kept from this step on: the backward pass begins with this segment */
    int recompute;        /* the walk recomputes a segment before the last: all results have been written before */
    fl_barrier barrier;
} forward_context;

/* Pack one thread's share of the unit blocks. */
static void forward_pack(void *context, ptrdiff_t thread, ptrdiff_t team)
{
    const fl_lstm_pass *pass = ((forward_context *)context)->pass;
    const lstm_work *work = ((forward_context *)context)->work;
    const ptrdiff_t hidden = work->hidden, input = work->input, recurrent = work->recurrent, width = COLS * LANES;
    const real *bias_ih = pass->bias_ih, *bias_hh = pass->bias_hh;
    ptrdiff_t begin, end;
    fl_share(work->blocks, thread, team, &begin, &end);
    for (ptrdiff_t block = begin; block < end && work->bytes.way; ++block)
        BYTES_CALL(work->bytes.way, forward_bytes_pack, (pass, work, block));
    for (ptrdiff_t block = begin; block < end; ++block)
        for (int gate = 0; gate < GATES; ++gate) {
            const int caller_gate = lstm_gate_row(work, gate);
            const ptrdiff_t row = (caller_gate < 0 ? 0 : caller_gate) * hidden + block * LANES;
            const ptrdiff_t rows = caller_gate < 0 ? 0 : minimum(LANES, hidden - block * LANES);
            real *to = work->panel + (block * PASSES + gate / COLS) * (input + recurrent) * width + gate % COLS * LANES;
            real *bias = work->bias + (block * GATES + gate) * LANES;
            if (lstm_bf16_way(work)) {
                forward_bf16_pack(pass, work, block, gate, row, rows);
            } else if (!work->bytes.way) {
                transpose_to(row_of(pass->weight_ih, row, input), input, rows, input, to, width);
                transpose_to(row_of(pass->weight_hh, row, recurrent), recurrent, rows, recurrent, to + input * width,
                             width);
            }
            for (ptrdiff_t lane = 0; lane < LANES; ++lane)
                bias[lane] =
                    lane >= rows ? 0 : (bias_ih ? bias_ih[row + lane] : 0) + (bias_hh ? bias_hh[row + lane] : 0);
        }
}

/* Pack all weights where `work` has laid them out. */
static void forward_pack_all(forward_context *context)
{
    const lstm_work *work = context->work;
    const double weights = 4.0 * (double)work->padded * (double)(work->recurrent + work->input);
    fl_parallel(fl_worthwhile_threads(context->pass->n_threads, weights), forward_pack, context);
    if (work->cell)
        cell_pack(work);
    for (ptrdiff_t k = 0; work->bytes.way && context->pass->x_limits && k < work->input; ++k)
        work->bytes.inverse[k] = context->pass->x_limits[k] > 0 ? 127 / context->pass->x_limits[k] : 0;
}

static void lstm_pack(const fl_lstm_pass *pass, void *packed)
{
    lstm_work work;
    const lstm_sizes sizes = lstm_measure(pass, &work);
    lstm_lay_out_packed(&sizes, packed, 0, &work);
    forward_pack_all(&(forward_context){.pass = pass, .work = &work});
}

static real *forward_hx(const lstm_work *work, ptrdiff_t s)
{
    return work->hx + s % 2 * work->batch * work->ldhx;
}

static real *forward_h(const lstm_work *work, real *hx_next, ptrdiff_t next_active, ptrdiff_t row)
{
    return row < next_active ? hx_next + row * work->ldhx : work->final + row * work->recurrent_padded;
}

/* Whether h is in `final` rather than in `hx`, which holds integers or words of it. */
static inline int forward_h_apart(const lstm_work *work)
{
    return work->bytes.way || lstm_bf16_way(work);
}

/* Write a row's first h, and zeros to the words that fill its chunks up, in both rows of hx. The cells other than the
 * plain one write h themselves. */
static void forward_bf16_begin(const lstm_work *work, ptrdiff_t row, const real *h)
{
    const ptrdiff_t full = work->recurrent_padded / 2;
    for (int step = 0; step < 2; ++step)
        memset(work->hx + (step * work->batch + row) * work->ldhx + full, 0,
               (size_t)(work->bf16.words_h - full) * sizeof(real));
    if (!work->cell && row < work->active[0])
        bf16_write_row(h, work->recurrent_padded, work->hx + row * work->ldhx, full + work->recurrent_padded % 2);
}

/* Store the initial state of the rows. */
static void forward_begin(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t begin, ptrdiff_t end)
{
    for (ptrdiff_t row = begin; row < end; ++row) {
        const ptrdiff_t b = work->order[row];
        const real *h0 = row_of(pass->h0, b, work->recurrent);
        real *h = forward_h(work, work->hx, forward_h_apart(work) ? 0 : work->active[0], row);
        memset(h, 0, (size_t)work->recurrent_padded * sizeof(real));
        if (h0)
            memcpy(h, h0, (size_t)work->recurrent * sizeof(real));
        if (lstm_bf16_way(work))
            forward_bf16_begin(work, row, h);
        if (work->cell)
            cell_begin(work, row, h);
        if (work->bytes.way && row < work->active[0])
            BYTES_CALL(work->bytes.way, forward_bytes_h, (h, work->padded, work->hx + row * work->ldhx));
        lstm_pack_state(work, row, row_of(pass->c0, b, work->hidden), work->c0);
    }
}

/* Store the state before a segment, for the rows and units of the share that are alive in it. If the segment is kept,
 * its cells begin with this state. */
static void forward_store_state(const lstm_work *work, const lstm_share *share, ptrdiff_t s, int kept)
{
    const ptrdiff_t end = minimum(share->row_end, work->active[s]), segment = s / work->segment;
    const int in_final = work->cell || lstm_bf16_way(work);
    const real *h = in_final ? work->final : forward_hx(work, s);
    const ptrdiff_t h_row = in_final ? work->recurrent_padded : work->ldhx;
    for (ptrdiff_t row = share->row_begin; row < end; ++row) {
        for (ptrdiff_t block = share->h_begin; block < share->h_end; ++block) {
            const V value = v_load(h + row * h_row + block * LANES);
            v_store(lstm_state_h(work, segment) + (block * work->batch + row) * LANES, value);
            if (kept && work->cell)
                v_store(work->cell_ws.h_read + (block * work->ldc + row) * LANES, cell_read(work, row, block, value));
        }
        for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block) {
            const ptrdiff_t at = (block * work->batch + row) * LANES;
            const V c = v_load(work->c0 + at);
            v_store(lstm_state_c(work, segment) + at, c);
            if (kept)
                v_store(work->cells + (block * work->ldc + row) * LANES, c);
        }
    }
}

/* Load the state before a segment that is recomputed. */
static void forward_load_state(const lstm_work *work, const lstm_share *share, ptrdiff_t s)
{
    const ptrdiff_t segment = s / work->segment;
    real *hx = forward_hx(work, s);
    for (ptrdiff_t row = share->row_begin; row < minimum(share->row_end, work->active[s]); ++row) {
        for (ptrdiff_t block = share->h_begin; block < share->h_end; ++block) {
            const V h = v_load(lstm_state_h(work, segment) + (block * work->batch + row) * LANES);
            const V read = work->cell ? cell_read(work, row, block, h) : h;
            if (work->cell || lstm_bf16_way(work))
                v_store(work->final + row * work->recurrent_padded + block * LANES, h);
            if (lstm_bf16_way(work))
                bf16_write(hx + row * work->ldhx, block * LANES, read);
            else
                v_store(hx + row * work->ldhx + block * LANES, read);
            if (work->cell)
                v_store(work->cell_ws.h_read + (block * work->ldc + row) * LANES, read);
        }
        for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block)
            v_store(work->cells + (block * work->ldc + row) * LANES,
                    v_load(lstm_state_c(work, segment) + (block * work->batch + row) * LANES));
    }
}

/* Write the final state of the rows, and zeros to their padding in y. */
static void forward_end(const forward_context *context, ptrdiff_t begin, ptrdiff_t end)
{
    const fl_lstm_pass *pass = context->pass;
    const lstm_work *work = context->work;
    const size_t bytes = (size_t)work->recurrent * sizeof(real);
    for (ptrdiff_t row = begin; row < end; ++row) {
        const ptrdiff_t b = work->order[row], length = work->length[row];
        const real *c = work->c0 + row * LANES;
        ptrdiff_t block_stride = work->batch * LANES;
        if (pass->training && length > context->keep) {
            c = work->cells + (lstm_cells_at(work, context->keep, length - 1) + row) * LANES;
            block_stride = work->ldc * LANES;
        }
        if (pass->hn)
            memcpy((real *)pass->hn + b * work->recurrent, work->final + row * work->recurrent_padded, bytes);
        if (pass->cn)
            lstm_unpack_state(work, c, block_stride, (real *)pass->cn + b * work->hidden);
        if (pass->y)
            for (ptrdiff_t t = length; t < work->time; ++t)
                memset((real *)pass->y + b * pass->y_batch + t * pass->y_time, 0, bytes);
    }
}

/* Write the words of x of a row and step, and ask for those of the step after the next one. The rows of a share lie far
 * apart, and there are more of them than the processor watches; while a row's x comes from memory it can begin with few
 * others, which the rounding occupies (189 rows, 515 steps, input 34, hidden 14, AMX: inference 7.1 -> 5.6 ms; copies of
 * float32 gain nothing). */
static void forward_bf16_load(const fl_lstm_pass *pass, const real *x, real *words, ptrdiff_t count)
{
    const ptrdiff_t ahead = (pass->reverse ? -2 : 2) * pass->x_time;
    for (ptrdiff_t k = 0; k < pass->input; k += 64 / (ptrdiff_t)sizeof(real))
        PREFETCH((uintptr_t)x + (uintptr_t)((ahead + k) * (ptrdiff_t)sizeof(real)));
    bf16_write_row(x, pass->input, words, count);
}

/* Copy x of step s next to h in `hx`. */
static void forward_load(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t s, ptrdiff_t begin, ptrdiff_t end)
{
    real *hx = forward_hx(work, s);
    if (work->bf16.x_words)
        return; /* forward_x_words writes x, of some steps at a time */
    for (ptrdiff_t row = begin; row < minimum(end, work->active[s]); ++row) {
        const real *x = lstm_x_at(pass, work, row, s);
        if (work->bytes.way)
            work->bytes.factor[s % 2 * work->batch + row] =
                BYTES_CALL(work->bytes.way, forward_bytes_x,
                           (x, work->input, pass->x_limits ? work->bytes.inverse : NULL,
                            hx + row * work->ldhx + work->bytes.words_h));
        else if (lstm_bf16_way(work))
            forward_bf16_load(pass, x, hx + row * work->ldhx + work->bf16.words_h, work->bf16.words_x);
        else
            memcpy(hx + row * work->ldhx + work->recurrent_padded, x, (size_t)work->input * sizeof(real));
    }
}

/* Sum the part of bias and x for the next `lookahead` steps.
 *
 * Few rows read all weights for few uses each. The part of x does not depend on the step before, so it is summed for
 * some steps at a time, by tiles whose rows are steps of one row of the batch, and W_ih is read once for ROWS of them.
 * The sums have the same bits: bias and x first, then h. By units, the team divides tiles rather than blocks, because
 * tiles can be divided evenly where, say, 9 blocks cannot; this needs one more barrier. (2 threads, inference, ms: 1 row, 100 steps, input 64,
 * hidden 256 .70 -> .62; 256, 256 1.29 -> .81; 2 rows, 320 steps, 144, 36 .46 -> .28; 3 rows, 24 steps, 371, 129 .31 ->
 * .28.) */
static void forward_x_sums(const forward_context *context, const lstm_share *share, ptrdiff_t s, ptrdiff_t number,
                           ptrdiff_t shares)
{
    const fl_lstm_pass *pass = context->pass;
    const lstm_work *work = context->work;
    const ptrdiff_t width = COLS * LANES, k = work->input + work->recurrent, parts = work->blocks * PASSES;
    const ptrdiff_t last_row = minimum(share->row_end, work->active[s]), height = lstm_height(work);
    ptrdiff_t tiles = 0, begin = 0, end, index = 0;
    for (ptrdiff_t row = share->row_begin; row < last_row; ++row)
        tiles += tile_count(minimum(minimum(work->lookahead, context->end - s), work->length[row] - s), height);
    end = tiles * parts;
    if (context->plan.by_units)
        fl_share(tiles * parts, number, shares, &begin, &end);
    for (ptrdiff_t part = 0; part < parts; ++part)
        for (ptrdiff_t row = share->row_begin; row < last_row; ++row) {
            const ptrdiff_t steps = minimum(minimum(work->lookahead, context->end - s), work->length[row] - s);
            const ptrdiff_t of_row = tile_count(steps, height);
            for (ptrdiff_t t = 0; t < of_row; ++t, ++index) {
                if (index < begin || index >= end)
                    continue;
                const ptrdiff_t first = tile_begin(steps, of_row, t), rows = tile_begin(steps, of_row, t + 1) - first;
                real *to[MOST_HEIGHT];
                for (ptrdiff_t r = 0; r < rows; ++r)
                    to[r] = work->x_sums + ((first + r) * work->batch + row) * work->padded * GATES + part * width;
                if (lstm_bf16_way(work)) {
                    const real *words = work->bf16.x_words + (row * work->lookahead + first) * work->bf16.words_x;
                    forward_bf16_x_sums(work, part, words, rows, to);
                    continue;
                }
                const inner_job job = {
                    .of = {{lstm_x_at(pass, work, row, s + first), pass->reverse ? -pass->x_time : pass->x_time, 1, 0,
                            work->input}},
                    .w = work->panel + part * k * width,
                    .init = work->bias + part * width,
                    .rows = to,
                    .count = width,
                };
                inner_product(&job, (int)rows, COLS);
            }
        }
}

/* Write the words of x of the next `lookahead` steps of some rows. */
static void forward_x_words(const forward_context *context, ptrdiff_t s, ptrdiff_t begin, ptrdiff_t end)
{
    const fl_lstm_pass *pass = context->pass;
    const lstm_work *work = context->work;
    for (ptrdiff_t row = begin; row < minimum(end, work->active[s]); ++row) {
        const ptrdiff_t steps = minimum(minimum(work->lookahead, context->end - s), work->length[row] - s);
        for (ptrdiff_t step = 0; step < steps; ++step) {
            bf16_write_row(lstm_x_at(pass, work, row, s + step), work->input,
                           work->bf16.x_words + (row * work->lookahead + step) * work->bf16.words_x,
                           work->bf16.words_x);
        }
    }
}

static forward_step forward_make_step(const forward_context *context, ptrdiff_t s)
{
    const lstm_work *work = context->work;
    forward_step step = {
        .work = work,
        .hx = forward_hx(work, s),
        .hx_next = forward_hx(work, s + 1),
        .next_active = work->active[s + 1],
        .c_before = work->c0,
        .c_before_block = work->batch * LANES,
        .c_after = work->c0,
        .c_after_block = work->batch * LANES,
        .init = work->bias,
        .inputs = work->input,
        .h_apart = forward_h_apart(work),
        .factor = work->bytes.way ? work->bytes.factor + s % 2 * work->batch : NULL,
    };
    if (work->x_sums) {
        step.init_row = work->padded * GATES;
        step.init = work->x_sums + (s - context->begin) % work->lookahead * work->batch * step.init_row;
        step.inputs = 0;
    }
    if (context->pass->training && s >= context->keep) {
        step.c_before = work->cells + lstm_cells_at(work, context->keep, s - 1) * LANES;
        step.c_before_block = work->ldc * LANES;
        step.c_after = work->cells + lstm_cells_at(work, context->keep, s) * LANES;
        step.c_after_block = work->ldc * LANES;
        step.pair = work->offset[s] - work->offset[context->keep];
        step.gates = work->gates;
        if (work->cell)
            step.h_kept = work->cell_ws.h_read + lstm_cells_at(work, context->keep, s) * LANES;
    }
    return step;
}

/* Walk one share from context->begin to context->end. */
static void forward_walk(void *argument, ptrdiff_t number, ptrdiff_t shares)
{
    forward_context *context = argument;
    const fl_lstm_pass *pass = context->pass;
    const lstm_work *work = context->work;
    const int by_units = context->plan.by_units, team = (int)shares;
    const lstm_share share = lstm_share_walk(work, by_units, 1, number, shares);
    const ptrdiff_t unit = share.h_begin * LANES;
    const ptrdiff_t units = minimum(share.h_end * LANES, work->recurrent) - unit;
    const ptrdiff_t height = lstm_height(work), share_rows = share.row_end - share.row_begin;
    unsigned round = 0;
    const int byte_tiles = work->bytes.tiles && share_rows >= BYTES_TILES_ROWS;
    const int tiled = lstm_bf16_way(work) == BF16_TILES || byte_tiles ? BF16_TILES : BF16_NONE;
    if (tiled)
        bf16_begin(tiled, share_rows);
    if (context->recompute)
        forward_load_state(work, &share, context->begin);
    else
        forward_begin(pass, work, share.io_begin, share.io_end);
    if (context->begin < context->end)
        forward_load(pass, work, context->begin, share.io_begin, share.io_end);
    for (ptrdiff_t s = context->begin; s < context->end; ++s) {
        if (by_units)
            fl_wait(&context->barrier, &round, team);
        const ptrdiff_t live = minimum(share.row_end, work->active[s]) - share.row_begin;
        if (live <= 0)
            break;
        if (pass->training && !context->recompute && s % work->segment == 0)
            forward_store_state(work, &share, s, s == context->keep);
        if (work->x_sums && (s - context->begin) % work->lookahead == 0) {
            if (lstm_bf16_way(work)) {
                forward_x_words(context, s, share.io_begin, share.io_end);
                if (by_units)
                    fl_wait(&context->barrier, &round, team);
                bf16_begin(lstm_bf16_way(work), work->lookahead);
            }
            forward_x_sums(context, &share, s, number, shares);
            if (lstm_bf16_way(work))
                bf16_begin(lstm_bf16_way(work), share_rows);
            if (by_units)
                fl_wait(&context->barrier, &round, team);
        }
        const forward_step step = forward_make_step(context, s);
        const ptrdiff_t tiles = tile_count(live, byte_tiles ? AMX_ROWS : height);
        if (work->cell)
            cell_draw_masks(pass, work, &share, s, share.row_begin + live);
        if (work->cell && work->cell->layer_norm) {
            norm_forward(&step, share.row_begin, share.row_begin + live);
        } else {
            ptrdiff_t block = share.block_begin;
            if (live == 1 && work->bytes.way) {
                BYTES_CALL(work->bytes.way, forward_bytes_row, (&step, block, share.block_end, share.row_begin));
                block = share.block_end;
            }
            if (share_rows == 1 && lstm_bf16_way(work)) {
                forward_bf16_row(&step, block, share.block_end, share.row_begin);
                block = share.block_end;
            }
            if (live == 1 && !lstm_bf16_way(work))
                for (; block + 1 < share.block_end; block += 2)
                    forward_pair(&step, block, share.row_begin);
            for (; block < share.block_end; ++block)
                for (ptrdiff_t t = 0; t < tiles; ++t) {
                    const ptrdiff_t first = tile_begin(live, tiles, t);
                    const ptrdiff_t rows = tile_begin(live, tiles, t + 1) - first;
                    if (byte_tiles)
                        forward_bytes_tiles(&step, block, share.row_begin + first, rows);
                    else if (work->bytes.way)
                        BYTES_CALL(work->bytes.way, forward_bytes_rows, (&step, block, share.row_begin + first, rows));
                    else if (lstm_bf16_way(work))
                        forward_bf16_rows(&step, block, share.row_begin + first, rows);
                    else
                        forward_rows(&step, block, share.row_begin + first, rows);
                }
        }
        if (work->cell && work->cell->projection)
            projection_forward(&step, share.row_begin, share.row_begin + live);
        if (pass->y && !context->recompute && units > 0) {
            /* Other cells store h in `final` always, since the h in `hx` may have been multiplied by a mask; and so does
             * the plain one where `hx` holds other numbers. */
            const ptrdiff_t in_hx = work->cell || step.h_apart ? 0 : step.next_active;
            for (ptrdiff_t row = share.row_begin; row < share.row_begin + live; ++row)
                memcpy((real *)pass->y + work->order[row] * pass->y_batch +
                           lstm_time_of(pass, work, row, s) * pass->y_time + unit,
                       forward_h(work, step.hx_next, in_hx, row) + unit, (size_t)units * sizeof(real));
        }
        if (s + 1 < context->end)
            forward_load(pass, work, s + 1, share.io_begin, share.io_end);
    }
    if (by_units)
        fl_wait(&context->barrier, &round, team);
    if (!context->recompute)
        forward_end(context, share.io_begin, share.io_end);
    if (tiled)
        bf16_end(tiled);
}

static void lstm_forward(const fl_lstm_pass *pass)
{
    lstm_work work;
    lstm_lay_out(pass, &work);
    lstm_sort_rows(pass, &work);
    forward_context context = {
        .pass = pass,
        .work = &work,
        .plan = lstm_make_plan(pass, &work),
        .end = work.time,
        .keep = (work.segments - 1) * work.segment,
    };
    const int counted = fl_call_begins(lstm_multiplications(&work));
    if (!pass->packed)
        forward_pack_all(&context);
    lstm_run(&context.plan, forward_walk, &context);
    fl_call_ends(counted);
}
