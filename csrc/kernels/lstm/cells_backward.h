/* kernels/lstm/cells_backward.h - the backward step of the cells of cells.h.
 *
 * With dh = dL/dh_t and dc = dL/dc_t, and slope the derivative of an activation, 0 where its argument was clipped:
 *
 *   dh~   = (1 - mask_h) dh                    dm     = W_hr' dh~             dW_hr = sum dh~ m'
 *   dz_o  = dm chi(.) slope_o                  dc~    = dm o slope_chi (through norm) + p_o dz_o + (1 - mask_c) dc
 *   dz_i  = dc~ g slope_i                      dz_f   = dc~ c_(t-1) slope_f              dz_g = dc~ i mask_g slope_g
 *   dc_(t-1) = dc~ f + mask_c dc + p_i dz_i + p_f dz_f
 *   dh_(t-1) = mask (W_hh' dz) + mask_h dh
 *
 * with coupled gates dz_i = (dc~ g - dc~ c_(t-1)) slope_i and dz_f = 0. Through norm(a) = gain n + bias, n = (a - mean)
 * scale:
 *
 *   dn = gain d      da = (dn - mean(dn) - n mean(dn n)) scale      dgain = sum d n      dbias = sum d
 *
 * Sums over rows and steps that are no matrix product (the gradients of peepholes, gains and their biases) are taken
 * for each row separately, `row_sums` (kind)(block)(batch)(LANES), then over the rows in their order: no two threads
 * add to one number, and the order depends on the shape alone. For the gradient of W_hr, m overwrites c_t, and `dh_all`
 * (block)(ldn)(LANES) holds dh~.
 */

/* d, or 0 where x was clipped. */
INLINE V cell_through(V d, V x, double limit)
{
    const V most = v_set((real)limit);
    return v_select((x > most) | (x < -most), v_set(0), d);
}

/* d times the derivative at clip(x), where the value is y. */
INLINE V cell_slope(const fl_function *function, V d, V x, V y, double limit)
{
    const V slope = v_activate_slope(function->kind, v_set((real)function->alpha), v_set((real)function->beta),
                                     cell_clip(x, limit), y);
    return cell_through(d * slope, x, limit);
}

/* Add a b to one of a row's sums. */
INLINE void cell_add(const lstm_work *work, int kind, ptrdiff_t block, ptrdiff_t row, V a, V b)
{
    real *at = work->cell_ws.row_sums + ((kind * work->blocks + block) * work->batch + row) * LANES;
    v_store(at, v_fma(a, b, v_load(at)));
}

/* Compute the gradients of z from d_o, that of o, and d_c, that of c~ by way of the output; dc moves one step back. */
INLINE void cell_gradients(const lstm_work *work, ptrdiff_t block, ptrdiff_t row, const cell_values *v, V c_before,
                           V d_c, V d_o, V dz[GATES])
{
    const fl_lstm_cell *cell = work->cell;
    const cell_workspace *ws = &work->cell_ws;
    const VI units = cell_units(work->hidden, block);
    real *dc_at = work->dc + (block * work->batch + row) * LANES;
    const V dc = v_load(dc_at);
    V before = v_set(0);
    dz[3] = v_from_bits(v_bits(cell_slope(&cell->gate, d_o, v->z_o, v->o, cell->gate_clip)) & units);
    if (cell->zoneout_c > 0) {
        const V kept = cell_kept(ws->mask_c, cell->zoneout_c, row * work->padded + block * LANES);
        before = kept * dc;
        d_c = v_fma(v_set(1) - kept, dc, d_c);
    } else {
        d_c = d_c + dc;
    }
    if (ws->peepholes)
        d_c = v_fma(cell_peephole(work, 2, block), dz[3], d_c);
    d_c = v_from_bits(v_bits(cell_through(d_c, v->c_unclipped, cell->cell_clip)) & units);
    V d_i = d_c * v->g_in, d_f = d_c * c_before, d_g = d_c * v->i;
    if (cell->coupled) {
        d_i = d_i - d_f;
        d_f = v_set(0);
    }
    if (ws->mask_g)
        d_g = d_g * v_load(ws->mask_g + row * work->padded + block * LANES);
    dz[0] = cell_slope(&cell->gate, d_i, v->z_i, v->i, cell->gate_clip);
    dz[1] = d_f;
    if (!cell->coupled)
        dz[1] = cell_slope(&cell->gate, d_f, v->z_f, v->f, cell->gate_clip);
    dz[2] = cell_slope(&cell->cell, d_g, v->z_g, v->g, cell->gate_clip);
    for (int gate = 0; gate < 3; ++gate)
        dz[gate] = v_from_bits(v_bits(dz[gate]) & units);
    before = v_fma(d_c, v->f, before);
    if (ws->peepholes) {
        before = v_fma(cell_peephole(work, 0, block), dz[0], before);
        before = v_fma(cell_peephole(work, 1, block), dz[1], before);
        cell_add(work, 0, block, row, dz[0], c_before);
        cell_add(work, 1, block, row, dz[1], c_before);
        cell_add(work, 2, block, row, dz[3], v->c);
    }
    v_store(dc_at, v_from_bits(v_bits(before) & units));
}

