/* kernels/lstm/forward_bf16.h - a tile of rows and one block of units at one step, with operands of 16 bits: bf16.h. */

/* Compute a tile of rows of one block. */
static void forward_bf16_rows(const forward_step *step, ptrdiff_t block, ptrdiff_t row, ptrdiff_t rows)
{
    const lstm_work *work = step->work;
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t words = bf16->words_x + bf16->words_h, width = COLS * LANES;
    const real *hx = step->hx + row * work->ldhx;
    real sums[PASSES * BF16_MOST_ROWS * COLS * LANES];
    for (int pass = 0; pass < PASSES; ++pass) {
        const real *w = work->panel + (block * PASSES + pass) * words * width;
        const bf16_job job = {
            .of = {{hx + bf16->words_h, work->ldhx, w, step->inputs ? bf16->words_x : 0},
                   {hx, work->ldhx, w + bf16->words_x * width, bf16->words_h}},
            .init = step->init + row * step->init_row + (block * GATES + pass * COLS) * LANES,
            .init_row = step->init_row,
            .sums = sums + pass * BF16_MOST_ROWS * width,
        };
        bf16_product(lstm_bf16_way(work), &job, rows, COLS);
    }
    for (ptrdiff_t r = 0; r < rows; ++r) {
        V z[GATES];
        UNROLL
        for (int gate = 0; gate < GATES; ++gate)
            z[gate] = v_load(sums + (gate / COLS * BF16_MOST_ROWS + r) * width + gate % COLS * LANES);
        if (work->cell) {
            cell_forward(step, block, row + r, z);
            continue;
        }
        const V h = forward_cell(step, block, row + r, z[0], z[1], z[2], z[3]);
        if (row + r < step->next_active)
            bf16_write(step->hx_next + (row + r) * work->ldhx, block * LANES, h);
    }
}

/* Pack the weights of a gate of a block: words of x, then of h. */
static void forward_bf16_pack(const fl_lstm_pass *pass, const lstm_work *work, ptrdiff_t block, int gate, ptrdiff_t row,
                              ptrdiff_t rows)
{
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t width = COLS * LANES, input = work->input, recurrent = work->recurrent;
    real *to = work->panel + (block * PASSES + gate / COLS) * (bf16->words_x + bf16->words_h) * width +
               gate % COLS * LANES;
    bf16_pack_rows(row_of(pass->weight_ih, row, input), input, rows, input, to, width, bf16->words_x);
    bf16_pack_rows(row_of(pass->weight_hh, row, recurrent), recurrent, rows, recurrent, to + bf16->words_x * width, width,
                   bf16->words_h);
}

/* Sum a tile of forward_x_sums: `rows` steps of a row, whose words are x_words. */
static void forward_bf16_x_sums(const lstm_work *work, ptrdiff_t part, const real *x_words, ptrdiff_t rows,
                                real *const *to)
{
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t width = COLS * LANES;
    real sums[BF16_MOST_ROWS * COLS * LANES];
    const bf16_job job = {
        .of = {{x_words, bf16->words_x, work->panel + part * (bf16->words_x + bf16->words_h) * width, bf16->words_x}},
        .init = work->bias + part * width,
        .sums = sums,
    };
    bf16_product(lstm_bf16_way(work), &job, rows, COLS);
    for (ptrdiff_t r = 0; r < rows; ++r)
        memcpy(to[r], sums + r * width, (size_t)width * sizeof(real));
}

/* Sum the product of a part of the gates with x (`which` 1) or h (0), for some rows, for layer normalisation. */
static void forward_bf16_norm(const forward_step *step, ptrdiff_t part, int which, ptrdiff_t row, ptrdiff_t rows,
                              real *const *to)
{
    const lstm_work *work = step->work;
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t width = COLS * LANES;
    const real *w = work->panel + part * (bf16->words_x + bf16->words_h) * width, *hx = step->hx + row * work->ldhx;
    real sums[BF16_MOST_ROWS * COLS * LANES];
    bf16_job job = {.of = {{hx, work->ldhx, w + bf16->words_x * width, bf16->words_h}}, .sums = sums};
    if (which) {
        job.of[0].a = hx + bf16->words_h;
        job.of[0].w = w;
        job.of[0].words = bf16->words_x;
    }
    bf16_product(lstm_bf16_way(work), &job, rows, COLS);
    for (ptrdiff_t r = 0; r < rows; ++r)
        memcpy(to[r], sums + r * width, (size_t)width * sizeof(real));
}
