/* kernels/softmax.h - softmax and cross-entropy over rows of logits.
 *
 *   p[c] = exp(z[c] - m) / s,  s = sum_c exp(z[c] - m),  m = max_c z[c]
 *   loss = w (m + log s - z[label])        dz[c] = w (p[c] - [c = label])
 *   dz[c] = p[c] (dp[c] - sum_k p[k] dp[k])    where only the gradient dp of the probabilities is given
 *
 * A row is summed as if a vector had UNITS lanes, lane by lane and then across them: in an order that depends on the
 * number of classes alone.
 */
typedef struct {
    ptrdiff_t rows, classes;
    const real *logits;
    const int64_t *labels; /* NULL: softmax only */
    const real *weights;
    real *out; /* probabilities, or gradients; may be NULL with labels */
    double *losses;
} softmax_context;

/* The sum of exp(z - m); with `out` the terms are stored there. */
static real softmax_sum(const real *z, ptrdiff_t classes, real largest, real *out)
{
    V sums[PARTS];
    v_zero(sums);
    for (ptrdiff_t first = 0; first < classes; first += UNITS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part) {
            const ptrdiff_t c = first + part * LANES, count = minimum(LANES, classes - c);
            if (count <= 0)
                continue;
            V terms = v_keep(v_exp(v_load_part(z + c, count) - v_set(largest)), count);
            sums[part] = sums[part] + terms;
            if (out)
                v_store_part(out + c, terms, count);
        }
    }
    return v_total(sums);
}

static void softmax_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const softmax_context *job = argument;
    const ptrdiff_t classes = job->classes;
    ptrdiff_t begin, end;
    fl_share(job->rows, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        const real *z = job->logits + n * classes;
        real *out = job->out ? job->out + n * classes : NULL;
        const int64_t label = job->labels ? job->labels[n] : 0;
        if (label < 0) {
            job->losses[n] = 0;
            if (out)
                memset(out, 0, (size_t)classes * sizeof(real));
            continue;
        }
        real largest = z[0];
        for (ptrdiff_t c = 1; c < classes; ++c)
            largest = z[c] > largest || z[c] != z[c] ? z[c] : largest; /* a NaN stays: the loss must show it */
        const real picked = z[label]; /* before `out` is written, which may be the same array */
        const real sum = softmax_sum(z, classes, largest, out);
        const real weight = job->weights ? job->weights[n] : 1;
        if (out) {
            const real factor = job->labels ? weight / sum : 1 / sum;
            for (ptrdiff_t c = 0; c < classes; ++c)
                out[c] *= factor;
        }
        if (job->labels) {
            if (out)
                out[label] -= weight;
            job->losses[n] =
                weight != 0 ? (double)weight * ((double)largest - (double)picked + fl_log((double)sum)) : 0;
        }
    }
}

static void softmax(ptrdiff_t rows, ptrdiff_t classes, const void *logits, void *out, int n_threads)
{
    softmax_context job = {.rows = rows, .classes = classes, .logits = logits, .out = out};
    fl_parallel(fl_worthwhile_threads(n_threads, 8.0 * (double)rows * (double)classes), softmax_body, &job);
}

static void softmax_cross_entropy(ptrdiff_t rows, ptrdiff_t classes, const void *logits, const int64_t *labels,
                                  const void *weights, void *dlogits, double *losses, int n_threads)
{
    softmax_context job = {rows, classes, logits, labels, weights, dlogits, losses};
    fl_parallel(fl_worthwhile_threads(n_threads, 8.0 * (double)rows * (double)classes), softmax_body, &job);
}

/* The sum of a[c] * b[c], lane by lane and then across the lanes. */
static real row_dot(const real *a, const real *b, ptrdiff_t n)
{
    V sums[PARTS];
    ptrdiff_t c = 0;
    v_zero(sums);
    for (; c + UNITS <= n; c += UNITS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part)
            sums[part] = v_fma(v_load(a + c + part * LANES), v_load(b + c + part * LANES), sums[part]);
    }
    UNROLL
    for (int part = 0; part < PARTS; ++part) {
        const ptrdiff_t at = c + part * LANES, count = minimum(LANES, n - at);
        if (count > 0)
            sums[part] = v_fma(v_load_part(a + at, count), v_load_part(b + at, count), sums[part]);
    }
    return v_total(sums);
}

typedef struct {
    ptrdiff_t rows, classes;
    const real *p, *dy;
    real *dx;
} softmax_backward_context;

static void softmax_backward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const softmax_backward_context *job = argument;
    const ptrdiff_t classes = job->classes;
    ptrdiff_t begin, end;
    fl_share(job->rows, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        const real *p = job->p + n * classes, *dy = job->dy + n * classes;
        real *dx = job->dx + n * classes;
        const real sum = row_dot(p, dy, classes);
        for (ptrdiff_t c = 0; c < classes; ++c)
            dx[c] = p[c] * (dy[c] - sum);
    }
}

static void softmax_backward(ptrdiff_t rows, ptrdiff_t classes, const void *p, const void *dy, void *dx, int n_threads)
{
    softmax_backward_context job = {rows, classes, p, dy, dx};
    fl_parallel(fl_worthwhile_threads(n_threads, 2.0 * (double)rows * (double)classes), softmax_backward_body, &job);
}
