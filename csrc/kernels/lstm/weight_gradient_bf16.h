/* kernels/lstm/weight_gradient_bf16.h - the weight gradient with operands of 16 bits: bf16.h.
 *
 *   dW_ih = sum bf(dz) bf(x_t)'      dW_hh = sum bf(dz) bf(h_(t-1))'      db = sum dz (weight_gradient.h)
 *
 * It is an inner product like all others: of rows of dz, `dz_rows`, whose terms are the pairs n, and panels of the columns
 * of h and x. Some groups of steps are packed at a time, then multiplied; both is shared out to the team. A group is cut
 * into pieces of up to TERMS pairs, whose sums are added to the caller's arrays one after the other.
 */

/* A piece of a group of steps. */
typedef struct {
    ptrdiff_t step;        /* at which the group begins */
    ptrdiff_t n, n_end;    /* its pairs */
    ptrdiff_t word, words; /* where its words begin in rows of dz and in panels, and how many there are */
} gradient_piece;

/* The pieces of some groups, one after the other, those of the latest group first. To begin with, the piece's step is the
 * end of the last group, and all else 0. */
typedef struct {
    gradient_piece piece;
    ptrdiff_t pieces, left;   /* of the group */
    ptrdiff_t group_n, pairs; /* its first pair, and how many it has */
} gradient_pieces;

/* Go on to the next piece of the groups from step `begin` on; 0 after the last one. */
static int gradient_next(const backward_context *job, ptrdiff_t begin, gradient_pieces *all)
{
    const lstm_work *work = job->work;
    gradient_piece *piece = &all->piece;
    piece->word += piece->words;
    while (all->left == 0) {
        if (piece->step <= begin)
            return 0;
        const ptrdiff_t end = piece->step;
        piece->step = (end - 1) / work->group * work->group;
        all->group_n = backward_pair(job, piece->step);
        all->pairs = backward_pair(job, end) - all->group_n;
        all->left = all->pieces = tile_count(all->pairs, TERMS);
    }
    const ptrdiff_t number = all->pieces - all->left--;
    piece->n = all->group_n + tile_begin(all->pairs, all->pieces, number);
    piece->n_end = all->group_n + tile_begin(all->pairs, all->pieces, number + 1);
    piece->words = bf16_words(lstm_bf16_way(work), piece->n_end - piece->n);
    return 1;
}

/* Pack the rows of dz of a bank for a piece: of two pairs n the words of LANES units, turned into LANES words of a unit. */
static void gradient_pack_dz(const lstm_work *work, const real *gates, ptrdiff_t bank, const gradient_piece *piece,
                             real *rows)
{
    const ptrdiff_t ldsum = work->bf16.ldsum;
    ptrdiff_t stride;
    const real *from = gates + lstm_gates_at(work, bank * PARTS, piece->n, &stride);
    rows += bank * GATES * UNITS * ldsum + piece->word;
    for (int gate = 0; gate < GATES; ++gate)
        for (ptrdiff_t part = 0; part < PARTS; ++part)
            for (ptrdiff_t first = 0; first < piece->words; first += LANES) {
                const ptrdiff_t count = minimum(LANES, piece->words - first);
                V v[LANES];
                for (ptrdiff_t p = 0; p < LANES; ++p) {
                    const ptrdiff_t n = piece->n + 2 * (first + p);
                    const real *at = from + (2 * (first + p) * GATES + gate) * stride + part * LANES;
                    const int there = part * LANES < stride;
                    v[p] = bf16_pair(there && n < piece->n_end ? v_load(at) : v_set(0),
                                     there && n + 1 < piece->n_end ? v_load(at + GATES * stride) : v_set(0));
                }
                v_transpose(v);
                for (ptrdiff_t unit = 0; unit < LANES; ++unit)
                    v_store_part(rows + (gate * UNITS + part * LANES + unit) * ldsum + first, v[unit], count);
            }
}

