/* kernels/dense.h - the fully connected layer.
 *
 *   y[n] = W x[n] + b        dx[n] = W' dy[n]        dW += sum_n dy[n] x[n]'        db += sum_n dy[n]
 *
 * x (rows, input), y (rows, output), W (output, input). Forward and dx share out the rows over threads. dW shares out
 * its own tiles: a tile is ROWS outputs by COLS vectors of inputs, whose x is first copied to a dense block, so that a
 * width that is no multiple of the vector costs nothing inside the loops.
 *
 *   packed     panels of W, then the padded bias: in the workspace, or in memory that passes share
 *   workspace  packed, or panels of W' for dx, whichever is larger; then per thread a block of x, (n)(COLS)(LANES), for
 *              dW; with weights of 8 bits instead the rows of x in integers
 */
enum { DENSE_BLOCK = 256 }; /* rows of x copied at a time */

typedef struct {
    const fl_dense_pass *pass;
    const real *dy;
    real *dx, *dweight, *dbias;
    real *panel, *bias, *blocks;
    /* Of weights of 8 bits (bytes.h): their way, words of a row, and what is packed with them: (output), (input). Then the
     * rows of x in words, with their factors. */
    int way;
    ptrdiff_t groups, words_row;
    real *start, *scale, *inverse, *words, *factor;
} dense_context;

/* Lay out panels of `panel` elements and the bias. */
static size_t dense_lay_out_packed(const fl_dense_pass *pass, char *base, double panel, dense_context *context)
{
    const double padded_output = ceil((double)pass->output / LANES) * LANES;
    size_t used = 0;
    context->pass = pass;
    context->way = pass->quantized ? bytes_way() : BYTES_NONE;
    context->groups = context->words_row = 0;
    if (context->way) {
        const double width = COLS * LANES, whole = ceil((double)pass->output / width) * width;
        context->groups = BYTES_CALL(context->way, bytes_words, (pass->input));
        context->words_row = BYTES_CALL(context->way, bytes_words, (round_up(pass->input, LANES)));
        context->bias = take(base, &used, whole, sizeof(real));
        context->start = take(base, &used, whole, sizeof(real));
        context->scale = take(base, &used, whole, sizeof(real));
        context->inverse = take(base, &used, (double)pass->input, sizeof(real));
        context->panel = take(base, &used, whole * (double)context->groups, sizeof(real));
        return used;
    }
    context->panel = take(base, &used, fmax(panel, (double)pass->input * padded_output), sizeof(real));
    context->bias = take(base, &used, padded_output, sizeof(real));
    return used;
}

static size_t dense_lay_out(const fl_dense_pass *pass, dense_context *context)
{
    const double padded_input = ceil((double)pass->input / LANES) * LANES;
    size_t used = 0;
    context->pass = pass;
    if (pass->backward || !pass->packed)
        used = dense_lay_out_packed(pass, pass->workspace, pass->backward ? (double)pass->output * padded_input : 0,
                                    context);
    else
        dense_lay_out_packed(pass, (char *)pass->packed, 0, context);
    if (context->way) {
        context->words = take(pass->workspace, &used, (double)pass->rows * (double)context->words_row, sizeof(real));
        context->factor = take(pass->workspace, &used, (double)pass->rows, sizeof(real));
    }
    if (pass->backward)
        context->blocks =
            take(pass->workspace, &used, (double)pass->n_threads * DENSE_BLOCK * COLS * LANES, sizeof(real));
    return used;
}

static size_t dense_workspace(const fl_dense_pass *pass)
{
    fl_dense_pass sized = *pass;
    dense_context context;
    sized.workspace = NULL;
    return dense_lay_out(&sized, &context);
}

