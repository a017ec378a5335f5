/* kernels/dense_bytes_tile.h - the fully connected layer with weights of 8 bits, in one way of multiplying them: bytes.h.
 */
BYTES_TARGET static void BYTES(dense_bytes_rows)(const dense_context *context, ptrdiff_t begin, ptrdiff_t end)
{
    const fl_dense_pass *pass = context->pass;
    const ptrdiff_t input = pass->input, output = pass->output, groups = context->groups, ld = context->words_row;
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    const real *inverse = pass->x_limits ? context->inverse : NULL;
    for (ptrdiff_t n = begin; n < end; ++n)
        context->factor[n] =
            BYTES(bytes_quantize)((const real *)pass->x + n * input, input, inverse, context->words + n * ld);
    for (ptrdiff_t first = 0; first < output; first += COLS * LANES) {
        const bytes_panel panel = {context->panel + first * groups, context->start + first, context->scale + first,
                                   groups};
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t row = begin + tile_begin(end - begin, tiles, t);
            const ptrdiff_t rows = begin + tile_begin(end - begin, tiles, t + 1) - row;
            V values[ROWS][COLS];
            real sums[ROWS * COLS * LANES];
            for (int r = 0; r < ROWS; ++r)
                for (int c = 0; c < COLS; ++c)
                    values[r][c] = v_load(context->bias + first + c * LANES);
            const real *from = context->words + row * ld, *factor = context->factor + row;
            switch (rows) {
            case 1: BYTES(bytes_add_product)(values, 1, from, ld, &panel, factor); break;
            case 2: BYTES(bytes_add_product)(values, 2, from, ld, &panel, factor); break;
            case 3: BYTES(bytes_add_product)(values, 3, from, ld, &panel, factor); break;
            case 4: BYTES(bytes_add_product)(values, 4, from, ld, &panel, factor); break;
            case 5: BYTES(bytes_add_product)(values, 5, from, ld, &panel, factor); break;
            default: BYTES(bytes_add_product)(values, ROWS, from, ld, &panel, factor); break;
            }
            tile_spill(values, ROWS, COLS, sums);
            for (ptrdiff_t r = 0; r < rows; ++r)
                memcpy((real *)pass->y + (row + r) * output + first, sums + r * COLS * LANES,
                       (size_t)minimum(COLS * LANES, output - first) * sizeof(real));
        }
    }
}

static void BYTES(dense_bytes_pack)(const fl_dense_pass *pass, const dense_context *context)
{
    for (ptrdiff_t first = 0; first < pass->output; first += COLS * LANES)
        for (ptrdiff_t c = 0; c < COLS; ++c) {
            const ptrdiff_t row = first + c * LANES, rows = minimum(LANES, pass->output - row);
            BYTES(bytes_pack)(row_of(pass->weight, row, pass->input), rows < 0 ? 0 : rows, pass->input, pass->x_limits,
                              c, context->panel + first * context->groups, context->start + first,
                              context->scale + first);
        }
}
