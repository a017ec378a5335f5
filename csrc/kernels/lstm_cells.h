/* kernels/lstm_cells.h - all cells but the plain one: their equations, memory and forward step.
 *
 * With sigma, psi and chi the activations of gates, candidate and output, and only those parts that the cell has, step t is
 *
 *   z   = norm(W_ih x_t) + b_ih + norm(W_hh (h_(t-1) mask)) + b_hh            norm(a) = gain (a - mean) / sqrt(var + eps)
 *   i   = sigma(clip(z_i + p_i c_(t-1)))     f  = sigma(clip(z_f + p_f c_(t-1)))  or  1 - i
 *   g   = psi(clip(z_g)) draw_g              c~ = clip(f c_(t-1) + i g)
 *   o   = sigma(clip(z_o + p_o c~))          m  = o chi(clip(norm(c~)))
 *   h~  = W_hr m
 *   c_t = draw_c c_(t-1) + (1 - draw_c) c~   h_t = draw_h h_(t-1) + (1 - draw_h) h~
 *
 * Projection W_hr: Sak et al. 2014. Peepholes p: Gers & Schmidhuber 2000. f = 1 - i: Greff et al. 2015. norm: Ba et al. 2016,
 * over all gates of a row together. draw_g, for each step: Semeniuta et al. 2016. mask, one for all steps: Gal & Ghahramani
 * 2016. draw_c, draw_h in {0, 1}, in inference their expectation: Krueger et al. 2017. The choice of activations, and clipping
 * of what they read: ONNX operator LSTM. fastlstm/reference.py is the specification.
 *
 * These cells walk as the plain one does; after its sums a tile comes here. Normalising needs all gates of a row before any of
 * them, and projecting all units: such cells are walked by rows only. What differs in memory:
 *
 *   gates      keep z before the peepholes, not the gates: the backward pass computes these again (four activations in
 *              thousand multiply-adds), and with them what clipping and the choice of activations ask for. With
 *              normalisation they keep (W_hh h - mean) / sqrt(...) and `gates_x` that of W_ih x; `scales` (2)(ldn) 1 / sqrt(...)
 *   h_read     (block)(ldc)(LANES)       h mask, that W_hh multiplies; as `cells`. h itself cannot be computed from c again
 *   final      (batch)(recurrent_padded) h of the present step, before the mask
 *   panel_hr   (panel)(hidden)(COLS)(LANES)   W_hr', for h~; panel_rh (panel)(recurrent)(COLS)(LANES)  W_hr, for dm
 *   peepholes  (3)(padded)   gains (2: h, x)(block)(4)(LANES)   norm_c (2: gain, bias)(padded)
 *   variational (batch)(recurrent_padded)     the mask; draw_g, draw_h, draw_c (batch)(padded): of the present step
 *   out        (batch)(padded)                m, before the projection; or o, before the normalised c is known
 *   projected  (batch)(recurrent_padded)      h~
 *   sums       (2: h, x)(batch)(block)(4)(LANES)   W_hh h and W_ih x of the present step; in the backward pass dz
 *   c_new      (batch)(padded)                c~ of the present step
 *
 * A mask's element is the word n % 4 of Philox4x32-10 at counter n / 4, n = (time * batch + row of the batch) * width + unit,
 * with `width` the units rounded up to 4 and a stream for each kind of mask: no state, the same for every thread count.
 */
enum { DRAW_G = 1, DRAW_VARIATIONAL = 2, DRAW_H = 3, DRAW_C = 4 };

/* Writes the elements [begin, end) of one row's mask: `dropped` where the draw falls below p, else `kept`. Those behind the
 * last unit are anything finite. */