/* to[n] = from[n] M (+ init) for a matrix M (k, columns) in panels; rows [begin, end). */
static void dense_rows(const real *panel, const real *init, ptrdiff_t k, ptrdiff_t columns, const real *from, real *to,
                       ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t tiles = tile_count(end - begin, ROWS);
    for (ptrdiff_t first = 0; first < columns; first += COLS * LANES)
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t row = begin + tile_begin(end - begin, tiles, t);
            const int rows = (int)(begin + tile_begin(end - begin, tiles, t + 1) - row);
            real *to_rows[ROWS];
            for (int r = 0; r < rows; ++r)
                to_rows[r] = to + (row + r) * columns + first;
            inner_job job = {
                .of = {{from + row * k, k, 1, 0, k}},
                .w = panel + first * k,
                .init = init ? init + first : NULL,
                .rows = to_rows,
                .count = minimum(columns - first, COLS * LANES),
            };
            inner_product(&job, rows, (int)((job.count + LANES - 1) / LANES));
        }
}

/* Pack panels of W' (input, output) for the forward pass: blocks of COLS vectors of outputs, the last one narrower,
 * with zeros for outputs that do not exist. The block that begins at output o begins at o * input. */
static void dense_pack_forward(const fl_dense_pass *pass, real *to)
{
    const ptrdiff_t input = pass->input, output = pass->output;
    for (ptrdiff_t first = 0; first < output; first += COLS * LANES) {
        const ptrdiff_t padded = round_up(minimum(output - first, COLS * LANES), LANES);
        for (ptrdiff_t c = 0; c < padded; c += LANES)
            transpose_to(row_of(pass->weight, first + c, input), input, minimum(LANES, output - first - c), input,
                         to + c, padded);
        to += input * padded;
    }
}

/* Pack panels of W (output, input) for dx, in blocks of inputs in the same way. */
static void dense_pack_backward(const fl_dense_pass *pass, real *to)
{
    const ptrdiff_t input = pass->input, output = pass->output;
    for (ptrdiff_t first = 0; first < input; first += COLS * LANES) {
        const ptrdiff_t width = minimum(input - first, COLS * LANES), padded = round_up(width, LANES);
        for (ptrdiff_t m = 0; m < output; ++m, to += padded) {
            memcpy(to, row_of(pass->weight, m, input) + first, (size_t)width * sizeof(real));
            memset(to + width, 0, (size_t)(padded - width) * sizeof(real));
        }
    }
}

#if REAL_IS_FLOAT
#define BYTES_FILE "dense_bytes_tile.h"
#include "bytes_ways.h"
#undef BYTES_FILE
#endif

static void dense_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const dense_context *context = argument;
    const fl_dense_pass *pass = context->pass;
    ptrdiff_t begin, end;
    fl_share(pass->rows, thread, team, &begin, &end);
    if (begin < end && context->way)
        BYTES_CALL(context->way, dense_bytes_rows, (context, begin, end));
    else if (begin < end)
        dense_rows(context->panel, context->bias, pass->input, pass->output, pass->x, pass->y, begin, end);
}

static double dense_work(const fl_dense_pass *pass)
{
    return (double)pass->rows * (double)pass->input * (double)pass->output;
}

static size_t dense_packed_size(const fl_dense_pass *pass)
{
    dense_context context;
    return dense_lay_out_packed(pass, NULL, 0, &context);
}

/* Pack weight and bias where the context has laid them out. */
static void dense_pack_to(const fl_dense_pass *pass, const dense_context *context)
{
    if (context->way) {
        BYTES_CALL(context->way, dense_bytes_pack, (pass, context));
        for (ptrdiff_t k = 0; pass->x_limits && k < pass->input; ++k)
            context->inverse[k] = pass->x_limits[k] > 0 ? 127 / pass->x_limits[k] : 0;
    } else {
        dense_pack_forward(pass, context->panel);
    }
    memset(context->bias, 0, (size_t)round_up(pass->output, context->way ? COLS * LANES : LANES) * sizeof(real));
    if (pass->bias)
        memcpy(context->bias, pass->bias, (size_t)pass->output * sizeof(real));
}

