/* kernels/window_pool.h - maximum and mean over windows of the steps of a series.
 *
 *   max    y[t][c] = max_k x[t s - left + k][c];   dx gets dy at the first step that has the maximum
 *   mean   y[t][c] = sum_k x[t s - left + k][c] / n;   dx gets dy / n at each of them
 *
 * over the k < kernel whose step the series has; n is their number, or the size of the window where zeros count. Number
 * of steps of y and `left` follow from the length of each series as those of a convolution do (conv.h). left and right
 * are less than a window, so that each has a step at least. NaN is the maximum where there is one, since the loss must
 * show it.
 *
 * Means are summed in double, step by step, so that the cuts of a stream change no bits. Rows of y are shared out over
 * threads, in the backward pass series, whose windows may overlap.
 */
typedef struct {
    const fl_window_pool_pass *pass;
    const real *dy;
    real *dx;
} window_pool_context;

/* The steps of x in a window of a series. */
typedef struct {
    ptrdiff_t first, last; /* last: the one behind them */
} window_steps;

static ptrdiff_t window_count(const fl_window_pool_pass *pass, ptrdiff_t length, ptrdiff_t *left)
{
    const fl_conv_pass shape = {
        .kernel = pass->kernel,
        .dilation = 1,
        .stride = pass->stride,
        .left = pass->left,
        .right = pass->right,
        .same = pass->same,
    };
    return conv_steps(&shape, length, left);
}

static ptrdiff_t window_length(const fl_window_pool_pass *pass, ptrdiff_t b)
{
    return pass->lengths ? (ptrdiff_t)pass->lengths[b] : pass->time;
}

static window_steps window_at(const fl_window_pool_pass *pass, ptrdiff_t t, ptrdiff_t left, ptrdiff_t length)
{
    const ptrdiff_t begin = t * pass->stride - left;
    return (window_steps){begin < 0 ? 0 : begin, minimum(begin + pass->kernel, length)};
}

static double window_divisor(const fl_window_pool_pass *pass, window_steps at)
{
    return (double)(pass->counts_zeros ? pass->kernel : at.last - at.first);
}

static void window_max(const real *x, ptrdiff_t width, window_steps at, real *y)
{
    for (ptrdiff_t c = 0; c < width; c += LANES) {
        const ptrdiff_t count = minimum(LANES, width - c);
        V most = v_load_part(x + at.first * width + c, count);
        for (ptrdiff_t t = at.first + 1; t < at.last; ++t) {
            const V v = v_load_part(x + t * width + c, count);
            most = v_select((v > most) | (v != v), v, most);
        }
        v_store_part(y + c, most, count);
    }
}

static void window_mean(const real *x, ptrdiff_t width, window_steps at, double divisor, real *y)
{
    for (ptrdiff_t first = 0; first < width; first += 64) {
        const ptrdiff_t count = minimum(64, width - first);
        double sums[64] = {0};
        add_rows(x + at.first * width + first, at.last - at.first, width, count, sums);
        for (ptrdiff_t c = 0; c < count; ++c)
            y[first + c] = (real)(sums[c] / divisor);
    }
}

static void window_pool_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const fl_window_pool_pass *pass = ((const window_pool_context *)argument)->pass;
    const ptrdiff_t width = pass->width;
    ptrdiff_t begin, end, left;
    fl_share(pass->batch * pass->steps, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        const ptrdiff_t b = n / pass->steps, t = n % pass->steps, length = window_length(pass, b);
        const real *x = (const real *)pass->x + b * pass->time * width;
        real *y = (real *)pass->y + n * width;
        if (t >= window_count(pass, length, &left)) {
            memset(y, 0, (size_t)width * sizeof(real));
            continue;
        }
        const window_steps at = window_at(pass, t, left, length);
        if (pass->kind == FL_POOL_MAX)
            window_max(x, width, at, y);
        else
            window_mean(x, width, at, window_divisor(pass, at), y);
    }
}

static void window_max_backward(const real *x, ptrdiff_t width, window_steps at, const real *dy, real *dx)
{
    for (ptrdiff_t c = 0; c < width; ++c) {
        ptrdiff_t best = at.first;
        real most = x[best * width + c];
        for (ptrdiff_t t = at.first + 1; t < at.last; ++t) {
            const real v = x[t * width + c];
            if (v > most || (v != v && most == most)) {
                most = v;
                best = t;
            }
        }
        dx[best * width + c] += dy[c];
    }
}

static void window_mean_backward(ptrdiff_t width, window_steps at, double divisor, const real *dy, real *dx)
{
    for (ptrdiff_t t = at.first; t < at.last; ++t)
        for (ptrdiff_t c = 0; c < width; ++c)
            dx[t * width + c] += (real)((double)dy[c] / divisor);
}

static void window_pool_backward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const window_pool_context *job = argument;
    const fl_window_pool_pass *pass = job->pass;
    const ptrdiff_t width = pass->width;
    ptrdiff_t begin, end, left;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const ptrdiff_t length = window_length(pass, b), steps = window_count(pass, length, &left);
        const real *x = (const real *)pass->x + b * pass->time * width, *dy = job->dy + b * pass->steps * width;
        real *dx = job->dx + b * pass->time * width;
        memset(dx, 0, (size_t)(pass->time * width) * sizeof(real));
        for (ptrdiff_t t = 0; t < steps; ++t, dy += width) {
            const window_steps at = window_at(pass, t, left, length);
            if (pass->kind == FL_POOL_MAX)
                window_max_backward(x, width, at, dy, dx);
            else
                window_mean_backward(width, at, window_divisor(pass, at), dy, dx);
        }
    }
}

static int window_threads(const fl_window_pool_pass *pass)
{
    return fl_worthwhile_threads(pass->n_threads, (double)pass->batch * (double)pass->steps * (double)pass->width *
                                                      (double)pass->kernel);
}

static void window_pool_forward(const fl_window_pool_pass *pass)
{
    window_pool_context job = {.pass = pass};
    fl_parallel(window_threads(pass), window_pool_forward_body, &job);
}

static void window_pool_backward(const fl_window_pool_pass *pass, const void *dy, void *dx)
{
    window_pool_context job = {pass, dy, dx};
    fl_parallel(window_threads(pass), window_pool_backward_body, &job);
}