static void cell_mask(const lstm_work *work, uint32_t stream, ptrdiff_t time, ptrdiff_t b, ptrdiff_t units, ptrdiff_t begin,
                      ptrdiff_t end, double p, real dropped, real kept, real *to)
{
    enum { GROUP = DRAWS };
    const uint32_t threshold = (uint32_t)(p * 4294967296.0);
    const ptrdiff_t width = round_up(units, 4), first = (time * work->batch + b) * (width / 4);
    for (ptrdiff_t group = begin / 4; group * 4 < end; group += GROUP) {
        uint32_t words[4][GROUP];
        real mask[4 * GROUP];
        const int count = (int)minimum(GROUP, tile_count(end - 4 * group, 4));
        draw_words(work->cell->seed, (uint64_t)(first + group), stream, count, words);
        for (int k = 0; k < count; ++k)
            for (int word = 0; word < 4; ++word)
                mask[4 * k + word] = words[word][k] < threshold ? dropped : kept;
        const ptrdiff_t from = begin > 4 * group ? begin - 4 * group : 0;
        memcpy(to + 4 * group + from, mask + from, (size_t)(minimum(4 * GROUP, end - 4 * group) - from) * sizeof(real));
    }
}

/* Draws the masks of step s for some rows, and the units of the share. */
static void cell_draw(const fl_lstm_pass *pass, const lstm_work *work, const lstm_share *share, ptrdiff_t s, ptrdiff_t row_end)
{
    const fl_lstm_cell *cell = work->cell;
    const cell_work *own = &work->of_cell;
    if (!own->draw_g && !own->draw_h && !own->draw_c)
        return;
    const ptrdiff_t begin = share->block_begin * LANES, end = share->block_end * LANES;
    for (ptrdiff_t row = share->row_begin; row < row_end; ++row) {
        const ptrdiff_t b = work->order[row], time = lstm_time_of(pass, work, row, s);
        if (own->draw_g)
            cell_mask(work, DRAW_G, time, b, work->hidden, begin, end, cell->recurrent_dropout, 0,
                      (real)(1 / (1 - cell->recurrent_dropout)), own->draw_g + row * work->padded);
        if (own->draw_h)
            cell_mask(work, DRAW_H, time, b, work->recurrent, share->h_begin * LANES, share->h_end * LANES, cell->zoneout_h, 1, 0,
                      own->draw_h + row * work->recurrent_padded);
        if (own->draw_c)
            cell_mask(work, DRAW_C, time, b, work->hidden, begin, end, cell->zoneout_c, 1, 0,
                      own->draw_c + row * work->padded);
    }
}

/* What W_hh multiplies of h. */
INLINE V cell_read(const lstm_work *work, ptrdiff_t row, ptrdiff_t block, V h)
{
    const real *mask = work->of_cell.variational;
    if (mask)
        h = h * v_load(mask + row * work->recurrent_padded + block * LANES);
    return h;
}

/* From h, the initial one of a row, in `final` or `a`: draws the row's mask and puts both forms of h in their places. */
static void cell_begin(const lstm_work *work, ptrdiff_t row, real *h)
{
    const cell_work *own = &work->of_cell;
    const double p = work->cell->variational_dropout;
    real *final = work->final + row * work->recurrent_padded;
    if (own->variational) {
        real *mask = own->variational + row * work->recurrent_padded;
        cell_mask(work, DRAW_VARIATIONAL, 0, work->order[row], work->recurrent, 0, work->recurrent_padded, p, 0,
                  (real)(1 / (1 - p)), mask);
    }
    for (ptrdiff_t block = 0; block < work->recurrent_blocks; ++block) {
        const V value = v_load(h + block * LANES);
        v_store(final + block * LANES, value);
        if (h != final)
            v_store(h + block * LANES, cell_read(work, row, block, value));
    }
}