/* Where h_(t-1) of pair n is, which belongs to step s: in `cells`, or `h_read` of other cells. */
static ptrdiff_t gradient_h_at(const backward_context *job, ptrdiff_t s, ptrdiff_t n)
{
    return n + lstm_cells_at(job->work, job->first, s - 1) - backward_pair(job, s);
}

/* Pack the columns of chunk `chunk` of h, or of x (`of_x`), for a piece. */
static void gradient_pack_columns(const backward_context *job, int of_x, ptrdiff_t chunk, const gradient_piece *piece,
                                  ptrdiff_t vectors, real *to)
{
    const lstm_work *work = job->work;
    const real *h = work->cell ? work->cell_ws.h_read : work->cells;
    ptrdiff_t s = piece->step;
    to += piece->word * vectors * LANES;
    for (ptrdiff_t p = 0; p < piece->words; ++p, to += vectors * LANES) {
        V pair[2][COLS];
        for (int k = 0; k < 2; ++k) {
            const ptrdiff_t n = piece->n + 2 * p + k;
            const int there = n < piece->n_end;
            while (there && backward_pair(job, s + 1) <= n)
                ++s;
            const ptrdiff_t row = n - backward_pair(job, s);
            const real *x = NULL;
            if (there && of_x)
                x = lstm_x_at(job->pass, work, row, s) + chunk * COLS * LANES;
            const ptrdiff_t at = there && !of_x ? gradient_h_at(job, s, n) : 0;
            for (ptrdiff_t c = 0; c < vectors; ++c) {
                pair[k][c] = v_set(0);
                if (x)
                    pair[k][c] = v_load_part(x + c * LANES, minimum(LANES, work->input - (chunk * COLS + c) * LANES));
                else if (there)
                    pair[k][c] = v_load(h + ((chunk * COLS + c) * work->ldc + at) * LANES);
            }
        }
        for (ptrdiff_t c = 0; c < vectors; ++c)
            v_store(to + c * LANES, bf16_pair(pair[0][c], pair[1][c]));
    }
}

/* The chunks of columns of h, then of x; how many vectors a chunk has. */
static ptrdiff_t gradient_chunks_h(const lstm_work *work)
{
    return tile_count(work->recurrent_blocks, COLS);
}

static ptrdiff_t gradient_chunks(const lstm_work *work)
{
    return gradient_chunks_h(work) + tile_count(work->input, COLS * LANES);
}

static ptrdiff_t gradient_vectors(const lstm_work *work, ptrdiff_t chunk)
{
    const ptrdiff_t of_h = gradient_chunks_h(work);
    if (chunk < of_h)
        return minimum(COLS, work->recurrent_blocks - chunk * COLS);
    return minimum(COLS, tile_count(work->input, LANES) - (chunk - of_h) * COLS);
}

static real *gradient_columns_of(const lstm_work *work, ptrdiff_t chunk)
{
    return work->bf16.columns + chunk * work->bf16.ldsum * COLS * LANES;
}

/* Pack one task's share of the operands of the steps [begin, sum_end): items are banks of dz, then chunks of columns. */
static void gradient_bf16_pack(void *context, ptrdiff_t task, ptrdiff_t tasks)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t banks = tile_count(work->hidden, UNITS), of_h = gradient_chunks_h(work);
    ptrdiff_t begin, end;
    fl_share(banks + gradient_chunks(work), task, tasks, &begin, &end);
    for (ptrdiff_t item = begin; item < end; ++item) {
        const ptrdiff_t chunk = item - banks;
        gradient_pieces all = {.piece = {.step = job->sum_end}};
        while (gradient_next(job, job->sum_from, &all))
            if (item < banks) {
                gradient_pack_dz(work, work->gates, item, &all.piece, bf16->dz_rows);
                if (bf16->dz_x_rows != bf16->dz_rows)
                    gradient_pack_dz(work, backward_gates_x(work), item, &all.piece, bf16->dz_x_rows);
            } else {
                gradient_pack_columns(job, chunk >= of_h, chunk < of_h ? chunk : chunk - of_h, &all.piece,
                                      gradient_vectors(work, chunk), gradient_columns_of(work, chunk));
            }
    }
}

