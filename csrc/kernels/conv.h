/* kernels/conv.h - convolution over the steps of a series.
 *
 *   y[t][f] = b[f] + sum_k sum_c W[f][c][k] x[t s - left + k d][c]        for t < n, the steps of y
 *
 * s is the stride, d the dilation; x is 0 outside of the series. n and left follow from the length of each series:
 *
 *   given   n = (length + left + right - span) / s + 1, or 0,  span = (kernel - 1) d + 1
 *   same    n = ceil(length / s),  left = max((n - 1) s + span - length, 0) / 2
 *
 * Filters and features fall into equal groups, and a filter reads the features of its group; c counts within it.
 *
 * The windows of x are read where they are (no im2col): rows of a tile are consecutive steps of y, `lda` = s rows of x
 * apart, and a window is one strip of kernel * features terms, or one for each tap if d or the number of groups is
 * above 1. Windows that reach beyond an end of the series are copied, with zeros, to a small array first, so that every
 * sum has the same terms in the same order: taps, then features. Hence a series in blocks gives the same bits.
 *
 * dx is such a product, too. With v = u + left and the phase r = v mod s, it takes the taps k with k d mod s = r:
 *
 *   dx[u][c] = sum_k sum_f W[f][c][k] dy[(v - k d) / s][f]
 *
 * The rows of a tile are the steps of one phase; from one to the next, and from one tap to the one before, the step of
 * dy goes up by a constant. dW shares out its tiles as that of the dense layer does: a block of windows of x is copied
 * for COLS vectors of columns (tap, feature), and the sums over blocks are kept in the order (filter, tap, feature).
 *
 *   packed     panels of W for each group, (tap, feature)(filters of a block), then the padded bias of each group
 *   workspace  packed, or the panels for dx, (phase)(tap, filter)(features of a block), whichever is larger; sums of
 *              dW; per thread a window that reaches beyond an end, and blocks of x and dy for dW
 */
enum { CONV_ROWS = 8 * ROWS, CONV_BLOCK = 256 }; /* steps of y that a thread takes at a time; windows copied for dW */

typedef struct {
    const fl_conv_pass *pass;
    ptrdiff_t group_input, group_filters; /* features and filters of a group */
    ptrdiff_t edge;                       /* elements of a window beyond an end, for each thread */
    const real *dy;
    real *dx, *dweight, *dbias;
    real *panel, *bias, *sums, *edges, *blocks, *dy_blocks;
} conv_context;

/* The edges of a thread; NULL if windows have none. */
static real *conv_edges_of(const conv_context *context, ptrdiff_t thread)
{
    return context->edge > 0 ? context->edges + thread * context->edge : NULL;
}

static ptrdiff_t conv_span(const fl_conv_pass *pass)
{
    return (pass->kernel - 1) * pass->dilation + 1;
}

static ptrdiff_t conv_length(const fl_conv_pass *pass, ptrdiff_t b)
{
    return pass->lengths ? (ptrdiff_t)pass->lengths[b] : pass->time;
}

/* Steps of y of a series, and the step of x before which its first window begins by `left`. */
static ptrdiff_t conv_steps(const fl_conv_pass *pass, ptrdiff_t length, ptrdiff_t *left)
{
    const ptrdiff_t span = conv_span(pass);
    *left = pass->left;
    if (length == 0)
        return 0;
    if (pass->same) {
        const ptrdiff_t steps = (length - 1) / pass->stride + 1, beyond = (steps - 1) * pass->stride + span - length;
        *left = beyond > 0 ? beyond / 2 : 0;
        return steps;
    }
    const ptrdiff_t room = length + pass->left + pass->right - span;
    return room < 0 ? 0 : room / pass->stride + 1;
}