/* Turn dh into dh~ for some rows and the share's units. With a projection, dh~ is then in dh_new, and dm in `out`. */
static void cell_backward_h(const backward_step *step, const lstm_share *share, ptrdiff_t end)
{
    const lstm_work *work = step->work;
    const cell_workspace *ws = &work->cell_ws;
    const int projects = work->cell->projection > 0;
    if (!projects && !ws->dh_kept)
        return;
    for (ptrdiff_t row = share->row_begin; row < end; ++row)
        for (ptrdiff_t block = share->h_begin; block < share->h_end; ++block) {
            const ptrdiff_t at = row * work->recurrent_padded + block * LANES;
            V dh = v_load(work->dh + at);
            if (ws->dh_kept) {
                const V kept = cell_kept(ws->mask_h, work->cell->zoneout_h, at);
                v_store(ws->dh_kept + at, kept * dh);
                dh = (v_set(1) - kept) * dh;
            }
            v_store((projects ? ws->dh_new : work->dh) + at, dh);
            if (projects)
                v_store(ws->dh_all + (block * work->ldn + step->pair + row) * LANES, dh);
        }
    const ptrdiff_t live = end - share->row_begin, tiles = projects ? tile_count(live, ROWS) : 0;
    for (ptrdiff_t panel = 0; panel < work->blocks; panel += COLS) {
        const ptrdiff_t vectors = minimum(COLS, work->blocks - panel);
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = share->row_begin + tile_begin(live, tiles, t);
            const ptrdiff_t rows = share->row_begin + tile_begin(live, tiles, t + 1) - first;
            real *to[ROWS];
            for (ptrdiff_t r = 0; r < rows; ++r)
                to[r] = ws->out + (first + r) * work->padded + panel * LANES;
            const inner_job job = {
                .of = {{ws->dh_new + first * work->recurrent_padded, work->recurrent_padded, 1, 0, work->recurrent}},
                .w = ws->panel_rh + panel * work->recurrent * LANES,
                .rows = to,
                .count = vectors * LANES,
            };
            inner_product(&job, (int)rows, (int)vectors);
        }
    }
}

/* Where the forward pass has kept a row's normalised sums of a gate. */
INLINE real *norm_kept(const backward_step *step, real *kept, ptrdiff_t block, ptrdiff_t gate, ptrdiff_t row)
{
    ptrdiff_t stride;
    kept += lstm_gates_at(step->work, block, step->pair + row, &stride);
    return kept + gate * stride;
}

/* Take a row's gradients back through the normalised sums: from dz, in `sums`, to the gradients of W_hh h and W_ih x,
 * which overwrite what the forward pass kept. */
