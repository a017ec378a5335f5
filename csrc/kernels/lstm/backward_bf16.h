/* kernels/lstm/backward_bf16.h - the matrix products of the walk back with operands of 16 bits: bf16.h.
 *
 *   dh_(t-1) = bf(W_hh)' bf(dz)      dx_t = bf(W_ih)' bf(dz)
 *
 * dz itself stays in `gates` as float32, in which the gradient of the bias is summed. A step's words of it are in `dz`, of
 * two steps in turn: with a walk by units a thread may be one step ahead of another that still reads them. A sum over gates
 * and units goes bank by bank, in a bank gate by gate, the last bank filled up with zeros.
 */

/* Pack a panel of a transposed weight matrix, as backward_pack_matrix: words of two units, padded to whole banks. */
static void backward_bf16_pack(const lstm_work *work, const void *weight, ptrdiff_t columns, ptrdiff_t first,
                               ptrdiff_t vectors, real *panel)
{
    const ptrdiff_t width = minimum(columns - first, vectors * LANES), padded = round_up(width, LANES);
    real *to = panel + first * work->bf16.terms;
    for (ptrdiff_t bank = 0; bank < work->hidden; bank += UNITS)
        for (int gate = 0; gate < GATES; ++gate) {
            const ptrdiff_t row = lstm_gate_row(work, gate), units = row < 0 ? 0 : minimum(UNITS, work->hidden - bank);
            const real *from = row_of(weight, (row < 0 ? 0 : row) * work->hidden + bank, columns) + first;
            for (ptrdiff_t unit = 0; unit < UNITS; unit += 2, to += padded)
                for (ptrdiff_t c = 0; c < padded; c += LANES) {
                    const ptrdiff_t count = minimum(LANES, width - c);
                    const real *at = from + unit * columns + c;
                    const V even = unit < units ? v_load_part(at, count) : v_set(0);
                    v_store(to + c, bf16_pair(even, unit + 1 < units ? v_load_part(at + columns, count) : v_set(0)));
                }
        }
}

/* Zeros for the units that fill up the last bank. */
static void backward_bf16_begin(const lstm_work *work)
{
    const lstm_bf16 *bf16 = &work->bf16;
    for (ptrdiff_t row = 0; row < 2 * work->batch; ++row) {
        memset(bf16->dz + row * bf16->lddz, 0, (size_t)bf16->lddz * sizeof(real));
        if (bf16->dz_x != bf16->dz)
            memset(bf16->dz_x + row * bf16->lddz, 0, (size_t)bf16->lddz * sizeof(real));
    }
}

/* Where the words of dz of step s begin. */
static real *backward_bf16_dz(const lstm_work *work, real *dz, ptrdiff_t s)
{
    return dz + s % 2 * work->batch * work->bf16.lddz;
}

/* Write the words of dz of a step, of the share's units. */
static void backward_bf16_step(const lstm_work *work, const real *gates, ptrdiff_t n, ptrdiff_t s, real *dz,
                               const lstm_share *share, ptrdiff_t end)
{
    dz = backward_bf16_dz(work, dz, s);
    for (ptrdiff_t block = share->block_begin; block < share->block_end; ++block) {
        ptrdiff_t stride;
        const real *from = gates + lstm_gates_at(work, block, n, &stride);
        const ptrdiff_t unit = block / PARTS * UNITS * GATES + block % PARTS * LANES;
        for (ptrdiff_t row = share->row_begin; row < end; ++row)
            for (int gate = 0; gate < GATES; ++gate)
                bf16_write(dz + row * work->bf16.lddz, unit + gate * UNITS,
                           v_load(from + (row * GATES + gate) * stride));
    }
}

/* to[r][0 .. count) = dz of row `row` + r times a panel of a transposed weight matrix. */
static void backward_bf16_product(const lstm_work *work, const real *dz, ptrdiff_t row, ptrdiff_t rows,
                                  const real *panel, ptrdiff_t count, real *const *to, int add)
{
    words_job job = {.of = {{dz + row * work->bf16.lddz, work->bf16.lddz, panel, work->bf16.terms}}};
    bf16_deliver(lstm_bf16_way(work), &job, rows, to, count, add);
}