/* Packs the weights that only these cells have. Small beside those of the gates, but for W_hr: a quarter of W_hh. */
static void cell_pack(const lstm_work *work)
{
    const fl_lstm_cell *cell = work->cell;
    const cell_work *own = &work->of_cell;
    const ptrdiff_t hidden = work->hidden, padded = work->padded;
    if (cell->projection)
        for (ptrdiff_t block = 0; block < work->recurrent_blocks; ++block) {
            const ptrdiff_t panel = block / COLS * COLS, vectors = minimum(COLS, work->recurrent_blocks - panel);
            transpose_to(row_of(cell->weight_hr, block * LANES, hidden), hidden, minimum(LANES, work->recurrent - block * LANES),
                         hidden, own->panel_hr + (panel * hidden + block - panel) * LANES, vectors * LANES);
        }
    for (int which = 0; cell->peepholes && which < 3; ++which) {
        const int row = cell->coupled ? which / 2 : which;
        memset(own->peepholes + which * padded, 0, (size_t)padded * sizeof(real));
        if (!(cell->coupled && which == 1))
            memcpy(own->peepholes + which * padded, row_of(cell->peepholes, row, hidden), (size_t)hidden * sizeof(real));
    }
    if (!cell->layer_norm)
        return;
    for (int which = 0; which < 2; ++which)
        for (ptrdiff_t block = 0; block < work->blocks; ++block)
            for (int gate = 0; gate < GATES; ++gate) {
                const int row = lstm_gate_row(work, gate);
                const real *from = which ? cell->gain_ih : cell->gain_hh;
                v_store(own->gains + ((which * work->blocks + block) * GATES + gate) * LANES,
                        row < 0 ? v_set(0)
                                : v_load_part(from + row * hidden + block * LANES, minimum(LANES, hidden - block * LANES)));
            }
    for (int which = 0; which < 2; ++which) {
        memset(own->norm_c + which * padded, 0, (size_t)padded * sizeof(real));
        memcpy(own->norm_c + which * padded, which ? cell->bias_c : cell->gain_c, (size_t)hidden * sizeof(real));
    }
}

INLINE V cell_activate(const fl_function *function, V x)
{
    return v_activate(function->kind, v_set((real)function->alpha), v_set((real)function->beta), x);
}

/* NaN stays NaN. */
INLINE V cell_clip(V x, double limit)
{
    return v_at_least(v_at_most(x, v_set((real)limit)), v_set((real)-limit));
}

/* The first lanes that are units, of a block. */
INLINE VI cell_units(ptrdiff_t units, ptrdiff_t block)
{
    return v_first(minimum(LANES, units - block * LANES));
}

/* `kept` of the old value, the rest of the new one. */
INLINE V cell_zone(V kept, V before, V new)
{
    return v_fma(kept, before, (v_set(1) - kept) * new);
}

typedef struct {
    V z_i, z_f, z_g, z_o; /* with peepholes, before clipping */
    V i, f, g, o;         /* g before its draw */
    V g_in, free, c;      /* g with it; c~ before and after clipping */
} cell_values;

/* p_i, p_f or p_o (0, 1, 2) of a block. */
INLINE V cell_peephole(const lstm_work *work, int which, ptrdiff_t block)
{
    return v_load(work->of_cell.peepholes + which * work->padded + block * LANES);
}

/* From the net inputs of a block of a row. The lanes behind the last unit stay 0 in c: sigma and psi need not be 0 at 0. */
INLINE cell_values cell_gates(const lstm_work *work, ptrdiff_t block, ptrdiff_t row, const V z[GATES], V c_before)
{
    const fl_lstm_cell *cell = work->cell;
    const cell_work *own = &work->of_cell;
    cell_values v = {.z_i = z[0], .z_f = z[1], .z_g = z[2], .z_o = z[3]};
    if (own->peepholes) {
        v.z_i = v_fma(cell_peephole(work, 0, block), c_before, v.z_i);
        v.z_f = v_fma(cell_peephole(work, 1, block), c_before, v.z_f);
    }
    v.i = cell_activate(&cell->gate, cell_clip(v.z_i, cell->gate_clip));
    if (cell->coupled)
        v.f = v_set(1) - v.i;
    else
        v.f = cell_activate(&cell->gate, cell_clip(v.z_f, cell->gate_clip));
    v.g = cell_activate(&cell->cell, cell_clip(v.z_g, cell->gate_clip));
    v.g_in = v.g;
    if (own->draw_g)
        v.g_in = v.g * v_load(own->draw_g + row * work->padded + block * LANES);
    v.free = v_from_bits(v_bits(v_fma(v.f, c_before, v.i * v.g_in)) & cell_units(work->hidden, block));
    v.c = cell_clip(v.free, cell->cell_clip);
    if (own->peepholes)
        v.z_o = v_fma(cell_peephole(work, 2, block), v.c, v.z_o);
    v.o = cell_activate(&cell->gate, cell_clip(v.z_o, cell->gate_clip));
    return v;
}