static void norm_backward_sums(const backward_step *step, ptrdiff_t row)
{
    const lstm_work *work = step->work;
    const cell_workspace *ws = &work->cell_ws;
    const int kinds = ws->peepholes ? SUMS_PEEPHOLES : 0;
    const real *dz = ws->sums + row * work->padded * GATES;
    const real count = (real)(work->hidden * (work->cell->coupled ? 3 : 4));
    for (int which = 0; which < 2; ++which) {
        real *kept = which ? ws->gates_x : work->gates;
        const real *gains = ws->gains + which * work->blocks * GATES * LANES;
        const V scale = v_set(ws->scales[which * work->ldn + step->pair + row]);
        V sums[PARTS], along[PARTS];
        v_zero(sums);
        v_zero(along);
        for (ptrdiff_t bank = 0; bank < work->blocks; bank += PARTS) {
            UNROLL
            for (int part = 0; part < PARTS; ++part) {
                const ptrdiff_t block = bank + part;
                for (int gate = 0; gate < GATES && block < work->blocks; ++gate) {
                    const ptrdiff_t at = (block * GATES + gate) * LANES;
                    const V d = v_load(dz + at), dn = d * v_load(gains + at);
                    const V n = v_load(norm_kept(step, kept, block, gate, row));
                    sums[part] = sums[part] + dn;
                    along[part] = v_fma(dn, n, along[part]);
                    if (which == 0)
                        cell_add(work, kinds + gate, block, row, d, v_set(1));
                    cell_add(work, kinds + (which + 1) * GATES + gate, block, row, d, n);
                }
            }
        }
        const V mean = v_set(v_total(sums) / count), slope = v_set(v_total(along) / count);
        for (ptrdiff_t at = 0; at < work->blocks * GATES; ++at) {
            const ptrdiff_t block = at / GATES, gate = at % GATES;
            real *to = norm_kept(step, kept, block, gate, row);
            const V dn = v_load(dz + at * LANES) * v_load(gains + at * LANES);
            const V da = (dn - mean - v_load(to) * slope) * scale;
            v_store(to, lstm_gate_row(work, (int)gate) < 0 ? v_set(0)
                                                           : v_from_bits(v_bits(da) & cell_units(work->hidden, block)));
        }
    }
}

/* Compute one row of a step with layer normalisation. The gates are computed twice: before the normalised c~ is known,
 * and after. */
static void norm_backward_row(const backward_step *step, ptrdiff_t row, const real *dm)
{
    const lstm_work *work = step->work;
    const fl_lstm_cell *cell = work->cell;
    const cell_workspace *ws = &work->cell_ws;
    const int kinds = (ws->peepholes ? SUMS_PEEPHOLES : 0) + 3 * GATES;
    const ptrdiff_t row_at = row * work->padded;
    const real count = (real)work->hidden;
    real *dz_at = ws->sums + row_at * GATES;
    real *scratch = ws->sums + (work->batch * work->padded + row_at) * GATES, mean, scale;
    V sums[PARTS], along[PARTS];
    v_zero(sums);
    v_zero(along);
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        ptrdiff_t stride;
        const ptrdiff_t kept = lstm_gates_at(work, block, step->pair + row, &stride);
        V z[GATES];
        norm_inputs(work, block, work->gates + kept, ws->gates_x + kept, stride, z);
        const cell_values v = cell_gates(work, block, row, z, v_load(step->before + (block * work->ldc + row) * LANES));
        v_store(ws->c_new + row_at + block * LANES, v.c);
        v_store(scratch + block * GATES * LANES, v.o);
    }
    norm_statistics(work, ws->c_new + row_at, LANES, 1, &mean, &scale);
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        real *block_scratch = scratch + block * GATES * LANES;
        const V n = norm_apply(work, block, v_load(ws->c_new + row_at + block * LANES), mean, scale);
        const V out = norm_output(work, block, n), o = v_load(block_scratch);
        const V chi = cell_activate(&cell->output, cell_clip(out, cell->output_clip));
        const V d_m = v_load(dm + block * LANES);
        const V d_out = v_from_bits(v_bits(cell_slope(&cell->output, d_m * o, out, chi, cell->output_clip)) &
                                    cell_units(work->hidden, block));
        const V dn = d_out * v_load(ws->norm_c + block * LANES);
        cell_add(work, kinds, block, row, d_out, n);
        cell_add(work, kinds + 1, block, row, d_out, v_set(1));
        sums[block % PARTS] = sums[block % PARTS] + dn;
        along[block % PARTS] = v_fma(dn, n, along[block % PARTS]);
        v_store(block_scratch, dn);
        v_store(block_scratch + LANES, n);
        v_store(block_scratch + 2 * LANES, d_m * chi);
        v_store(step->cells + (block * work->ldc + row) * LANES, o * chi);
    }
    const V d_mean = v_set(v_total(sums) / count), d_along = v_set(v_total(along) / count);
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        ptrdiff_t stride;
        const ptrdiff_t kept = lstm_gates_at(work, block, step->pair + row, &stride);
        const real *block_scratch = scratch + block * GATES * LANES;
        const V c_before = v_load(step->before + (block * work->ldc + row) * LANES);
        const V d_c = (v_load(block_scratch) - d_mean - v_load(block_scratch + LANES) * d_along) * v_set(scale);
        V z[GATES], dz[GATES];
        norm_inputs(work, block, work->gates + kept, ws->gates_x + kept, stride, z);
        const cell_values v = cell_gates(work, block, row, z, c_before);
        cell_gradients(work, block, row, &v, c_before, d_c, v_load(block_scratch + 2 * LANES), dz);
        for (int gate = 0; gate < GATES; ++gate)
            v_store(dz_at + (block * GATES + gate) * LANES, dz[gate]);
    }
    norm_backward_sums(step, row);
}