static ptrdiff_t conv_gcd(ptrdiff_t a, ptrdiff_t b)
{
    while (b) {
        const ptrdiff_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static double conv_padded(ptrdiff_t n)
{
    return ceil((double)n / LANES) * LANES;
}

/* Lay out panels of at least `panel` elements, and the bias. */
static size_t conv_lay_out_packed(const fl_conv_pass *pass, char *base, double panel, conv_context *context)
{
    const double padded = (double)pass->groups * conv_padded(pass->filters / pass->groups);
    const double terms = (double)pass->kernel * (double)(pass->input / pass->groups);
    size_t used = 0;
    context->panel = take(base, &used, fmax(panel, terms * padded), sizeof(real));
    context->bias = take(base, &used, padded, sizeof(real));
    return used;
}

static size_t conv_lay_out(const fl_conv_pass *pass, conv_context *context)
{
    const double taps = (double)(pass->kernel - 1), threads = pass->n_threads;
    size_t used = 0;
    context->pass = pass;
    context->group_input = pass->input / pass->groups;
    context->group_filters = pass->filters / pass->groups;
    const double input = (double)context->group_input, filters = (double)context->group_filters;
    if (pass->backward || !pass->packed)
        used = conv_lay_out_packed(pass, pass->workspace,
                                   pass->backward ? (double)pass->groups * (double)pass->kernel * filters *
                                                        conv_padded(context->group_input)
                                                  : 0,
                                   context);
    double edge = 0;
    if (pass->same || pass->left > 0 || pass->right > 0 || pass->backward)
        edge = (double)(ROWS - 1) * (double)pass->stride * input + (taps * (double)pass->dilation + 1) * input;
    if (pass->backward)
        edge = fmax(edge, ((double)ROWS + taps * (double)pass->dilation) * filters);
    edge = ceil(edge / 16) * 16;
    context->edges = take(pass->workspace, &used, threads * edge, sizeof(real));
    context->edge = used == SIZE_MAX ? 0 : (ptrdiff_t)edge;
    if (pass->backward) {
        context->sums =
            take(pass->workspace, &used, (double)pass->filters * (double)pass->kernel * input, sizeof(real));
        context->blocks = take(pass->workspace, &used, threads * CONV_BLOCK * COLS * LANES, sizeof(real));
        context->dy_blocks = take(pass->workspace, &used, threads * CONV_BLOCK * ROWS, sizeof(real));
    }
    return used;
}

static size_t conv_workspace(const fl_conv_pass *pass)
{
    fl_conv_pass sized = *pass;
    conv_context context;
    sized.workspace = NULL;
    return conv_lay_out(&sized, &context);
}

/* ---------------------------------------------------------------- packing */

/* Pack one block of panels: to[k][m][n] = w(k, m, n), with zeros from n = count on. The taps are `first`, first + by,
 * ... (taps of them); an element of W of tap k is at w + m * by_m + n * by_n + k. */
static real *conv_pack_block(const real *w, ptrdiff_t first, ptrdiff_t by, ptrdiff_t taps, ptrdiff_t terms,
                             ptrdiff_t by_m, ptrdiff_t count, ptrdiff_t by_n, real *to)
{
    const ptrdiff_t padded = round_up(count, LANES);
    for (ptrdiff_t k = 0; k < taps; ++k)
        for (ptrdiff_t m = 0; m < terms; ++m, to += padded) {
            const real *from = w + m * by_m + first + k * by;
            for (ptrdiff_t n = 0; n < count; ++n)
                to[n] = from[n * by_n];
            for (ptrdiff_t n = count; n < padded; ++n)
                to[n] = 0;
        }
    return to;
}

/* Pack weight and bias where the context has laid them out, for the forward pass. */
static void conv_pack_to(const fl_conv_pass *pass, const conv_context *context)
{
    const ptrdiff_t input = pass->input / pass->groups, filters = pass->filters / pass->groups, taps = pass->kernel;
    const ptrdiff_t padded = round_up(filters, LANES);
    real *to = context->panel;
    for (ptrdiff_t g = 0; g < pass->groups; ++g) {
        const real *w = (const real *)pass->weight + g * filters * input * taps;
        for (ptrdiff_t first = 0; first < filters; first += COLS * LANES)
            to = conv_pack_block(w + first * input * taps, 0, 1, taps, input, taps,
                                 minimum(COLS * LANES, filters - first), input * taps, to);
        real *bias = context->bias + g * padded;
        memset(bias, 0, (size_t)padded * sizeof(real));
        if (pass->bias)
            memcpy(bias, (const real *)pass->bias + g * filters, (size_t)filters * sizeof(real));
    }
}

static size_t conv_packed_size(const fl_conv_pass *pass)
{
    conv_context context;
    return conv_lay_out_packed(pass, NULL, 0, &context);
}

static void conv_pack(const fl_conv_pass *pass, void *packed)
{
    conv_context context;
    conv_lay_out_packed(pass, packed, 0, &context);
    conv_pack_to(pass, &context);
}

/* The taps of a phase of dx: `last`, last - by, ..., `count` of them. */
typedef struct {
    ptrdiff_t last, by, count;
} conv_phase;

static conv_phase conv_taps(const fl_conv_pass *pass, ptrdiff_t r)
{
    const ptrdiff_t by = pass->stride / conv_gcd(pass->stride, pass->dilation);
    for (ptrdiff_t k = 0; k < minimum(by, pass->kernel); ++k)
        if (k * pass->dilation % pass->stride == r) {
            const ptrdiff_t count = (pass->kernel - 1 - k) / by + 1;
            return (conv_phase){k + (count - 1) * by, by, count};
        }
    return (conv_phase){0, by, 0};
}

/* Pack the panels for dx: for each group and phase, blocks of features. */
static void conv_pack_backward(const fl_conv_pass *pass, const conv_context *context)
{
    const ptrdiff_t input = context->group_input, filters = context->group_filters, taps = pass->kernel;
    real *to = context->panel;
    for (ptrdiff_t g = 0; g < pass->groups; ++g) {
        const real *w = (const real *)pass->weight + g * filters * input * taps;
        for (ptrdiff_t r = 0; r < pass->stride; ++r) {
            const conv_phase phase = conv_taps(pass, r);
            for (ptrdiff_t first = 0; phase.count && first < input; first += COLS * LANES)
                to = conv_pack_block(w + first * taps, phase.last, -phase.by, phase.count, filters, input * taps,
                                     minimum(COLS * LANES, input - first), taps, to);
        }
    }
}

/* ---------------------------------------------------------------- products over windows */

/* Windows of an array (length, width), 0 outside: `taps` rows, `gap` apart, of which each gives `terms` elements from
 * `offset` on. From one row of the result to the next, the window moves by `step`. */
typedef struct {
    const real *from;
    ptrdiff_t length, width, offset, terms, taps, gap, step;
} conv_windows;

/* A block of rows of the result: row n is written to `to` + n * by. */
typedef struct {
    ptrdiff_t place, rows; /* the row of the array where the first window begins */
    const real *panel, *init;
    ptrdiff_t columns;
    real *to;
    ptrdiff_t by;
} conv_product;

static void conv_rows(const conv_windows *of, const conv_product *product, real *edge)
{
    const ptrdiff_t tiles = tile_count(product->rows, ROWS), depth = of->taps * of->terms;
    for (ptrdiff_t first = 0; first < product->columns; first += COLS * LANES)
        for (ptrdiff_t t = 0; t < tiles; ++t) {
            const ptrdiff_t begin = tile_begin(product->rows, tiles, t), place = product->place + begin * of->step;
            const int rows = (int)(tile_begin(product->rows, tiles, t + 1) - begin);
            const ptrdiff_t count = (rows - 1) * of->step + (of->taps - 1) * of->gap + 1;
            const int beyond = place < 0 || place + count > of->length;
            const real *a = beyond ? edge : of->from + place * of->width + of->offset;
            const ptrdiff_t width = beyond ? of->terms : of->width;
            for (ptrdiff_t n = 0; beyond && n < count; ++n) {
                if (place + n < 0 || place + n >= of->length)
                    memset(edge + n * width, 0, (size_t)width * sizeof(real));
                else
                    memcpy(edge + n * width, of->from + (place + n) * of->width + of->offset,
                           (size_t)width * sizeof(real));
            }
            real *to_rows[ROWS];
            for (int r = 0; r < rows; ++r)
                to_rows[r] = product->to + (begin + r) * product->by + first;
            inner_job job = {
                .of = {{a, of->step * width, of->taps, of->gap * width, of->terms}},
                .w = product->panel + first * depth,
                .init = product->init ? product->init + first : NULL,
                .rows = to_rows,
                .count = minimum(product->columns - first, COLS * LANES),
            };
            if (of->gap * width == of->terms)
                job.of[0] = (strips){a, of->step * width, 1, 0, depth};
            inner_product(&job, rows, (int)((job.count + LANES - 1) / LANES));
        }
}

static void conv_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const conv_context *context = argument;
    const fl_conv_pass *pass = context->pass;
    const ptrdiff_t chunks = tile_count(pass->steps, CONV_ROWS), filters = context->group_filters;
    const ptrdiff_t padded = round_up(filters, LANES), depth = pass->kernel * context->group_input;
    ptrdiff_t begin, end;
    fl_share(pass->batch * chunks, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        const ptrdiff_t b = n / chunks, first = n % chunks * CONV_ROWS, length = conv_length(pass, b);
        const ptrdiff_t wanted = minimum(CONV_ROWS, pass->steps - first);
        ptrdiff_t left;
        const ptrdiff_t valid = conv_steps(pass, length, &left) - first;
        const ptrdiff_t rows = valid < 0 ? 0 : minimum(valid, wanted);
        real *y = (real *)pass->y + (b * pass->steps + first) * pass->filters;
        for (ptrdiff_t g = 0; rows && g < pass->groups; ++g) {
            const conv_windows of = {
                .from = (const real *)pass->x + b * pass->time * pass->input,
                .length = length,
                .width = pass->input,
                .offset = g * context->group_input,
                .terms = context->group_input,
                .taps = pass->kernel,
                .gap = pass->dilation,
                .step = pass->stride,
            };
            const conv_product product = {
                .place = first * pass->stride - left,
                .rows = rows,
                .panel = context->panel + g * depth * padded,
                .init = context->bias + g * padded,
                .columns = filters,
                .to = y + g * filters,
                .by = pass->filters,
            };
            conv_rows(&of, &product, conv_edges_of(context, thread));
        }
        memset(y + rows * pass->filters, 0, (size_t)((wanted - rows) * pass->filters) * sizeof(real));
    }
}

static double conv_work(const fl_conv_pass *pass)
{
    return (double)pass->batch * (double)pass->steps * (double)pass->kernel * (double)(pass->input / pass->groups) *
           (double)pass->filters;
}

static void conv_forward(const fl_conv_pass *pass)
{
    conv_context context;
    conv_lay_out(pass, &context);
    if (pass->packed)
        conv_lay_out_packed(pass, (char *)pass->packed, 0, &context);
    else
        conv_pack_to(pass, &context);
    fl_parallel(fl_worthwhile_threads(pass->n_threads, conv_work(pass)), conv_forward_body, &context);
}

/* ---------------------------------------------------------------- gradients */

/* The rows of one phase of dx, j in [begin, end) of a series. */
static void conv_dx_phase(const conv_context *context, ptrdiff_t b, ptrdiff_t r, ptrdiff_t left, ptrdiff_t steps,
                          ptrdiff_t begin, ptrdiff_t end, const real *panel, ptrdiff_t g, real *edge)
{
    const fl_conv_pass *pass = context->pass;
    const conv_phase phase = conv_taps(pass, r);
    const ptrdiff_t stride = pass->stride, input = context->group_input;
    real *to = context->dx + (b * pass->time + begin * stride + r - left) * pass->input + g * input;
    if (phase.count == 0 || steps == 0) {
        for (ptrdiff_t j = begin; j < end; ++j, to += stride * pass->input)
            memset(to, 0, (size_t)input * sizeof(real));
        return;
    }
    const conv_windows of = {
        .from = context->dy + b * pass->steps * pass->filters,
        .length = steps,
        .width = pass->filters,
        .offset = g * context->group_filters,
        .terms = context->group_filters,
        .taps = phase.count,
        .gap = phase.by * pass->dilation / stride,
        .step = 1,
    };
    const conv_product product = {
        .place = begin - (phase.last * pass->dilation - r) / stride, /* both are multiples of the stride apart */
        .rows = end - begin,
        .panel = panel,
        .columns = input,
        .to = to,
        .by = stride * pass->input,
    };
    conv_rows(&of, &product, edge);
}

/* ceil(a / b) for b > 0. */
static ptrdiff_t conv_ceil(ptrdiff_t a, ptrdiff_t b)
{
    return a > 0 ? (a - 1) / b + 1 : -(-a / b);
}

static void conv_dx_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const conv_context *context = argument;
    const fl_conv_pass *pass = context->pass;
    const ptrdiff_t chunk = CONV_ROWS * pass->stride, chunks = tile_count(pass->time, chunk);
    const ptrdiff_t terms = context->group_filters * round_up(context->group_input, LANES);
    ptrdiff_t first_unit, last_unit;
    fl_share(pass->batch * chunks, thread, team, &first_unit, &last_unit);
    for (ptrdiff_t n = first_unit; n < last_unit; ++n) {
        const ptrdiff_t b = n / chunks, first = n % chunks * chunk, length = conv_length(pass, b);
        const ptrdiff_t wanted = minimum(first + chunk, pass->time), last = minimum(wanted, length);
        ptrdiff_t left;
        const ptrdiff_t steps = conv_steps(pass, length, &left);
        for (ptrdiff_t g = 0; g < pass->groups; ++g) {
            const real *panel = context->panel + g * pass->kernel * terms;
            for (ptrdiff_t r = 0; r < pass->stride; ++r) {
                const ptrdiff_t begin = conv_ceil(first + left - r, pass->stride);
                const ptrdiff_t end = conv_ceil(last + left - r, pass->stride);
                if (begin < end)
                    conv_dx_phase(context, b, r, left, steps, begin, end, panel, g, conv_edges_of(context, thread));
                panel += conv_taps(pass, r).count * terms;
            }
        }
        const ptrdiff_t written = last > first ? last : first;
        memset(context->dx + (b * pass->time + written) * pass->input, 0,
               (size_t)((wanted - written) * pass->input) * sizeof(real));
    }
}

