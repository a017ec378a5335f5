/* kernels/lstm/cells.h - all cells except the plain one: their equations, memory and forward step.
 *
 * With sigma, psi and chi the activations of gates, candidate and output, and only the parts that the cell has, step t
 * is
 *
 *   z   = norm(W_ih x_t) + b_ih + norm(W_hh (h_(t-1) mask)) + b_hh       norm(a) = gain (a - mean) / sqrt(var + eps)
 *   i   = sigma(clip(z_i + p_i c_(t-1)))     f  = sigma(clip(z_f + p_f c_(t-1)))  or  1 - i
 *   g   = psi(clip(z_g)) mask_g              c~ = clip(f c_(t-1) + i g)
 *   o   = sigma(clip(z_o + p_o c~))          m  = o chi(clip(norm(c~)))
 *   h~  = W_hr m
 *   c_t = mask_c c_(t-1) + (1 - mask_c) c~   h_t = mask_h h_(t-1) + (1 - mask_h) h~
 *
 * Projection W_hr: Sak et al. 2014. Peepholes p: Gers & Schmidhuber 2000. f = 1 - i: Greff et al. 2015. norm: Ba et al.
 * 2016, over all gates of a row together. mask_g, drawn at each step: Semeniuta et al. 2016. mask, one for all steps:
 * Gal & Ghahramani 2016. mask_c, mask_h in {0, 1}, in inference their expectation: Krueger et al. 2017. The choice of
 * activations, and the clipping of their arguments: ONNX operator LSTM. The specification is the Python package's
 * reference.
 *
 * These cells walk as the plain one does; after its sums a tile comes here. Normalising needs all gates of a row before
 * any of them, and projecting needs all units: such cells are walked by rows only. The memory differs in this:
 *
 *   gates      hold z before the peepholes, not the gates: the backward pass recomputes these (four activations per
 *              thousand multiply-adds), and with them what clipping and the choice of activations need. With
 *              normalisation they hold (W_hh h - mean) / sqrt(...), and `gates_x` holds that of W_ih x; `scales`
 *              (2)(ldn) holds 1 / sqrt(...)
 *   h_read     (block)(ldc)(LANES)       h mask, which W_hh multiplies; as `cells`. h cannot be recomputed from c here
 *   final      (batch)(recurrent_padded) h of the current step, before the mask
 *   panel_hr   (panel)(hidden)(COLS)(LANES)   W_hr', for h~; panel_rh (panel)(recurrent)(COLS)(LANES)  W_hr, for dm
 *   peepholes  (3)(padded)   gains (2: h, x)(block)(4)(LANES)   norm_c (2: gain, bias)(padded)
 *   mask_variational (batch)(recurrent_padded)  the mask; mask_g, mask_h, mask_c (batch)(padded): of the current step
 *   out        (batch)(padded)                m, before the projection; or o, before the normalised c is known
 *   projected  (batch)(recurrent_padded)      h~
 *   sums       (2: h, x)(batch)(block)(4)(LANES)   W_hh h and W_ih x of the current step; in the backward pass dz
 *   c_new      (batch)(padded)                c~ of the current step
 */

/* Draw a row's mask, and store h before and after the mask. h is the row's initial state, in `final` or `hx`. */
static void cell_begin(const lstm_work *work, ptrdiff_t row, real *h)
{
    const cell_workspace *ws = &work->cell_ws;
    const double p = work->cell->variational_dropout;
    real *final = work->final + row * work->recurrent_padded;
    if (ws->mask_variational) {
        real *mask = ws->mask_variational + row * work->recurrent_padded;
        cell_mask(work, MASK_VARIATIONAL, 0, work->order[row], work->recurrent, 0, work->recurrent_padded, p, 0,
                  (real)(1 / (1 - p)), mask);
    }
    for (ptrdiff_t block = 0; block < work->recurrent_blocks; ++block) {
        const V value = v_load(h + block * LANES);
        v_store(final + block * LANES, value);
        if (h != final)
            v_store(h + block * LANES, cell_read(work, row, block, value));
        else if (lstm_bf16_way(work) && row < work->active[0])
            bf16_write(work->hx + row * work->ldhx, block * LANES, cell_read(work, row, block, value));
    }
}