/* Turn dh and the kept gates of some rows into the gradients of z, as backward_cells does for the plain cell. */
static void cell_backward(const backward_step *step, const lstm_share *share, ptrdiff_t end)
{
    const lstm_work *work = step->work;
    const fl_lstm_cell *cell = work->cell;
    const real *dm = cell->projection ? work->cell_ws.out : work->dh;
    cell_backward_h(step, share, end);
    if (cell->layer_norm) {
        for (ptrdiff_t row = share->row_begin; row < end; ++row)
            norm_backward_row(step, row, dm + row * work->padded);
        return;
    }
    for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block)
        for (ptrdiff_t row = share->row_begin; row < end; ++row) {
            ptrdiff_t stride;
            real *gates = work->gates + lstm_gates_at(work, block, step->pair + row, &stride);
            const ptrdiff_t at = (block * work->ldc + row) * LANES;
            const V c_before = v_load(step->before + at), d_m = v_load(dm + row * work->padded + block * LANES);
            V z[GATES], dz[GATES];
            for (int gate = 0; gate < GATES; ++gate)
                z[gate] = v_load(gates + gate * stride);
            const cell_values v = cell_gates(work, block, row, z, c_before);
            const V chi = cell_activate(&cell->output, cell_clip(v.c, cell->output_clip));
            cell_gradients(work, block, row, &v, c_before,
                           cell_slope(&cell->output, d_m * v.o, v.c, chi, cell->output_clip), d_m * chi, dz);
            for (int gate = 0; gate < GATES; ++gate)
                v_store(gates + gate * stride, dz[gate]);
            if (cell->projection)
                v_store(step->cells + at, v.o * chi);
        }
}

/* Compute dh_(t-1) of some rows and the share's units from W_hh' dz, which is in dh. */
static void cell_backward_read(const lstm_work *work, const lstm_share *share, ptrdiff_t end)
{
    const cell_workspace *ws = &work->cell_ws;
    if (!ws->mask_variational && !ws->dh_kept)
        return;
    for (ptrdiff_t row = share->row_begin; row < end; ++row)
        for (ptrdiff_t block = share->h_begin; block < share->h_end; ++block) {
            const ptrdiff_t at = row * work->recurrent_padded + block * LANES;
            V dh = cell_read(work, row, block, v_load(work->dh + at));
            if (ws->dh_kept)
                dh = dh + v_load(ws->dh_kept + at);
            v_store(work->dh + at, dh);
        }
}