static void dense_pack(const fl_dense_pass *pass, void *packed)
{
    dense_context context;
    dense_lay_out_packed(pass, packed, 0, &context);
    dense_pack_to(pass, &context);
}

static void dense_forward(const fl_dense_pass *pass)
{
    dense_context context;
    dense_lay_out(pass, &context);
    if (!pass->packed)
        dense_pack_to(pass, &context);
    fl_parallel(fl_worthwhile_threads(pass->n_threads, dense_work(pass)), dense_forward_body, &context);
}

static void dense_dx_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const dense_context *context = argument;
    const fl_dense_pass *pass = context->pass;
    ptrdiff_t begin, end;
    fl_share(pass->rows, thread, team, &begin, &end);
    if (begin < end)
        dense_rows(context->panel, NULL, pass->output, pass->input, context->dy, context->dx, begin, end);
}

static void dense_dweight_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const dense_context *context = argument;
    const fl_dense_pass *pass = context->pass;
    const ptrdiff_t input = pass->input, output = pass->output, width = COLS * LANES;
    const ptrdiff_t across = tile_count(input, width), down = tile_count(output, ROWS);
    real *copy = context->blocks + thread * DENSE_BLOCK * width;
    ptrdiff_t begin, end;
    fl_share(across * down, thread, team, &begin, &end);
    for (ptrdiff_t n = 0; n < pass->rows; n += DENSE_BLOCK) {
        const ptrdiff_t rows = minimum(DENSE_BLOCK, pass->rows - n);
        ptrdiff_t copied = -1;
        for (ptrdiff_t t = begin; t < end; ++t) {
            const ptrdiff_t column = t / down * width, count = minimum(width, input - column);
            const ptrdiff_t padded = round_up(count, LANES);
            if (column != copied) {
                for (ptrdiff_t r = 0; r < rows; ++r) {
                    const real *x = (const real *)pass->x + (n + r) * input + column;
                    for (ptrdiff_t c = 0; c < count; ++c)
                        copy[r * padded + c] = x[c];
                    for (ptrdiff_t c = count; c < padded; ++c)
                        copy[r * padded + c] = 0;
                }
                copied = column;
            }
            const ptrdiff_t first = tile_begin(output, down, t % down), last = tile_begin(output, down, t % down + 1);
            outer_job tile = {
                .a = context->dy + n * output + first,
                .lda = output,
                .g = copy,
                .ldg = padded,
                .ldv = LANES,
                .n = rows,
                .d = context->dweight + first * input + column,
                .ldd = input,
                .count = count,
            };
            outer_product(&tile, (int)(last - first), (int)(padded / LANES));
        }
    }
}

static void dense_dbias_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const dense_context *context = argument;
    const ptrdiff_t rows = context->pass->rows, output = context->pass->output;
    ptrdiff_t begin, end;
    fl_share(output, thread, team, &begin, &end);
    for (ptrdiff_t first = begin; first < end; first += 64) {
        const ptrdiff_t count = minimum(64, end - first);
        double sums[64] = {0};
        add_rows(context->dy + first, rows, output, count, sums);
        for (ptrdiff_t c = 0; c < count; ++c)
            context->dbias[first + c] += (real)sums[c];
    }
}

static void dense_backward(const fl_dense_pass *pass, const void *dy, void *dx, void *dweight, void *dbias)
{
    dense_context context;
    dense_lay_out(pass, &context);
    context.dy = dy;
    context.dx = dx;
    context.dweight = dweight;
    context.dbias = dbias;
    const int n_threads = fl_worthwhile_threads(pass->n_threads, dense_work(pass));
    if (dx) {
        dense_pack_backward(pass, context.panel);
        fl_parallel(n_threads, dense_dx_body, &context);
    }
    if (dweight)
        fl_parallel(n_threads, dense_dweight_body, &context);
    if (dbias)
        fl_parallel(fl_worthwhile_threads(pass->n_threads, (double)pass->rows * (double)pass->output), dense_dbias_body,
                    &context);
}