/* Add the products of a bank and a chunk to the caller's gradient. */
static void gradient_bf16_add(const backward_context *job, ptrdiff_t bank, ptrdiff_t chunk)
{
    const lstm_work *work = job->work;
    const lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t of_h = gradient_chunks_h(work), vectors = gradient_vectors(work, chunk), height = lstm_height(work);
    const int of_x = chunk >= of_h;
    const ptrdiff_t first = (of_x ? chunk - of_h : chunk) * COLS * LANES, ld = of_x ? work->input : work->recurrent;
    const ptrdiff_t columns = minimum(vectors * LANES, ld - first), units = minimum(UNITS, work->hidden - bank * UNITS);
    real *gradient = of_x ? job->out->dweight_ih : job->out->dweight_hh;
    const real *rows_of_bank = (of_x ? bf16->dz_x_rows : bf16->dz_rows) + bank * GATES * UNITS * bf16->ldsum;
    real sums[AMX_ROWS * COLS * LANES];
    if (!gradient)
        return;
    gradient_pieces all = {.piece = {.step = job->sum_end}};
    while (gradient_next(job, job->sum_from, &all))
        for (ptrdiff_t tile = 0, rows; tile < GATES * UNITS; tile += rows) {
            rows = minimum(height, GATES * UNITS - tile);
            const words_job product = {
                .of = {{rows_of_bank + tile * bf16->ldsum + all.piece.word, bf16->ldsum,
                        gradient_columns_of(work, chunk) + all.piece.word * vectors * LANES, all.piece.words}},
                .sums = sums,
            };
            bf16_product(lstm_bf16_way(work), &product, rows, vectors);
            for (ptrdiff_t r = 0; r < rows; ++r) {
                const ptrdiff_t gate = lstm_gate_row(work, (int)((tile + r) / UNITS)), unit = (tile + r) % UNITS;
                if (gate < 0 || unit >= units)
                    continue;
                real *to = gradient + (gate * work->hidden + bank * UNITS + unit) * ld + first;
                const real *from = sums + r * vectors * LANES;
                ptrdiff_t c = 0;
                for (; c + LANES <= columns; c += LANES)
                    v_store(to + c, v_load(to + c) + v_load(from + c));
                if (c < columns)
                    v_store_part(to + c, v_load_part(to + c, columns - c) + v_load(from + c), columns - c);
            }
        }
}

static void gradient_bf16_sum(void *context, ptrdiff_t task, ptrdiff_t tasks)
{
    const backward_context *job = context;
    const lstm_work *work = job->work;
    const ptrdiff_t banks = tile_count(work->hidden, UNITS);
    ptrdiff_t begin, end;
    fl_share(banks * gradient_chunks(work), task, tasks, &begin, &end);
    bf16_begin(lstm_bf16_way(work), 16);
    for (ptrdiff_t item = begin; item < end; ++item)
        gradient_bf16_add(job, item % banks, item / banks);
    bf16_end(lstm_bf16_way(work));
}

/* Add the pairs of the steps [sum_begin, sum_end) to the gradients of W_hh and W_ih. */
static void backward_bf16_weights(backward_context *job, int n_threads)
{
    const lstm_work *work = job->work;
    const ptrdiff_t banks = tile_count(work->hidden, UNITS), chunks = gradient_chunks(work), end = job->sum_end;
    while (job->sum_end > job->sum_begin) {
        const ptrdiff_t from = round_up(job->sum_end, work->group) - work->bf16.groups * work->group;
        job->sum_from = from > job->sum_begin ? from : job->sum_begin;
        fl_parallel_tasks(n_threads, backward_cut(n_threads, banks + chunks), gradient_bf16_pack, job);
        fl_parallel_tasks(n_threads, backward_cut(n_threads, banks * chunks), gradient_bf16_sum, job);
        job->sum_end = job->sum_from;
    }
    job->sum_end = end;
}
