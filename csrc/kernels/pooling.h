/* kernels/pooling.h - one vector for a whole series, computed from its valid steps.
 *
 *   last       y = x[T-1]
 *   mean       y = sum_t x[t] / T
 *   max        y[c] = max_t x[t][c]; the gradient goes to the first step that has it
 *   attention  y = sum_t a[t] x[t],  a = softmax over t of the scores s
 *              da[t] = dy . x[t],  ds[t] = a[t] (da[t] - dy . y),  dx[t] = a[t] dy
 *
 * The steps are taken once, in their order, with a state in double for each case: the sum or maximum so far and, for
 * attention, the largest score so far. All terms are summed relative to that score, and a larger one scales down the
 * sum so far (Milakov & Gimelshein 2018, arXiv:1805.02867). So a series may be cut anywhere and the state carried over,
 * and the same bits come out: after each step, streams give what the whole series up to there gives. A case of no steps
 * gives zeros.
 *
 * Cases are shared out over threads.
 */
typedef struct {
    const fl_pool_pass *pass;
    const real *dy;
    real *dx, *dscores;
} pool_context;

/* The columns of `counts`, for each case. */
enum { POOL_STEPS, POOL_TOTAL, POOL_LARGEST };

static ptrdiff_t pool_length(const fl_pool_pass *pass, ptrdiff_t b)
{
    return pass->lengths ? (ptrdiff_t)pass->lengths[b] : pass->time;
}

static void pool_step(const fl_pool_pass *pass, const real *x, double score, ptrdiff_t t, double *counts, double *sums,
                      int64_t *index)
{
    const ptrdiff_t width = pass->width;
    const int first = counts[POOL_STEPS] == 0;
    counts[POOL_STEPS] += 1;
    if (pass->kind == FL_POOL_MEAN) {
        for (ptrdiff_t c = 0; c < width; ++c)
            sums[c] += x[c];
    } else if (pass->kind == FL_POOL_MAX) {
        for (ptrdiff_t c = 0; c < width; ++c)
            if (first || x[c] > sums[c] || x[c] != x[c]) { /* a NaN stays, since the loss must show it */
                sums[c] = x[c];
                if (index)
                    index[c] = t;
            }
    } else if (pass->kind == FL_POOL_ATTENTION) {
        if (first || score > counts[POOL_LARGEST]) {
            const double factor = first ? 0 : fl_exp(counts[POOL_LARGEST] - score);
            counts[POOL_LARGEST] = score;
            counts[POOL_TOTAL] *= factor;
            for (ptrdiff_t c = 0; c < width; ++c)
                sums[c] *= factor;
        }
        const double term = fl_exp(score - counts[POOL_LARGEST]);
        counts[POOL_TOTAL] += term;
        for (ptrdiff_t c = 0; c < width; ++c)
            sums[c] += term * x[c];
    } else {
        for (ptrdiff_t c = 0; c < width; ++c)
            sums[c] = x[c];
    }
}

static void pool_answer(const fl_pool_pass *pass, const double *counts, const double *sums, real *y)
{
    double divisor = 1;
    if (pass->kind == FL_POOL_MEAN)
        divisor = counts[POOL_STEPS];
    else if (pass->kind == FL_POOL_ATTENTION)
        divisor = counts[POOL_TOTAL];
    for (ptrdiff_t c = 0; c < pass->width; ++c)
        y[c] = counts[POOL_STEPS] > 0 ? (real)(sums[c] / divisor) : 0;
}

static void pool_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const pool_context *job = argument;
    const fl_pool_pass *pass = job->pass;
    const ptrdiff_t width = pass->width, time = pass->time;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const real *x = (const real *)pass->x + b * time * width;
        const real *scores = pass->scores ? (const real *)pass->scores + b * time : NULL;
        real *y = (real *)pass->y + b * (pass->every_step ? time : 1) * width;
        double *counts = pass->counts + b * FL_POOL_COUNTS, *sums = pass->sums + b * width;
        int64_t *index = pass->index ? pass->index + b * width : NULL;
        const ptrdiff_t length = pool_length(pass, b);
        /* Only the last step counts where the others are not asked for. */
        const int only_last = pass->kind == FL_POOL_LAST && !pass->every_step && length;
        for (ptrdiff_t t = only_last ? length - 1 : 0; t < length; ++t) {
            pool_step(pass, x + t * width, scores ? (double)scores[t] : 0, t, counts, sums, index);
            if (pass->every_step)
                pool_answer(pass, counts, sums, y + t * width);
        }
        if (!pass->every_step)
            pool_answer(pass, counts, sums, y);
        if (pass->weights)
            for (ptrdiff_t t = 0; t < time; ++t)
                ((real *)pass->weights)[b * time + t] =
                    t < length ? (real)(fl_exp((double)scores[t] - counts[POOL_LARGEST]) / counts[POOL_TOTAL]) : 0;
    }
}

static void pool_backward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const pool_context *job = argument;
    const fl_pool_pass *pass = job->pass;
    const ptrdiff_t width = pass->width, time = pass->time;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const real *dy = job->dy + b * width;
        const ptrdiff_t length = pool_length(pass, b);
        const real *weights = pass->weights ? (const real *)pass->weights + b * time : NULL;
        if (job->dscores) {
            const real *x = (const real *)pass->x + b * time * width;
            const real mean = row_dot(dy, (const real *)pass->y + b * width, width);
            for (ptrdiff_t t = 0; t < time; ++t)
                job->dscores[b * time + t] = t < length ? weights[t] * (row_dot(dy, x + t * width, width) - mean) : 0;
        }
        if (!job->dx)
            continue;
        real *dx = job->dx + b * time * width;
        const int all_steps = pass->kind == FL_POOL_MEAN || pass->kind == FL_POOL_ATTENTION;
        for (ptrdiff_t t = 0; all_steps && t < length; ++t) {
            const real share = weights ? weights[t] : 1 / (real)length;
            for (ptrdiff_t c = 0; c < width; ++c)
                dx[t * width + c] = share * dy[c];
        }
        const ptrdiff_t written = all_steps ? length : 0;
        if (written < time)
            memset(dx + written * width, 0, (size_t)((time - written) * width) * sizeof(real));
        if (pass->kind == FL_POOL_LAST && length)
            memcpy(dx + (length - 1) * width, dy, (size_t)width * sizeof(real));
        else if (pass->kind == FL_POOL_MAX && length)
            for (ptrdiff_t c = 0; c < width; ++c)
                dx[pass->index[b * width + c] * width + c] = dy[c];
    }
}

static void pool_forward(const fl_pool_pass *pass)
{
    pool_context job = {.pass = pass};
    const double work =
        (double)pass->batch * (double)pass->width * (pass->kind == FL_POOL_LAST ? 1 : (double)pass->time);
    fl_parallel(fl_worthwhile_threads(pass->n_threads, work), pool_forward_body, &job);
}

static void pool_backward(const fl_pool_pass *pass, const void *dy, void *dx, void *dscores)
{
    pool_context job = {pass, dy, dx, dscores};
    const double work = (double)pass->batch * (double)pass->width * (double)pass->time;
    fl_parallel(fl_worthwhile_threads(pass->n_threads, work), pool_backward_body, &job);
}
