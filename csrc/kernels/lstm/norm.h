/* kernels/lstm/norm.h - the forward step with layer normalisation. Equations and layouts: cells.h. */

/* A block's values times `down`, minus `mean`; 0 in lanes that hold no units. */
INLINE V norm_value(const lstm_work *work, ptrdiff_t block, const real *at, const real down, real mean)
{
    return v_from_bits(v_bits(v_load(at) * v_set(down) - v_set(mean)) & cell_units(work->hidden, block));
}

/* Mean and variance of the units in `blocks` blocks of `gates` vectors each, after multiplication by `down`; gate 1 is
 * left out where it is coupled. The mean is subtracted before squares are summed, so that it does not drown the
 * variance. */
INLINE real norm_moments(const lstm_work *work, const real *a, ptrdiff_t block_stride, int gates, const real down,
                         real *mean)
{
    const int skipped = gates == GATES && work->cell->coupled ? 1 : -1;
    const real count = (real)(work->hidden * (gates - (skipped > 0)));
    V sums[PARTS], squares[PARTS];
    v_zero(sums);
    v_zero(squares);
    for (ptrdiff_t bank = 0; bank < work->blocks; bank += PARTS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part) {
            const ptrdiff_t block = bank + part;
            for (int gate = 0; gate < gates && block < work->blocks; ++gate)
                if (gate != skipped)
                    sums[part] = sums[part] + norm_value(work, block, a + block * block_stride + gate * LANES, down, 0);
        }
    }
    *mean = v_total(sums) / count;
    for (ptrdiff_t bank = 0; bank < work->blocks; bank += PARTS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part) {
            const ptrdiff_t block = bank + part;
            for (int gate = 0; gate < gates && block < work->blocks; ++gate)
                if (gate != skipped) {
                    const V off = norm_value(work, block, a + block * block_stride + gate * LANES, down, *mean);
                    squares[part] = v_fma(off, off, squares[part]);
                }
        }
    }
    return v_total(squares) / count;
}

/* Mean and 1 / sqrt(variance + eps). Squares exceed the largest number long before the values themselves do. Then the
 * values are summed again after multiplication by a power of 2; eps is negligible next to them. */
static void norm_statistics(const lstm_work *work, const real *a, ptrdiff_t block_stride, int gates, real *mean,
                            real *scale)
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

/* (a - mean) scale, 0 in lanes that hold no units. */
INLINE V norm_apply(const lstm_work *work, ptrdiff_t block, V a, real mean, real scale)
{
    return v_from_bits(v_bits((a - v_set(mean)) * v_set(scale)) & cell_units(work->hidden, block));
}

/* The net inputs of a block, from both normalised sums, whose gates are `stride` apart. */
INLINE void norm_inputs(const lstm_work *work, ptrdiff_t block, const real *of_h, const real *of_x, ptrdiff_t stride,
                        V z[GATES])
{
    const real *gain_h = work->cell_ws.gains + block * GATES * LANES, *gain_x = gain_h + work->blocks * GATES * LANES;
    const real *bias = work->bias + block * GATES * LANES;
    for (int gate = 0; gate < GATES; ++gate) {
        z[gate] = v_fma(v_load(gain_x + gate * LANES), v_load(of_x + gate * stride), v_load(bias + gate * LANES));
        z[gate] = v_fma(v_load(gain_h + gate * LANES), v_load(of_h + gate * stride), z[gate]);
    }
}

/* The argument of chi: the normalised c~ with gain and bias. */
INLINE V norm_output(const lstm_work *work, ptrdiff_t block, V normed)
{
    const real *gain = work->cell_ws.norm_c + block * LANES;
    return v_fma(v_load(gain), normed, v_load(gain + work->padded));
}

static void norm_row(const forward_step *step, ptrdiff_t row)
{
    const lstm_work *work = step->work;
    const cell_workspace *ws = &work->cell_ws;
    const ptrdiff_t width = work->padded * GATES;
    real *sums[2], mean, scale;
    for (int which = 0; which < 2; ++which) {
        sums[which] = ws->sums + (which * work->batch + row) * width;
        norm_statistics(work, sums[which], GATES * LANES, GATES, &mean, &scale);
        if (step->gates)
            ws->scales[which * work->ldn + step->pair + row] = scale;
        for (ptrdiff_t block = 0; block < work->blocks; ++block)
            for (int gate = 0; gate < GATES; ++gate) {
                real *at = sums[which] + (block * GATES + gate) * LANES;
                v_store(at,
                        lstm_gate_row(work, gate) < 0 ? v_set(0) : norm_apply(work, block, v_load(at), mean, scale));
            }
    }
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        const ptrdiff_t at = block * GATES * LANES;
        const V c_before = v_load(step->c_before + block * step->c_before_block + row * LANES);
        V z[GATES];
        norm_inputs(work, block, sums[0] + at, sums[1] + at, LANES, z);
        const cell_values v = cell_gates(work, block, row, z, c_before);
        if (step->gates) {
            ptrdiff_t stride;
            const ptrdiff_t kept = lstm_gates_at(work, block, step->pair + row, &stride);
            for (int gate = 0; gate < GATES; ++gate) {
                v_store(work->gates + kept + gate * stride, v_load(sums[0] + at + gate * LANES));
                v_store(ws->gates_x + kept + gate * stride, v_load(sums[1] + at + gate * LANES));
            }
        }
        cell_state(step, block, row, c_before, v.c);
        v_store(ws->c_new + row * work->padded + block * LANES, v.c);
        v_store(ws->out + row * work->padded + block * LANES, v.o);
    }
    norm_statistics(work, ws->c_new + row * work->padded, LANES, 1, &mean, &scale);
    for (ptrdiff_t block = 0; block < work->blocks; ++block) {
        const ptrdiff_t at = row * work->padded + block * LANES;
        const V out = norm_output(work, block, norm_apply(work, block, v_load(ws->c_new + at), mean, scale));
        const V m = v_load(ws->out + at) * cell_activate(&work->cell->output, cell_clip(out, work->cell->output_clip));
        if (work->cell->projection)
            v_store(ws->out + at, m);
        else
            cell_emit(step, block, row, m);
    }
}

/* Compute a step of some rows with layer normalisation: first the separate sums of h and x, then the cell row by
 * row. */
static void norm_forward(const forward_step *step, ptrdiff_t begin, ptrdiff_t end)
{
    const lstm_work *work = step->work;
    const ptrdiff_t tiles = tile_count(end - begin, lstm_height(work)), k = work->input + work->recurrent;
    for (ptrdiff_t part = 0; part < work->blocks * PASSES; ++part)
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t first = begin + tile_begin(end - begin, tiles, t);
            const ptrdiff_t rows = begin + tile_begin(end - begin, tiles, t + 1) - first;
            for (int which = 0; which < 2; ++which) {
                real *to[MOST_HEIGHT];
                for (ptrdiff_t r = 0; r < rows; ++r)
                    to[r] = work->cell_ws.sums + (which * work->batch + first + r) * work->padded * GATES +
                            part * COLS * LANES;
                if (lstm_bf16_way(work)) {
                    forward_bf16_norm(step, part, which, first, rows, to);
                    continue;
                }
                const inner_job job = {
                    .of = {{step->hx + first * work->ldhx + (which ? work->recurrent_padded : 0), work->ldhx, 1, 0,
                            which ? work->input : work->recurrent}},
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
