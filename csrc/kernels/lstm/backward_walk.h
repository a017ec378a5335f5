/* kernels/lstm/backward_walk.h - the walk back through time, and dx. Layouts: lstm.h.
 *
 * With dh = dL/dh_t (from above, and from step t+1) and dc = dL/dc_t, from the last step to the first:
 *
 *   dc   += dh o (1 - tanh(c_t)^2)
 *   dz_i  = dc g i (1 - i)           dz_f = dc c_(t-1) f (1 - f)
 *   dz_g  = dc i (1 - g^2)           dz_o = dh tanh(c_t) o (1 - o)
 *   dc_(t-1) = dc f                  dh_(t-1) = W_hh' dz          dx_t = W_ih' dz
 *
 * The team walks by rows or by units as in the forward pass, with inner products of dz and the transposed W_hh.
 * tanh(c_t) is recomputed rather than stored, and h_t with it.
 */

typedef struct {
    const fl_lstm_pass *pass;
    const fl_lstm_gradients *out;
    const lstm_work *work;
    lstm_plan plan;
    ptrdiff_t first;              /* step at which the segment begins */
    ptrdiff_t begin, end;         /* the steps of this segment to walk back through */
    ptrdiff_t sum_begin, sum_end; /* the steps whose pairs to add to the weight gradient */
    ptrdiff_t sum_from;           /* those from this step on are added now: backward_bf16_weights */
    ptrdiff_t h_vectors;          /* width of a panel of W_hh', in vectors */
    fl_barrier barrier;
} backward_context;

/* Start of the panels of W_ih'. They follow those of W_hh', which have `recurrent_padded` columns. */
static real *backward_panel_x(const lstm_work *work)
{
    return work->transposed + work->recurrent_padded * (lstm_bf16_way(work) ? work->bf16.terms : GATES * work->padded);
}

/* The first pair n of a step. In a segment, n counts from the segment's beginning. */
static ptrdiff_t backward_pair(const backward_context *job, ptrdiff_t s)
{
    return job->work->offset[s] - job->work->offset[job->first];
}

/* Pack one panel of a transposed weight matrix (4 * hidden, columns), the columns from `first` on:
 * (bank)(4)(unit)(vectors)(LANES), without units that pad the last bank. */
static void backward_pack_matrix(const lstm_work *work, const void *weight, ptrdiff_t columns, ptrdiff_t first,
                                 ptrdiff_t vectors, real *panel)
{
    if (lstm_bf16_way(work)) {
        backward_bf16_pack(work, weight, columns, first, vectors, panel);
        return;
    }
    const ptrdiff_t width = minimum(columns - first, vectors * LANES), padded = round_up(width, LANES);
    real *to = panel + first * GATES * work->padded;
    for (ptrdiff_t bank = 0; bank < work->hidden; bank += UNITS)
        for (int gate = 0; gate < GATES; ++gate) {
            const ptrdiff_t row = lstm_gate_row(work, gate), units = minimum(UNITS, work->hidden - bank);
            const real *from = row < 0 ? NULL : row_of(weight, row * work->hidden + bank, columns) + first;
            if (!from) {
                memset(to, 0, (size_t)(units * padded) * sizeof(real));
                to += units * padded;
                continue;
            }
            for (ptrdiff_t unit = 0; unit < units; ++unit, to += padded, from += columns) {
                ptrdiff_t c = 0;
                for (; c + LANES <= width; c += LANES)
                    v_store(to + c, v_load(from + c));
                if (c < width)
                    v_store(to + c, v_load_part(from + c, width - c));
            }
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
            backward_pack_matrix(work, job->pass->weight_hh, work->recurrent, p * job->h_vectors * LANES,
                                 job->h_vectors, work->transposed);
        else
            backward_pack_matrix(work, job->pass->weight_ih, work->input, (p - panels_h) * COLS * LANES, COLS,
                                 backward_panel_x(work));
    }
}

/* Add dL/dy to dh. Row by row, and separately: with the blocks in the outer loop, as in backward_cells, each access to
 * dy is on another page (256 rows, 187 steps, hidden 64: the walk took twice as long). */
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