/* Prepare the backward pass: pack W_hr as it is read, and set the sums to 0. */
static void cell_backward_begin(const lstm_work *work)
{
    const cell_workspace *ws = &work->cell_ws;
    const ptrdiff_t hidden = work->hidden;
    memset(ws->row_sums, 0, (size_t)cell_row_sums(work->cell) * (size_t)(work->batch * work->padded) * sizeof(real));
    if (!work->cell->projection)
        return;
    memset(ws->gradient_hr, 0, (size_t)(work->recurrent * work->padded) * sizeof(real));
    real *to = ws->panel_rh;
    for (ptrdiff_t panel = 0; panel < work->blocks; panel += COLS)
        for (ptrdiff_t k = 0; k < work->recurrent; ++k)
            for (ptrdiff_t block = panel; block < minimum(panel + COLS, work->blocks); ++block, to += LANES)
                v_store(to, v_load_part(row_of(work->cell->weight_hr, k, hidden) + block * LANES,
                                        minimum(LANES, hidden - block * LANES)));
}

/* Add the pairs [n, n_end) to the gradient of W_hr, for some blocks of its columns; `at` is the index in `cells` of n
 * = 0. */
static void projection_backward(const lstm_work *work, ptrdiff_t block_begin, ptrdiff_t block_end, ptrdiff_t at,
                                ptrdiff_t n, ptrdiff_t n_end)
{
    const cell_workspace *ws = &work->cell_ws;
    for (ptrdiff_t block = block_begin; block < block_end; ++block)
        for (ptrdiff_t row = 0, rows; row < work->recurrent; row += rows) {
            const ptrdiff_t h_block = row / LANES, lane = row - h_block * LANES;
            rows = minimum(minimum(ROWS, LANES - lane), work->recurrent - row);
            const outer_job job = {
                .a = ws->dh_all + (h_block * work->ldn + n) * LANES + lane,
                .lda = LANES,
                .g = work->cells + (block * work->ldc + at + n) * LANES,
                .ldg = LANES,
                .ldv = LANES,
                .n = n_end - n,
                .d = ws->gradient_hr + row * work->padded + block * LANES,
                .ldd = work->padded,
                .count = LANES,
            };
            outer_product(&job, (int)rows, 1);
        }
}

/* Add the row sums of one kind, over all rows, to the caller's array (hidden). */
static void cell_unpack_sum(const lstm_work *work, int kind, void *array)
{
    if (!array)
        return;
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        const real *from = work->cell_ws.row_sums + (kind * work->blocks + block) * work->batch * LANES;
        real *to = (real *)array + block * LANES;
        const ptrdiff_t units = minimum(LANES, work->hidden - block * LANES);
        V total = v_set(0);
        for (ptrdiff_t row = 0; row < work->batch; ++row)
            total = total + v_load(from + row * LANES);
        v_store_part(to, v_load_part(to, units) + total, units);
    }
}

/* Add the gradients of the cell's weights to the caller's arrays, and with layer normalisation those of the biases. */
static void cell_unpack(const lstm_work *work, const fl_lstm_gradients *out)
{
    const fl_lstm_cell *cell = work->cell;
    const ptrdiff_t hidden = work->hidden;
    int kind = 0;
    for (ptrdiff_t row = 0; out->dweight_hr && cell->projection && row < work->recurrent; ++row)
        for (ptrdiff_t unit = 0; unit < hidden; ++unit)
            ((real *)out->dweight_hr)[row * hidden + unit] += work->cell_ws.gradient_hr[row * work->padded + unit];
    if (cell->peepholes) {
        for (int which = 0; which < 3; ++which)
            if (out->dpeepholes && !(cell->coupled && which == 1))
                cell_unpack_sum(work, which, (real *)out->dpeepholes + (cell->coupled ? which / 2 : which) * hidden);
        kind = SUMS_PEEPHOLES;
    }
    if (!cell->layer_norm)
        return;
    void *const of_gates[4] = {out->dbias_ih, out->dbias_hh, out->dgain_hh, out->dgain_ih};
    for (int array = 0; array < 4; ++array)
        for (int gate = 0; gate < GATES; ++gate) {
            const int row = lstm_gate_row(work, gate), first = array < 2 ? 0 : (array - 1) * GATES;
            if (of_gates[array] && row >= 0)
                cell_unpack_sum(work, kind + first + gate, (real *)of_gates[array] + row * hidden);
        }
    cell_unpack_sum(work, kind + 3 * GATES, out->dgain_c);
    cell_unpack_sum(work, kind + 3 * GATES + 1, out->dbias_c);
}