/* Shares of the state before that stay. */
INLINE V cell_kept(const real *draw, double p, ptrdiff_t at)
{
    return draw ? v_load(draw + at) : v_set((real)p);
}

/* h_t of a block from h~. */
static void cell_emit(const forward_step *step, ptrdiff_t block, ptrdiff_t row, V h)
{
    const lstm_work *work = step->work;
    const ptrdiff_t at = row * work->recurrent_padded + block * LANES;
    h = v_from_bits(v_bits(h) & cell_units(work->recurrent, block));
    if (work->cell->zoneout_h > 0)
        h = cell_zone(cell_kept(work->of_cell.draw_h, work->cell->zoneout_h, at), v_load(work->final + at), h);
    v_store(work->final + at, h);
    const V read = cell_read(work, row, block, h);
    if (row < step->next_active)
        v_store(step->a_next + row * work->lda + block * LANES, read);
    if (step->h_kept)
        v_store(step->h_kept + (block * work->ldc + row) * LANES, read);
}

/* c_t of a block from c~. */
INLINE void cell_state(const forward_step *step, ptrdiff_t block, ptrdiff_t row, V c_before, V c)
{
    const lstm_work *work = step->work;
    if (work->cell->zoneout_c > 0)
        c = cell_zone(cell_kept(work->of_cell.draw_c, work->cell->zoneout_c, row * work->padded + block * LANES), c_before, c);
    v_store(step->c_after + block * step->c_after_block + row * LANES, c);
}

/* The cell of one row and block, from the net inputs of its gates; not with layer normalisation. */
static void cell_forward(const forward_step *step, ptrdiff_t block, ptrdiff_t row, const V z[GATES])
{
    const lstm_work *work = step->work;
    const V c_before = v_load(step->c_before + block * step->c_before_block + row * LANES);
    const cell_values v = cell_gates(work, block, row, z, c_before);
    if (step->gates) {
        real *gates = step->gates + (block * work->ldn + row) * GATES * LANES;
        for (int gate = 0; gate < GATES; ++gate)
            v_store(gates + gate * LANES, z[gate]);
    }
    cell_state(step, block, row, c_before, v.c);
    const V m = v.o * cell_activate(&work->cell->output, cell_clip(v.c, work->cell->output_clip));
    if (work->cell->projection)
        v_store(work->of_cell.out + row * work->padded + block * LANES, m);
    else
        cell_emit(step, block, row, m);
}

/* h~ = W_hr m of some rows, and h_t. */
static void projection_forward(const forward_step *step, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = step->work;
    const cell_work *own = &work->of_cell;
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    for (ptrdiff_t panel = 0; panel < work->recurrent_blocks; panel += COLS) {
        const ptrdiff_t vectors = minimum(COLS, work->recurrent_blocks - panel);
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = begin + tile_begin(end - begin, tiles, t);
            const ptrdiff_t rows = begin + tile_begin(end - begin, tiles, t + 1) - first;
            real *to[ROWS];
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] = own->projected + (first + r) * work->recurrent_padded + panel * LANES;
            const inner_job job = {
                .a = own->out + first * work->padded,
                .lda = work->padded,
                .segments = 1,
                .k = work->hidden,
                .w = own->panel_hr + panel * work->hidden * LANES,
                .rows = to,
                .count = vectors * LANES,
            };
            inner_product(&job, (int)rows, (int)vectors);
        }
    }
    for (ptrdiff_t row = begin; row < end; ++row)
        for (ptrdiff_t block = 0; block < work->recurrent_blocks; ++block)
            cell_emit(step, block, row, v_load(own->projected + row * work->recurrent_padded + block * LANES));
}