/* Pack the weights that only these cells have. They are small compared with those of the gates, except W_hr, which is
 * a quarter of W_hh. */
static void cell_pack(const lstm_work *work)
{
    const fl_lstm_cell *cell = work->cell;
    const cell_workspace *ws = &work->cell_ws;
    const ptrdiff_t hidden = work->hidden, padded = work->padded;
    if (cell->projection)
        for (ptrdiff_t block = 0; block < work->recurrent_blocks; ++block) {
            const ptrdiff_t panel = block / COLS * COLS, vectors = minimum(COLS, work->recurrent_blocks - panel);
            transpose_to(row_of(cell->weight_hr, block * LANES, hidden), hidden,
                         minimum(LANES, work->recurrent - block * LANES), hidden,
                         ws->panel_hr + (panel * hidden + block - panel) * LANES, vectors * LANES);
        }
    for (int which = 0; cell->peepholes && which < 3; ++which) {
        const int row = cell->coupled ? which / 2 : which;
        memset(ws->peepholes + which * padded, 0, (size_t)padded * sizeof(real));
        if (!(cell->coupled && which == 1))
            memcpy(ws->peepholes + which * padded, row_of(cell->peepholes, row, hidden), (size_t)hidden * sizeof(real));
    }
    if (!cell->layer_norm)
        return;
    for (int which = 0; which < 2; ++which)
        for (ptrdiff_t block = 0; block < work->blocks; ++block)
            for (int gate = 0; gate < GATES; ++gate) {
                const int row = lstm_gate_row(work, gate);
                const real *from = which ? cell->gain_ih : cell->gain_hh;
                v_store(ws->gains + ((which * work->blocks + block) * GATES + gate) * LANES,
                        row < 0
                            ? v_set(0)
                            : v_load_part(from + row * hidden + block * LANES, minimum(LANES, hidden - block * LANES)));
            }
    for (int which = 0; which < 2; ++which) {
        memset(ws->norm_c + which * padded, 0, (size_t)padded * sizeof(real));
        memcpy(ws->norm_c + which * padded, which ? cell->bias_c : cell->gain_c, (size_t)hidden * sizeof(real));
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

/* The first lanes of a block, those that hold units. */
INLINE VI cell_units(ptrdiff_t units, ptrdiff_t block)
{
    return v_first(minimum(LANES, units - block * LANES));
}

/* `kept` is the share of the old value, and 1 - `kept` that of the new one. */
INLINE V cell_zone(V kept, V before, V new)
{
    return v_fma(kept, before, (v_set(1) - kept) * new);
}

typedef struct {
    V z_i, z_f, z_g, z_o;   /* with peepholes, before clipping */
    V i, f, g, o;           /* g before its mask */
    V g_in, c_unclipped, c; /* g after it; c~ before and after clipping */
} cell_values;

/* p_i, p_f or p_o (0, 1, 2) of a block. */
INLINE V cell_peephole(const lstm_work *work, int which, ptrdiff_t block)
{
    return v_load(work->cell_ws.peepholes + which * work->padded + block * LANES);
}

/* The gates and c~ of a block of a row, from its net inputs. The lanes after the last unit stay 0 in c, although sigma
 * and psi may not be 0 at 0. */
INLINE cell_values cell_gates(const lstm_work *work, ptrdiff_t block, ptrdiff_t row, const V z[GATES], V c_before)
{
    const fl_lstm_cell *cell = work->cell;
    const cell_workspace *ws = &work->cell_ws;
    cell_values v = {.z_i = z[0], .z_f = z[1], .z_g = z[2], .z_o = z[3]};
    if (ws->peepholes) {
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
    if (ws->mask_g)
        v.g_in = v.g * v_load(ws->mask_g + row * work->padded + block * LANES);
    v.c_unclipped = v_from_bits(v_bits(v_fma(v.f, c_before, v.i * v.g_in)) & cell_units(work->hidden, block));
    v.c = cell_clip(v.c_unclipped, cell->cell_clip);
    if (ws->peepholes)
        v.z_o = v_fma(cell_peephole(work, 2, block), v.c, v.z_o);
    v.o = cell_activate(&cell->gate, cell_clip(v.z_o, cell->gate_clip));
    return v;
}

/* The share of the previous state that is kept. */
INLINE V cell_kept(const real *draw, double p, ptrdiff_t at)
{
    return draw ? v_load(draw + at) : v_set((real)p);
}

/* Compute h_t of a block from h~ and store it. */
static void cell_emit(const forward_step *step, ptrdiff_t block, ptrdiff_t row, V h)
{
    const lstm_work *work = step->work;
    const ptrdiff_t at = row * work->recurrent_padded + block * LANES;
    h = v_from_bits(v_bits(h) & cell_units(work->recurrent, block));
    if (work->cell->zoneout_h > 0)
        h = cell_zone(cell_kept(work->cell_ws.mask_h, work->cell->zoneout_h, at), v_load(work->final + at), h);
    v_store(work->final + at, h);
    const V read = cell_read(work, row, block, h);
    if (row < step->next_active && lstm_bf16_way(work))
        bf16_write(step->hx_next + row * work->ldhx, block * LANES, read);
    else if (row < step->next_active)
        v_store(step->hx_next + row * work->ldhx + block * LANES, read);
    if (step->h_kept)
        v_store(step->h_kept + (block * work->ldc + row) * LANES, read);
}

/* Compute c_t of a block from c~ and store it. */
INLINE void cell_state(const forward_step *step, ptrdiff_t block, ptrdiff_t row, V c_before, V c)
{
    const lstm_work *work = step->work;
    if (work->cell->zoneout_c > 0)
        c = cell_zone(cell_kept(work->cell_ws.mask_c, work->cell->zoneout_c, row * work->padded + block * LANES),
                      c_before, c);
    v_store(step->c_after + block * step->c_after_block + row * LANES, c);
}

/* Compute the cell of one row and block from the net inputs of its gates; not with layer normalisation. */
static void cell_forward(const forward_step *step, ptrdiff_t block, ptrdiff_t row, const V z[GATES])
{
    const lstm_work *work = step->work;
    const V c_before = v_load(step->c_before + block * step->c_before_block + row * LANES);
    const cell_values v = cell_gates(work, block, row, z, c_before);
    if (step->gates) {
        ptrdiff_t stride;
        real *gates = step->gates + lstm_gates_at(work, block, step->pair + row, &stride);
        for (int gate = 0; gate < GATES; ++gate)
            v_store(gates + gate * stride, z[gate]);
    }
    cell_state(step, block, row, c_before, v.c);
    const V m = v.o * cell_activate(&work->cell->output, cell_clip(v.c, work->cell->output_clip));
    if (work->cell->projection)
        v_store(work->cell_ws.out + row * work->padded + block * LANES, m);
    else
        cell_emit(step, block, row, m);
}

/* Compute h~ = W_hr m of some rows, and h_t. */
static void projection_forward(const forward_step *step, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = step->work;
    const cell_workspace *ws = &work->cell_ws;
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    for (ptrdiff_t panel = 0; panel < work->recurrent_blocks; panel += COLS) {
        const ptrdiff_t vectors = minimum(COLS, work->recurrent_blocks - panel);
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = begin + tile_begin(end - begin, tiles, t);
            const ptrdiff_t rows = begin + tile_begin(end - begin, tiles, t + 1) - first;
            real *to[ROWS];
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] = ws->projected + (first + r) * work->recurrent_padded + panel * LANES;
            const inner_job job = {
                .of = {{ws->out + first * work->padded, work->padded, 1, 0, work->hidden}},
                .w = ws->panel_hr + panel * work->hidden * LANES,
                .rows = to,
                .count = vectors * LANES,
            };
            inner_product(&job, (int)rows, (int)vectors);
        }
    }
    for (ptrdiff_t row = begin; row < end; ++row)
        for (ptrdiff_t block = 0; block < work->recurrent_blocks; ++block)
            cell_emit(step, block, row, v_load(ws->projected + row * work->recurrent_padded + block * LANES));
}