/* A walk over the steps of y of all series. */
typedef struct {
    ptrdiff_t b, t, steps, left;
} conv_cursor;

static conv_cursor conv_begin(const fl_conv_pass *pass, ptrdiff_t b)
{
    conv_cursor at = {.b = b};
    for (; at.b < pass->batch; ++at.b) {
        at.steps = conv_steps(pass, conv_length(pass, at.b), &at.left);
        if (at.steps > 0)
            break;
    }
    return at;
}

static void conv_next(const fl_conv_pass *pass, conv_cursor *at)
{
    if (++at->t >= at->steps)
        *at = conv_begin(pass, at->b + 1);
}

/* Copy columns [column, column + count) of the window of a step, ordered by (tap, feature), and zeros up to `padded`. */
static void conv_copy_window(const fl_conv_pass *pass, const conv_cursor *at, ptrdiff_t offset, ptrdiff_t terms,
                             ptrdiff_t column, ptrdiff_t count, ptrdiff_t padded, real *to)
{
    const ptrdiff_t length = conv_length(pass, at->b);
    for (ptrdiff_t done = 0; done < count;) {
        const ptrdiff_t tap = (column + done) / terms, c = (column + done) % terms;
        const ptrdiff_t n = minimum(terms - c, count - done);
        const ptrdiff_t step = at->t * pass->stride - at->left + tap * pass->dilation;
        if (step < 0 || step >= length)
            memset(to + done, 0, (size_t)n * sizeof(real));
        else
            memcpy(to + done, (const real *)pass->x + (at->b * pass->time + step) * pass->input + offset + c,
                   (size_t)n * sizeof(real));
        done += n;
    }
    memset(to + count, 0, (size_t)(padded - count) * sizeof(real));
}