INLINE real v_total(V a)
{
    real lanes[LANES], total = 0;
    v_store(lanes, a);
    for (int lane = 0; lane < LANES; ++lane)
        total += lanes[lane];
    return total;
}

/* Mean and variance of the units in `blocks` blocks of `gates` vectors each, gate 1 left out where it is coupled, after
 * multiplication by `down`. The mean is taken off before squares are summed, so that it does not drown the variance. */
INLINE real norm_moments(const lstm_work *work, const real *a, ptrdiff_t block_stride, int gates, const real down, real *mean)
{
    const int skipped = gates == GATES && work->cell->coupled ? 1 : -1;
    const real count = (real)(work->hidden * (gates - (skipped > 0)));
    V sum = v_set(0), squares = v_set(0);
    for (ptrdiff_t block = 0; block < work->blocks; ++block)
        for (int gate = 0; gate < gates; ++gate)
            if (gate != skipped)
                sum = sum + v_from_bits(v_bits(v_load(a + block * block_stride + gate * LANES) * v_set(down)) &
                                        cell_units(work->hidden, block));
    *mean = v_total(sum) / count;
    for (ptrdiff_t block = 0; block < work->blocks; ++block)
        for (int gate = 0; gate < gates; ++gate)
            if (gate != skipped) {
                const V off = v_from_bits(v_bits(v_load(a + block * block_stride + gate * LANES) * v_set(down) - v_set(*mean)) &
                                          cell_units(work->hidden, block));
                squares = v_fma(off, off, squares);
            }
    return v_total(squares) / count;
}

/* Mean and 1 / sqrt(variance + eps). Where the squares are beyond the largest number, which they are long before what they
 * are squares of, they are summed again of numbers that are smaller by a power of 2; eps is nothing beside them. */
static void norm_statistics(const lstm_work *work, const real *a, ptrdiff_t block_stride, int gates, real *mean, real *scale)
{
    const real down = REAL_IS_FLOAT ? (real)0x1p-100 : (real)0x1p-600;
    real variance = norm_moments(work, a, block_stride, gates, 1, mean);
    *scale = 1 / (real)sqrt((double)(variance + (real)work->cell->norm_eps));
    if (variance - variance == 0)
        return;
    variance = norm_moments(work, a, block_stride, gates, down, mean);
    *mean /= down;
    *scale = down / (real)sqrt((double)variance);
}

/* (a - mean) scale, 0 in lanes that are no units. */
INLINE V norm_apply(const lstm_work *work, ptrdiff_t block, V a, real mean, real scale)
{
    return v_from_bits(v_bits((a - v_set(mean)) * v_set(scale)) & cell_units(work->hidden, block));
}

/* The net inputs of a block from both normalised sums. */
INLINE void norm_inputs(const lstm_work *work, ptrdiff_t block, const real *of_h, const real *of_x, V z[GATES])
{
    const real *gain_h = work->of_cell.gains + block * GATES * LANES, *gain_x = gain_h + work->blocks * GATES * LANES;
    const real *bias = work->bias + block * GATES * LANES;
    for (int gate = 0; gate < GATES; ++gate) {
        z[gate] = v_fma(v_load(gain_x + gate * LANES), v_load(of_x + gate * LANES), v_load(bias + gate * LANES));
        z[gate] = v_fma(v_load(gain_h + gate * LANES), v_load(of_h + gate * LANES), z[gate]);
    }
}

