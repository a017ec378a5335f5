/* kernels/lstm/forward_tile.h - a tile of rows and one block of units at one step: its sums, and the plain cell.
 *
 * The four gates of LANES units are summed in registers over x_t, then over h_(t-1), and the cell is computed right
 * there.
 */

/* Compute the plain cell of one row and block from the net inputs of its gates, and return h. */
INLINE V forward_cell(const forward_step *step, ptrdiff_t block, ptrdiff_t row, V z_i, V z_f, V z_g, V z_o)
{
    const lstm_work *work = step->work;
    V i = v_sigmoid(z_i), f = v_sigmoid(z_f), g = v_tanh(z_g), o = v_sigmoid(z_o);
    V c = v_fma(f, v_load(step->c_before + block * step->c_before_block + row * LANES), i * g);
    V h = o * v_tanh(c);
    v_store(step->c_after + block * step->c_after_block + row * LANES, c);
    real *to =
        row < step->next_active && !step->h_apart ? step->hx_next + row * work->ldhx : work->final + row * work->padded;
    v_store(to + block * LANES, h);
    if (step->gates) {
        ptrdiff_t stride;
        real *gates = step->gates + lstm_gates_at(work, block, step->pair + row, &stride);
        v_store(gates, i);
        v_store(gates + stride, f);
        v_store(gates + 2 * stride, g);
        v_store(gates + 3 * stride, o);
    }
    return h;
}

/* Compute a tile of rows of one block. */
INLINE void forward_tile(const forward_step *step, ptrdiff_t block, ptrdiff_t row, const int rows)
{
    const lstm_work *work = step->work;
    const ptrdiff_t ldhx = work->ldhx, k = work->input + work->recurrent;
    const real *hx = step->hx + row * ldhx;
    V z[ROWS][GATES];
    for (int pass = 0; pass < PASSES; ++pass) {
        const real *w = work->panel + (block * PASSES + pass) * k * COLS * LANES;
        V acc[ROWS][COLS];
        UNROLL
        for (int c = 0; c < COLS; ++c) {
            const real *init = step->init + row * step->init_row + (block * GATES + pass * COLS + c) * LANES;
            UNROLL
            for (int r = 0; r < rows; ++r)
                acc[r][c] = v_load(init + r * step->init_row);
        }
        accumulate(acc, rows, COLS, hx + work->recurrent_padded, ldhx, w, step->inputs);
        accumulate(acc, rows, COLS, hx, ldhx, w + work->input * COLS * LANES, work->recurrent);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            UNROLL
            for (int c = 0; c < COLS; ++c)
                z[r][pass * COLS + c] = acc[r][c];
        }
    }
    if (work->cell) {
        for (int r = 0; r < rows; ++r)
            cell_forward(step, block, row + r, (const V[GATES]){z[r][0], z[r][1], z[r][2], z[r][3]});
        return;
    }
    for (int r = 0; r < rows; ++r)
        forward_cell(step, block, row + r, z[r][0], z[r][1], z[r][2], z[r][3]);
}

/* One row of two blocks: more independent sums, since a single row waits for the latency of its sums where there are
 * few of them (1 row, 100 steps, input 32, hidden 128, one thread: AVX2 .57 -> .36 ms; AVX-512 .36 ms with and without,
 * at 90 bytes/ns of the 119 that the second-level cache delivers). Tried there without success: software prefetch 512
 * to 4096 bytes ahead (0 to +25 %), unrolling k by 4 (within noise). Leaving out the activations changes nothing
 * either: the weights hide them. */
INLINE void forward_add_pair(V acc[2 * PASSES][COLS], const real *a, const real *w, ptrdiff_t panel, ptrdiff_t k)
{
    for (ptrdiff_t p = 0; p < k; ++p) {
        V broadcast = v_set(a[p]);
        UNROLL
        for (int n = 0; n < 2 * PASSES; ++n) {
            UNROLL
            for (int c = 0; c < COLS; ++c)
                acc[n][c] = v_fma(broadcast, v_load(w + n * panel + (p * COLS + c) * LANES), acc[n][c]);
        }
    }
}

static void forward_pair(const forward_step *step, ptrdiff_t block, ptrdiff_t row)
{
    const lstm_work *work = step->work;
    const ptrdiff_t panel = (work->input + work->recurrent) * COLS * LANES;
    const real *hx = step->hx + row * work->ldhx, *w = work->panel + block * PASSES * panel;
    V acc[2 * PASSES][COLS];
    UNROLL
    for (int n = 0; n < 2 * PASSES; ++n) {
        UNROLL
        for (int c = 0; c < COLS; ++c)
            acc[n][c] = v_load(step->init + row * step->init_row + (block * GATES + n * COLS + c) * LANES);
    }
    forward_add_pair(acc, hx + work->recurrent_padded, w, panel, step->inputs);
    forward_add_pair(acc, hx, w + work->input * COLS * LANES, panel, work->recurrent);
    V z[2 * GATES];
    UNROLL
    for (int n = 0; n < 2 * PASSES; ++n) {
        UNROLL
        for (int c = 0; c < COLS; ++c)
            z[n * COLS + c] = acc[n][c];
    }
    if (work->cell) {
        cell_forward(step, block, row, (const V[GATES]){z[0], z[1], z[2], z[3]});
        cell_forward(step, block + 1, row, (const V[GATES]){z[4], z[5], z[6], z[7]});
        return;
    }
    forward_cell(step, block, row, z[0], z[1], z[2], z[3]);
    forward_cell(step, block + 1, row, z[4], z[5], z[6], z[7]);
}

static void forward_rows(const forward_step *step, ptrdiff_t block, ptrdiff_t row, ptrdiff_t rows)
{
    switch (rows) {
    case 1: forward_tile(step, block, row, 1); break;
    case 2: forward_tile(step, block, row, 2); break;
    case 3: forward_tile(step, block, row, 3); break;
    case 4: forward_tile(step, block, row, 4); break;
    case 5: forward_tile(step, block, row, 5); break;
    default: forward_tile(step, block, row, ROWS); break;
    }
}