/* The row of y of a step. */
static ptrdiff_t conv_row(const fl_conv_pass *pass, const conv_cursor *at)
{
    return at->b * pass->steps + at->t;
}

static void conv_dweight_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const conv_context *context = argument;
    const fl_conv_pass *pass = context->pass;
    const ptrdiff_t input = context->group_input, filters = context->group_filters, width = COLS * LANES;
    const ptrdiff_t depth = pass->kernel * input, across = tile_count(depth, width), down = tile_count(filters, ROWS);
    real *copy = context->blocks + thread * CONV_BLOCK * width, *dy = context->dy_blocks + thread * CONV_BLOCK * ROWS;
    ptrdiff_t begin, end;
    fl_share(pass->groups * across * down, thread, team, &begin, &end);
    if (begin == end)
        return;
    for (conv_cursor from = conv_begin(pass, 0), to; from.b < pass->batch; from = to) {
        ptrdiff_t rows = 0, copied = -1, last = 0;
        for (to = from; rows < CONV_BLOCK && to.b < pass->batch; ++rows) {
            last = conv_row(pass, &to);
            conv_next(pass, &to);
        }
        const int dense = last - conv_row(pass, &from) == rows - 1; /* the rows of dy, which need not be copied */
        for (ptrdiff_t t = begin; t < end; ++t) {
            const ptrdiff_t panel = t / down, g = panel / across, column = panel % across * width;
            const ptrdiff_t count = minimum(width, depth - column), padded = round_up(count, LANES);
            const ptrdiff_t first = tile_begin(filters, down, t % down);
            const ptrdiff_t height = tile_begin(filters, down, t % down + 1) - first;
            const real *dy_column = context->dy + g * filters + first;
            conv_cursor at = from;
            for (ptrdiff_t r = 0; r < rows && (panel != copied || !dense); ++r, conv_next(pass, &at)) {
                if (panel != copied)
                    conv_copy_window(pass, &at, g * input, input, column, count, padded, copy + r * padded);
                if (!dense)
                    memcpy(dy + r * height, dy_column + conv_row(pass, &at) * pass->filters,
                           (size_t)height * sizeof(real));
            }
            copied = panel;
            outer_job tile = {
                .a = dense ? dy_column + conv_row(pass, &from) * pass->filters : dy,
                .lda = dense ? pass->filters : height,
                .g = copy,
                .ldg = padded,
                .ldv = LANES,
                .n = rows,
                .d = context->sums + (g * filters + first) * depth + column,
                .ldd = depth,
                .count = count,
            };
            outer_product(&tile, (int)height, (int)(padded / LANES));
        }
    }
}