/* chi's argument: the normalised c~ with gain and bias. */
INLINE V norm_output(const lstm_work *work, ptrdiff_t block, V normed)
{
    const real *gain = work->of_cell.norm_c + block * LANES;
    return v_fma(v_load(gain), normed, v_load(gain + work->padded));
}

static void norm_row(const forward_step *step, ptrdiff_t row)
{
    const lstm_work *work = step->work;
    const cell_work *own = &work->of_cell;
    const ptrdiff_t width = work->padded * GATES;
    real *sums[2], mean, scale;
    for (int which = 0; which < 2; ++which) {
        sums[which] = own->sums + (which * work->batch + row) * width;
        norm_statistics(work, sums[which], GATES * LANES, GATES, &mean, &scale);
        if (step->gates)
            own->scales[which * work->ldn + step->pair + row] = scale;
        for (ptrdiff_t block = 0; block < work->blocks; ++block)
            for (int gate = 0; gate < GATES; ++gate) {
                real *at = sums[which] + (block * GATES + gate) * LANES;
                v_store(at, lstm_gate_row(work, gate) < 0 ? v_set(0) : norm_apply(work, block, v_load(at), mean, scale));
            }
    }
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        const ptrdiff_t at = block * GATES * LANES;
        const V c_before = v_load(step->c_before + block * step->c_before_block + row * LANES);
        V z[GATES];
        norm_inputs(work, block, sums[0] + at, sums[1] + at, z);
        const cell_values v = cell_gates(work, block, row, z, c_before);
        if (step->gates) {
            const ptrdiff_t kept = (block * work->ldn + step->pair + row) * GATES * LANES;
            memcpy(work->gates + kept, sums[0] + at, GATES * LANES * sizeof(real));
            memcpy(own->gates_x + kept, sums[1] + at, GATES * LANES * sizeof(real));
        }
        cell_state(step, block, row, c_before, v.c);
        v_store(own->c_new + row * work->padded + block * LANES, v.c);
        v_store(own->out + row * work->padded + block * LANES, v.o);
    }
    norm_statistics(work, own->c_new + row * work->padded, LANES, 1, &mean, &scale);
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        const ptrdiff_t at = row * work->padded + block * LANES;
        const V out = norm_output(work, block, norm_apply(work, block, v_load(own->c_new + at), mean, scale));
        const V m = v_load(own->out + at) * cell_activate(&work->cell->output, cell_clip(out, work->cell->output_clip));
        if (work->cell->projection)
            v_store(own->out + at, m);
        else
            cell_emit(step, block, row, m);
    }
}

/* A step with layer normalisation, of some rows: the sums of h and x on their own, then row by row the cell. */
static void norm_forward(const forward_step *step, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = step->work;
    const ptrdiff_t tiles = tile_count(end - begin, ROWS), k = work->input + work->recurrent;
    for (ptrdiff_t part = 0; part < work->blocks * PASSES; ++part)
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = begin + tile_begin(end - begin, tiles, t);
            const ptrdiff_t rows = begin + tile_begin(end - begin, tiles, t + 1) - first;
            for (int which = 0; which < 2; ++which) {
                real *to[ROWS];
                for (ptrdiff_t r = 0; r < rows; ++r)
                    to[r] = work->of_cell.sums + (which * work->batch + first + r) * work->padded * GATES + part * COLS * LANES;
                const inner_job job = {
                    .a = step->a + first * work->lda + (which ? work->recurrent_padded : 0),
                    .lda = work->lda,
                    .segments = 1,
                    .k = which ? work->input : work->recurrent,
                    .w = work->panel + (part * k + (which ? 0 : work->input)) * COLS * LANES,
                    .rows = to,
                    .count = COLS * LANES,
                };
                inner_product(&job, (int)rows, COLS);
            }
        }
    for (ptrdiff_t row = begin; row < end; ++row)
        norm_row(step, row);
}
