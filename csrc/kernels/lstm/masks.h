/* kernels/lstm/masks.h - the random masks of dropout and zoneout.
 *
 * An element of a mask is the word n % 4 of Philox4x32-10 at counter n / 4 of the row of the batch, n = time * width +
 * unit, where `width` is the number of units rounded up to 4, with a stream for each kind of mask: no state, the same for
 * every thread count, and for a row whatever the others are.
 */
enum { MASK_G = 1, MASK_VARIATIONAL = 2, MASK_H = 3, MASK_C = 4 };

/* Write the elements [begin, end) of one row's mask: `dropped` where the draw is below p, else `kept`. The elements
 * after the last unit are finite but otherwise unspecified. */
static void cell_mask(const lstm_work *work, uint32_t stream, ptrdiff_t time, ptrdiff_t b, ptrdiff_t units,
                      ptrdiff_t begin, ptrdiff_t end, double p, real dropped, real kept, real *to)
{
    enum { GROUP = DRAWS };
    const uint32_t threshold = (uint32_t)(p * 4294967296.0);
    const ptrdiff_t first = time * (round_up(units, 4) / 4);
    for (ptrdiff_t group = begin / 4; group * 4 < end; group += GROUP) {
        uint32_t words[4][GROUP];
        real mask[4 * GROUP];
        const int count = (int)minimum(GROUP, tile_count(end - 4 * group, 4));
        draw_words(work->cell->seed, (uint64_t)(first + group), stream, work->cell->first_row + b, count, words);
        for (int k = 0; k < count; ++k)
            for (int word = 0; word < 4; ++word)
                mask[4 * k + word] = words[word][k] < threshold ? dropped : kept;
        const ptrdiff_t from = begin > 4 * group ? begin - 4 * group : 0;
        memcpy(to + 4 * group + from, mask + from, (size_t)(minimum(4 * GROUP, end - 4 * group) - from) * sizeof(real));
    }
}

/* Draw the masks of step s for rows below row_end, and for the units of the share. */
static void cell_draw_masks(const fl_lstm_pass *pass, const lstm_work *work, const lstm_share *share, ptrdiff_t s,
                            ptrdiff_t row_end)
{
    const fl_lstm_cell *cell = work->cell;
    const cell_workspace *ws = &work->cell_ws;
    if (!ws->mask_g && !ws->mask_h && !ws->mask_c)
        return;
    const ptrdiff_t begin = share->block_begin * LANES, end = share->block_end * LANES;
    for (ptrdiff_t row = share->row_begin; row < row_end; ++row) {
        const ptrdiff_t b = work->order[row], time = lstm_time_of(pass, work, row, s);
        if (ws->mask_g)
            cell_mask(work, MASK_G, time, b, work->hidden, begin, end, cell->recurrent_dropout, 0,
                      (real)(1 / (1 - cell->recurrent_dropout)), ws->mask_g + row * work->padded);
        if (ws->mask_h)
            cell_mask(work, MASK_H, time, b, work->recurrent, share->h_begin * LANES, share->h_end * LANES,
                      cell->zoneout_h, 1, 0, ws->mask_h + row * work->recurrent_padded);
        if (ws->mask_c)
            cell_mask(work, MASK_C, time, b, work->hidden, begin, end, cell->zoneout_c, 1, 0,
                      ws->mask_c + row * work->padded);
    }
}

/* The h that W_hh multiplies. */
INLINE V cell_read(const lstm_work *work, ptrdiff_t row, ptrdiff_t block, V h)
{
    const real *mask = work->cell_ws.mask_variational;
    if (mask)
        h = h * v_load(mask + row * work->recurrent_padded + block * LANES);
    return h;
}
