/* kernels/lstm/forward_bf16.h - a tile of rows and one block of units at one step, with operands of 16 bits: bf16.h. */

/* Sum the net inputs of a tile of rows of one block, pass by pass: (PASSES)(rows)(COLS)(LANES), passes `ld` apart. */
INLINE void forward_bf16_sums(const forward_step *step, ptrdiff_t block, ptrdiff_t row, ptrdiff_t rows, real *sums,
                              ptrdiff_t ld)
{
    const lstm_work *work = step->work;
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t words = bf16->words_x + bf16->words_h, width = COLS * LANES;
    const real *hx = step->hx + row * work->ldhx;
    for (int pass = 0; pass < PASSES; ++pass) {
        const real *w = work->panel + (block * PASSES + pass) * words * width;
        const words_job job = {
            .of = {{hx + bf16->words_h, work->ldhx, w, step->inputs ? bf16->words_x : 0},
                   {hx, work->ldhx, w + bf16->words_x * width, bf16->words_h}},
            .init = step->init + row * step->init_row + (block * GATES + pass * COLS) * LANES,
            .init_row = step->init_row,
            .sums = sums + pass * ld,
        };
        bf16_product(lstm_bf16_way(work), &job, rows, COLS);
    }
}

/* Compute the cell of one row of a block from its sums. */
INLINE void forward_bf16_cell(const forward_step *step, ptrdiff_t block, ptrdiff_t row, const real *sums, ptrdiff_t ld)
{
    const lstm_work *work = step->work;
    V z[GATES];
    UNROLL
    for (int gate = 0; gate < GATES; ++gate)
        z[gate] = v_load(sums + gate / COLS * ld + gate % COLS * LANES);
    if (work->cell) {
        cell_forward(step, block, row, z);
        return;
    }
    const V h = forward_cell(step, block, row, z[0], z[1], z[2], z[3]);
    if (row < step->next_active)
        bf16_write(step->hx_next + row * work->ldhx, block * LANES, h);
}

/* Compute a tile of rows of one block. */
static void forward_bf16_rows(const forward_step *step, ptrdiff_t block, ptrdiff_t row, ptrdiff_t rows)
{
    enum { LD = AMX_ROWS * COLS * LANES };
    real sums[PASSES * LD];
    forward_bf16_sums(step, block, row, rows, sums, LD);
    for (ptrdiff_t r = 0; r < rows; ++r)
        forward_bf16_cell(step, block, row + r, sums + r * COLS * LANES, LD);
}

/* Compute one row of some blocks, some at a time: a cell is a long chain of operations, as is a sum by AMX, which those of
 * other blocks fill. (Tried without success: every other step from the last block back to the first, whose weights are
 * then still in the first-level cache.) */
static void forward_bf16_row(const forward_step *step, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t row)
{
    enum { TOGETHER = 4, LD = COLS * LANES };
    real sums[TOGETHER * PASSES * LD];
    for (ptrdiff_t block = begin; block < end; block += TOGETHER) {
        const ptrdiff_t count = minimum(TOGETHER, end - block);
        for (ptrdiff_t n = 0; n < count; ++n)
            forward_bf16_sums(step, block + n, row, 1, sums + n * PASSES * LD, LD);
        for (ptrdiff_t n = 0; n < count; ++n)
            forward_bf16_cell(step, block + n, row, sums + n * PASSES * LD, LD);
    }
}

/* Pack the weights of a gate of a block: words of x, then of h. */
static void forward_bf16_pack(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t block, int gate, ptrdiff_t row,
                              ptrdiff_t rows)
{
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t width = COLS * LANES, input = work->input, recurrent = work->recurrent;
    real *to =
        work->panel + (block * PASSES + gate / COLS) * (bf16->words_x + bf16->words_h) * width + gate % COLS * LANES;
    bf16_pack_rows(row_of(pass->weight_ih, row, input), input, rows, input, to, width, bf16->words_x);
    bf16_pack_rows(row_of(pass->weight_hh, row, recurrent), recurrent, rows, recurrent, to + bf16->words_x * width,
                   width, bf16->words_h);
}

/* Sum a tile of forward_x_sums: `rows` steps of a row, whose words are x_words. */
static void forward_bf16_x_sums(const lstm_work *work, ptrdiff_t part, const real *x_words, ptrdiff_t rows,
                                real *const *to)
{
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t width = COLS * LANES;
    const real *w = work->panel + part * (bf16->words_x + bf16->words_h) * width;
    words_job job = {.of = {{x_words, bf16->words_x, w, bf16->words_x}}, .init = work->bias + part * width};
    bf16_deliver(lstm_bf16_way(work), &job, rows, to, width, 0);
}

/* Sum the product of a part of the gates with x (`which` 1) or h (0), for some rows, for layer normalisation. */
static void forward_bf16_norm(const forward_step *step, ptrdiff_t part, int which, ptrdiff_t row, ptrdiff_t rows,
                              real *const *to)
{
    const lstm_work *work = step->work;
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t width = COLS * LANES;
    const real *w = work->panel + part * (bf16->words_x + bf16->words_h) * width, *hx = step->hx + row * work->ldhx;
    words_job job = {.of = {{hx, work->ldhx, w + bf16->words_x * width, bf16->words_h}}};
    if (which) {
        job.of[0].a = hx + bf16->words_h;
        job.of[0].w = w;
        job.of[0].words = bf16->words_x;
    }
    bf16_deliver(lstm_bf16_way(work), &job, rows, to, width, 0);
}
