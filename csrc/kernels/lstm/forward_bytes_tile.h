/* kernels/lstm/forward_bytes_tile.h - a tile of the plain cell with weights of 8 bits: bytes.h. One way of multiplying them.
 *
 *   z = b + (f / 127) s_ih sum q_w q(x) + (1 / 127) s_hh sum q_w q(h)
 *
 * h is below 1, which is its limit; x has a limit for each column (f = 1), or each row and step its own, f. The sums of x
 * and of h are exact; all else is float, as in the plain tile.
 */
/* The net inputs of the gates of a tile. */
__attribute__((always_inline)) static inline BYTES_TARGET void BYTES(forward_bytes_sums)(const forward_step *step,
                                                                                         ptrdiff_t block, ptrdiff_t row,
                                                                                         const int rows, V (*z)[GATES])
{
    const lstm_work *work = step->work;
    const lstm_bytes *bytes = &work->bytes;
    const real *hx = step->hx + row * work->ldhx;
    for (int pass = 0; pass < PASSES; ++pass) {
        const ptrdiff_t at = (block * GATES + pass * COLS) * LANES;
        const real *words = work->panel + (block * PASSES + pass) * (bytes->panel_x + bytes->panel_h) * COLS * LANES;
        const bytes_panel of_x = {words, bytes->start_x + at, bytes->scale_x + at, bytes->groups_x};
        const bytes_panel of_h = {words + bytes->panel_x * COLS * LANES, bytes->start_h + at, bytes->scale_h + at,
                                  bytes->groups_h};
        V sums[ROWS][COLS];
        UNROLL
        for (int c = 0; c < COLS; ++c) {
            UNROLL
            for (int r = 0; r < rows; ++r)
                sums[r][c] = v_load(work->bias + at + c * LANES);
        }
        BYTES(bytes_add_product)(sums, rows, hx + bytes->words_h, work->ldhx, &of_x, step->factor + row);
        BYTES(bytes_add_product)(sums, rows, hx, work->ldhx, &of_h, NULL);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            UNROLL
            for (int c = 0; c < COLS; ++c)
                z[r][pass * COLS + c] = sums[r][c];
        }
    }
}

__attribute__((always_inline)) static inline BYTES_TARGET void BYTES(forward_bytes_cell)(const forward_step *step,
                                                                                         ptrdiff_t block, ptrdiff_t row,
                                                                                         const V z[GATES])
{
    const V h = forward_cell(step, block, row, z[0], z[1], z[2], z[3]);
    if (row < step->next_active)
        BYTES(bytes_store)(step->hx_next + row * step->work->ldhx, block * LANES, bytes_of(h * v_set(127)));
}

__attribute__((always_inline)) static inline BYTES_TARGET void BYTES(forward_bytes_tile)(const forward_step *step,
                                                                                         ptrdiff_t block, ptrdiff_t row,
                                                                                         const int rows)
{
    V z[ROWS][GATES];
    BYTES(forward_bytes_sums)(step, block, row, rows, z);
    for (int r = 0; r < rows; ++r)
        BYTES(forward_bytes_cell)(step, block, row + r, z[r]);
}

/* One row of some blocks. A cell is a long chain of operations, which those of other blocks fill: alone it takes longer
 * than its sums (1 row, AVX-512: 64 units 58 -> 44 us for 100 steps). */
BYTES_TARGET static void BYTES(forward_bytes_row)(const forward_step *step, ptrdiff_t begin, ptrdiff_t end,
                                                  ptrdiff_t row)
{
    enum { TOGETHER = 4 };
    for (ptrdiff_t block = begin; block < end; block += TOGETHER) {
        const ptrdiff_t count = minimum(TOGETHER, end - block);
        V z[TOGETHER][GATES];
        for (ptrdiff_t n = 0; n < count; ++n)
            BYTES(forward_bytes_sums)(step, block + n, row, 1, &z[n]);
        for (ptrdiff_t n = 0; n < count; ++n)
            BYTES(forward_bytes_cell)(step, block + n, row, z[n]);
    }
}

BYTES_TARGET static void BYTES(forward_bytes_rows)(const forward_step *step, ptrdiff_t block, ptrdiff_t row,
                                                   ptrdiff_t rows)
{
    switch (rows) {
    case 1: BYTES(forward_bytes_row)(step, block, block + 1, row); break;
    case 2: BYTES(forward_bytes_tile)(step, block, row, 2); break;
    case 3: BYTES(forward_bytes_tile)(step, block, row, 3); break;
    case 4: BYTES(forward_bytes_tile)(step, block, row, 4); break;
    case 5: BYTES(forward_bytes_tile)(step, block, row, 5); break;
    default: BYTES(forward_bytes_tile)(step, block, row, ROWS); break;
    }
}

/* Pack one thread's share of the unit blocks. */
static void BYTES(forward_bytes_pack)(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t block)
{
    const lstm_bytes *bytes = &work->bytes;
    const ptrdiff_t hidden = work->hidden;
    for (int gate = 0; gate < GATES; ++gate) {
        const ptrdiff_t row = gate * hidden + block * LANES, rows = minimum(LANES, hidden - block * LANES);
        const ptrdiff_t at = (block * GATES + gate / COLS * COLS) * LANES;
        real *words = work->panel + (block * PASSES + gate / COLS) * (bytes->panel_x + bytes->panel_h) * COLS * LANES;
        if (gate % COLS == 0)
            memset(words, 0, (size_t)((bytes->panel_x + bytes->panel_h) * COLS * LANES) * sizeof(real));
        BYTES(bytes_pack)(row_of(pass->weight_ih, row, work->input), rows, work->input, pass->x_limits, gate % COLS,
                          words, bytes->start_x + at, bytes->scale_x + at);
        BYTES(bytes_pack)(row_of(pass->weight_hh, row, hidden), rows, hidden, NULL, gate % COLS,
                          words + bytes->panel_x * COLS * LANES, bytes->start_h + at, bytes->scale_h + at);
    }
}

BYTES_TARGET static void BYTES(forward_bytes_h)(const real *h, ptrdiff_t padded, real *words)
{
    for (ptrdiff_t unit = 0; unit < padded; unit += LANES)
        BYTES(bytes_store)(words, unit, bytes_of(v_load(h + unit) * v_set(127)));
}

BYTES_TARGET static real BYTES(forward_bytes_x)(const real *x, ptrdiff_t n, const real *inverse, real *words)
{
    return BYTES(bytes_quantize)(x, n, inverse, words);
}