static void conv_dbias_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const conv_context *context = argument;
    const fl_conv_pass *pass = context->pass;
    ptrdiff_t begin, end, left;
    fl_share(pass->filters, thread, team, &begin, &end);
    for (ptrdiff_t first = begin; first < end; first += 64) {
        const ptrdiff_t count = minimum(64, end - first);
        double sums[64] = {0};
        for (ptrdiff_t b = 0; b < pass->batch; ++b) {
            const real *dy = context->dy + b * pass->steps * pass->filters + first;
            const ptrdiff_t steps = conv_steps(pass, conv_length(pass, b), &left);
            add_rows(dy, steps, pass->filters, count, sums);
        }
        for (ptrdiff_t c = 0; c < count; ++c)
            context->dbias[first + c] += (real)sums[c];
    }
}

/* Add the sums of dW, (filter, tap, feature), to dweight (filter, feature, tap). */
static void conv_add_sums(const conv_context *context)
{
    const ptrdiff_t input = context->group_input, taps = context->pass->kernel;
    const real *sums = context->sums;
    real *to = context->dweight;
    for (ptrdiff_t f = 0; f < context->pass->filters; ++f, sums += taps * input, to += taps * input)
        for (ptrdiff_t c = 0; c < input; ++c)
            for (ptrdiff_t k = 0; k < taps; ++k)
                to[c * taps + k] += sums[k * input + c];
}

static void conv_backward(const fl_conv_pass *pass, const void *dy, void *dx, void *dweight, void *dbias)
{
    conv_context context;
    conv_lay_out(pass, &context);
    context.dy = dy;
    context.dx = dx;
    context.dweight = dweight;
    context.dbias = dbias;
    const int n_threads = fl_worthwhile_threads(pass->n_threads, conv_work(pass));
    if (dx) {
        conv_pack_backward(pass, &context);
        fl_parallel(n_threads, conv_dx_body, &context);
    }
    if (dweight) {
        memset(context.sums, 0, (size_t)(pass->filters * pass->kernel * context.group_input) * sizeof(real));
        fl_parallel(n_threads, conv_dweight_body, &context);
        conv_add_sums(&context);
    }
    if (dbias)
        fl_parallel(fl_worthwhile_threads(pass->n_threads, (double)(pass->batch * pass->steps) * (double)pass->filters),
                    conv_dbias_body, &context);
}