/* Replace the gates of step s by the gradients of z, move dc one step back, and replace c_t by h_t. */
static void backward_cells(const backward_context *job, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    const V one = v_set(1);
    for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block) {
        ptrdiff_t stride;
        real *gates = work->gates + lstm_gates_at(work, block, backward_pair(job, s), &stride);
        real *cells = work->cells + (block * work->ldc + lstm_cells_at(work, job->first, s)) * LANES;
        real *before = work->cells + (block * work->ldc + lstm_cells_at(work, job->first, s - 1)) * LANES;
        for (ptrdiff_t row = share->row_begin; row < end; ++row) {
            real *at = gates + row * GATES * stride;
            real *dc_at = work->dc + (block * work->batch + row) * LANES;
            V i = v_load(at), f = v_load(at + stride), g = v_load(at + 2 * stride), o = v_load(at + 3 * stride);
            V dh = v_load(work->dh + row * work->padded + block * LANES);
            V tanh_c = v_tanh(v_load(cells + row * LANES));
            V dc = v_fma(dh * o, one - tanh_c * tanh_c, v_load(dc_at));
            v_store(at, dc * g * (i * (one - i)));
            v_store(at + stride, dc * v_load(before + row * LANES) * (f * (one - f)));
            v_store(at + 2 * stride, dc * i * (one - g * g));
            v_store(at + 3 * stride, dh * tanh_c * (o * (one - o)));
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

/* The gradients of W_ih x: those of z, except with layer normalisation. */
static const real *backward_gates_x(const lstm_work *work)
{
    return work->cell_ws.gates_x ? work->cell_ws.gates_x : work->gates;
}

/* to[r][0 .. count) = dz[n + r] times one panel of a transposed weight matrix. */
static void backward_product(const lstm_work *work, const real *gates, ptrdiff_t n, ptrdiff_t rows, const real *panel,
                             ptrdiff_t count, real **to, int add)
{
    const ptrdiff_t banks = work->hidden / UNITS, rest = work->hidden % UNITS;
    ptrdiff_t width = 0;
    const real *last = rest ? gates + lstm_gates_at(work, banks * PARTS, n, &width) : NULL;
    const inner_job job = {
        .of = {{gates + n * GATES * UNITS, GATES * UNITS, banks, work->ldn * GATES * UNITS, GATES * UNITS},
               {last, GATES * width, rest ? GATES : 0, width, rest}},
        .w = panel,
        .rows = to,
        .count = count,
        .add = add,
    };
    inner_product(&job, (int)rows, (int)((count + LANES - 1) / LANES));
}

/* Compute dh_(t-1) of the share's units: W_hh' dz. */
static void backward_hidden(const backward_context *job, const lstm_share *share, ptrdiff_t s, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    const ptrdiff_t n = work->offset[s] - work->offset[job->first];
    const ptrdiff_t live = end - share->row_begin, tiles = tile_count(live, lstm_height(work));
    for (ptrdiff_t block = share->h_begin; block < share->h_end; block += job->h_vectors) {
        const ptrdiff_t count = minimum(job->h_vectors, work->recurrent_blocks - block) * LANES;
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = share->row_begin + tile_begin(live, tiles, t);
            const ptrdiff_t rows = share->row_begin + tile_begin(live, tiles, t + 1) - first;
            real *to[MOST_HEIGHT];
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] = work->dh + (first + r) * work->recurrent_padded + block * LANES;
            if (lstm_bf16_way(work))
                backward_bf16_product(work, backward_bf16_dz(work, work->bf16.dz, s), first, rows,
                                      work->transposed + block * LANES * work->bf16.terms, count, to, 0);
            else
                backward_product(work, work->gates, n + first, rows,
                                 work->transposed + block * LANES * GATES * work->padded, count, to, 0);
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
                memset((real *)out->dx + b * out->dx_batch + t * out->dx_time, 0, (size_t)work->input * sizeof(real));
    }
}

/* Compute dx_t = W_ih' dz for `rows` pairs n, n + 1, ...; with operands of 16 bits these are the rows from `row` on of
 * `dz`, the words of the step. */
static void backward_inputs_tile(const backward_context *job, const real *dz, ptrdiff_t row, ptrdiff_t n,
                                 ptrdiff_t rows, real **to)
{
    const lstm_work *work = job->work;
    for (ptrdiff_t first = 0; first < work->input; first += COLS * LANES) {
        if (lstm_bf16_way(work))
            backward_bf16_product(work, dz, row, rows, backward_panel_x(work) + first * work->bf16.terms,
                                  minimum(work->input - first, COLS * LANES), to, job->out->dx_add);
        else
            backward_product(work, backward_gates_x(work), n, rows,
                             backward_panel_x(work) + first * GATES * work->padded,
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

/* Compute dx of the share's rows while their dz are in the cache (256 rows, 187 steps, input 1, hidden 64: a separate
 * pass over all dz took .68 of the time of the product with W_hh, a quarter of which is arithmetic). */
static void backward_inputs_step(const backward_context *job, ptrdiff_t s, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = job->work;
    const real *dz = lstm_bf16_way(work) ? backward_bf16_dz(work, work->bf16.dz_x, s) : NULL;
    const ptrdiff_t live = end - begin, tiles = tile_count(live > 0 ? live : 0, lstm_height(work));
    for (ptrdiff_t t = 0; t < tiles; ++t) {
        const ptrdiff_t row = begin + tile_begin(live, tiles, t), rows = begin + tile_begin(live, tiles, t + 1) - row;
        real *to[MOST_HEIGHT];
        for (ptrdiff_t r = 0; r < rows; ++r)
            to[r] = backward_dx(job, row + r, s);
        backward_inputs_tile(job, dz, row, backward_pair(job, s) + row, rows, to);
    }
}

/* Whether dx is computed after the walk: by units, no thread has all of a row's dz. The words of 16 bits are those of a
 * step, so that a thread waits for them and then computes dx of some rows. */
static int backward_inputs_later(const backward_context *job)
{
    return job->plan.by_units && !lstm_bf16_way(job->work);
}

/* Compute dx for a part of all n, after a walk by units. */
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
        backward_inputs_tile(job, NULL, 0, n, rows, to);
    }
}

/* Walk one share back through the segment. */
static void backward_walk(void *context, ptrdiff_t number, ptrdiff_t shares)
{
    backward_context *job = context;
    const lstm_work *work = job->work;
    const int by_units = job->plan.by_units, team = (int)shares;
    const lstm_share share = lstm_share_walk(work, by_units, job->h_vectors, number, shares);
    unsigned round = 0;
    if (lstm_bf16_way(work))
        bf16_begin(lstm_bf16_way(work), share.row_end - share.row_begin);
    if (job->end == work->time)
        backward_begin(job, share.io_begin, share.io_end);
    if (by_units)
        fl_wait(&job->barrier, &round, team);
    for (ptrdiff_t s = job->end - 1; s >= job->begin; --s) {
        const ptrdiff_t end = minimum(share.row_end, work->active[s]);
        if (end <= share.row_begin)
            continue; /* no row of this share is that long; by units, no row at all */
        if (job->out->dy)
            backward_load(job, &share, s, end);
        if (work->cell) {
            const backward_step step = {
                .work = work,
                .pair = backward_pair(job, s),
                .cells = work->cells + lstm_cells_at(work, job->first, s) * LANES,
                .before = work->cells + lstm_cells_at(work, job->first, s - 1) * LANES,
            };
            cell_draw_masks(job->pass, work, &share, s, end);
            cell_backward(&step, &share, end);
        } else {
            backward_cells(job, &share, s, end);
        }
        if (lstm_bf16_way(work)) {
            backward_bf16_step(work, work->gates, backward_pair(job, s), s, work->bf16.dz, &share, end);
            if (work->bf16.dz_x != work->bf16.dz)
                backward_bf16_step(work, backward_gates_x(work), backward_pair(job, s), s, work->bf16.dz_x, &share,
                                   end);
        }
        if (by_units)
            fl_wait(&job->barrier, &round, team);
        if (s > 0 || job->out->dh0)
            backward_hidden(job, &share, s, end);
        if (job->out->dx && !backward_inputs_later(job))
            backward_inputs_step(job, s, share.io_begin, minimum(share.io_end, work->active[s]));
    }
    if (by_units)
        fl_wait(&job->barrier, &round, team);
    if (job->begin == 0)
        backward_end(job, share.io_begin, share.io_end);
    if (lstm_bf16_way(work))
        bf16_end(lstm_bf16_way(work));
}
