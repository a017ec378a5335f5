/* kernels/optimizers.h - updates of the flat parameter vector, element by element.
 *
 *   SGD      g += wd p;  m = momentum m + g;  p -= lr m     (Nesterov: p -= lr (g + momentum m); Sutskever et al. 2013)
 *   RMSprop  g += wd p;  v = alpha v + (1 - alpha) g^2;  d = g / (sqrt(v) + eps);  m = momentum m + d;  p -= lr m
 *            (Tieleman & Hinton 2012)
 *   Adam     g += wd p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *            p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)          (Kingma & Ba 2015)
 *   AdamW    p -= lr wd p before, and no wd in g                                  (Loshchilov & Hutter 2019)
 *
 * These loops are plain C, which the compiler vectorizes. No element depends on another, so the bits do not depend on
 * the share of a thread. For the same reason the norm is summed in pieces that depend on the size alone.
 */

/* The cost of an element for fl_worthwhile_threads, set lower than its arithmetic, by which Adam would gain from a
 * second thread from 14,000 elements on: in a training step the vectors are in the cache of the thread
 * that has just gone back through a small layer, and the elements that another core updates have to come back to be
 * zeroed and packed. (Whole steps of one row, Zen 4, the update on 1 / 2 threads: 25,000 parameters 37 / 49 us, 83,000
 * 109 / 127, 330,000 354 / 301.) */
#define ELEMENT_COST 1.0

#define SMALLEST_NORMAL (REAL_IS_FLOAT ? FLT_MIN : DBL_MIN) /* smaller numbers count as 0 */

typedef struct {
    ptrdiff_t n;
    real *p;
    const real *g;
    real *m, *v;
    real lr, momentum, weight_decay, alpha, eps, beta1, beta2, correction, shrink;
    int nesterov;
} update_context;

static void sgd_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const update_context u = *(const update_context *)argument;
    real *restrict p = u.p, *restrict m = u.m;
    const real *restrict g = u.g;
    ptrdiff_t begin, end;
    fl_share(u.n, thread, team, &begin, &end);
    if (!m) {
        for (ptrdiff_t k = begin; k < end; ++k)
            p[k] -= u.lr * (g[k] + u.weight_decay * p[k]);
    } else if (u.nesterov) {
        for (ptrdiff_t k = begin; k < end; ++k) {
            real gradient = g[k] + u.weight_decay * p[k];
            m[k] = u.momentum * m[k] + gradient;
            p[k] -= u.lr * (gradient + u.momentum * m[k]);
        }
    } else {
        for (ptrdiff_t k = begin; k < end; ++k) {
            m[k] = u.momentum * m[k] + (g[k] + u.weight_decay * p[k]);
            p[k] -= u.lr * m[k];
        }
    }
}

static real square_root(real x)
{
#if REAL_IS_FLOAT
    return sqrtf(x);
#else
    return sqrt(x);
#endif
}

static void rmsprop_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const update_context u = *(const update_context *)argument;
    real *restrict p = u.p, *restrict m = u.m, *restrict v = u.v;
    const real *restrict g = u.g;
    const real rest = 1 - u.alpha;
    ptrdiff_t begin, end;
    fl_share(u.n, thread, team, &begin, &end);
    if (!m) {
        for (ptrdiff_t k = begin; k < end; ++k) {
            real gradient = g[k] + u.weight_decay * p[k];
            v[k] = u.alpha * v[k] + rest * gradient * gradient;
            p[k] -= u.lr * (gradient / (square_root(v[k]) + u.eps));
        }
    } else {
        for (ptrdiff_t k = begin; k < end; ++k) {
            real gradient = g[k] + u.weight_decay * p[k];
            v[k] = u.alpha * v[k] + rest * gradient * gradient;
            m[k] = u.momentum * m[k] + gradient / (square_root(v[k]) + u.eps);
            p[k] -= u.lr * m[k];
        }
    }
}

static void adam_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const update_context u = *(const update_context *)argument;
    real *restrict p = u.p, *restrict m = u.m, *restrict v = u.v;
    const real *restrict g = u.g;
    const real rest1 = 1 - u.beta1, rest2 = 1 - u.beta2;
    ptrdiff_t begin, end;
    fl_share(u.n, thread, team, &begin, &end);
    for (ptrdiff_t k = begin; k < end; ++k) {
        real parameter = p[k] * u.shrink, gradient = g[k] + u.weight_decay * p[k];
        m[k] = u.beta1 * m[k] + rest1 * gradient;
        v[k] = u.beta2 * v[k] + rest2 * gradient * gradient;
        p[k] = parameter - u.lr * (m[k] / (square_root(v[k]) * u.correction + u.eps));
    }
}

static int update_threads(ptrdiff_t n, int n_threads)
{
    return fl_worthwhile_threads(n_threads, ELEMENT_COST * (double)n);
}

static void sgd(ptrdiff_t n, void *p, const void *g, void *m, double lr, double momentum, int nesterov,
                double weight_decay, int n_threads)
{
    update_context u = {.n = n,
                        .p = p,
                        .g = g,
                        .m = m,
                        .lr = (real)lr,
                        .momentum = (real)momentum,
                        .weight_decay = (real)weight_decay,
                        .nesterov = nesterov};
    fl_parallel(update_threads(n, n_threads), sgd_body, &u);
}

static void rmsprop(ptrdiff_t n, void *p, const void *g, void *v, void *m, double lr, double alpha, double eps,
                    double momentum, double weight_decay, int n_threads)
{
    update_context u = {.n = n,
                        .p = p,
                        .g = g,
                        .m = m,
                        .v = v,
                        .lr = (real)lr,
                        .momentum = (real)momentum,
                        .weight_decay = (real)weight_decay,
                        .alpha = (real)alpha,
                        .eps = (real)fmax(eps, SMALLEST_NORMAL)};
    fl_parallel(update_threads(n, n_threads), rmsprop_body, &u);
}

static void adam(ptrdiff_t n, void *p, const void *g, void *m, void *v, double lr, double beta1, double beta2,
                 double eps, double weight_decay, int decoupled, int64_t step, int n_threads)
{
    const double correction1 = 1 - fl_power(beta1, step), correction2 = 1 - fl_power(beta2, step);
    update_context u = {
        .n = n,
        .p = p,
        .g = g,
        .m = m,
        .v = v,
        .lr = (real)(lr / correction1),
        .beta1 = (real)beta1,
        .beta2 = (real)beta2,
        .eps = (real)fmax(eps, SMALLEST_NORMAL), /* an eps that counts as 0 would make 0 / 0 of a gradient of 0 */
        .correction = (real)(1 / sqrt(correction2)),
        .weight_decay = (real)(decoupled ? 0 : weight_decay),
        .shrink = (real)(decoupled ? 1 - lr * weight_decay : 1),
    };
    fl_parallel(update_threads(n, n_threads), adam_body, &u);
}

enum { NORM_PIECES = 64, NORM_PIECE_LEAST = 1024 }; /* the largest number of pieces, and the smallest size of one */

typedef struct {
    ptrdiff_t n, piece;
    const real *x;
    double sums[NORM_PIECES];
} norm_context;

static double sum_of_squares(const real *x, ptrdiff_t n)
{
    /* Partial sums let the compiler vectorize without reordering the additions. */
    enum { SUMS = 16 };
    double sums[SUMS] = {0}, total = 0;
    ptrdiff_t k = 0;
    for (; k + SUMS <= n; k += SUMS)
        for (int lane = 0; lane < SUMS; ++lane)
            sums[lane] += (double)x[k + lane] * (double)x[k + lane];
    for (; k < n; ++k)
        sums[k % SUMS] += (double)x[k] * (double)x[k];
    for (int lane = 0; lane < SUMS; ++lane)
        total += sums[lane];
    return total;
}

static void norm_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    norm_context *context = argument;
    ptrdiff_t begin, end;
    fl_share(tile_count(context->n, context->piece), thread, team, &begin, &end);
    for (ptrdiff_t p = begin; p < end; ++p) {
        const ptrdiff_t first = p * context->piece;
        context->sums[p] = sum_of_squares(context->x + first, minimum(context->piece, context->n - first));
    }
}

/* The norm where squares exceed the largest double: of the numbers times a power of 2. */
static double norm_of_large(const real *x, ptrdiff_t n)
{
    double total = 0;
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double small = (double)x[k] * 0x1p-600;
        total += small * small;
    }
    return sqrt(total) * 0x1p600;
}

static double norm(ptrdiff_t n, const void *array, int n_threads)
{
    norm_context context = {.n = n, .x = array};
    context.piece = tile_count(n, NORM_PIECES);
    if (context.piece < NORM_PIECE_LEAST)
        context.piece = NORM_PIECE_LEAST;
    fl_parallel(update_threads(n, n_threads), norm_body, &context);
    double total = 0;
    for (ptrdiff_t p = 0; p < tile_count(n, context.piece); ++p)
        total += context.sums[p];
    return total - total == 0 ? sqrt(total) : norm_of_large(array, n);
}

typedef struct {
    ptrdiff_t n;
    real *x;
    real value;
} rescale_context;

static void scale_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const rescale_context job = *(const rescale_context *)argument;
    ptrdiff_t begin, end;
    fl_share(job.n, thread, team, &begin, &end);
    for (ptrdiff_t k = begin; k < end; ++k)
        job.x[k] *= job.value;
}

static void clip_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const rescale_context job = *(const rescale_context *)argument;
    ptrdiff_t begin, end;
    fl_share(job.n, thread, team, &begin, &end);
    for (ptrdiff_t k = begin; k < end; ++k) {
        real x = job.x[k];
        x = x > job.value ? job.value : x;
        job.x[k] = x < -job.value ? -job.value : x;
    }
}

static void scale(ptrdiff_t n, void *x, double factor, int n_threads)
{
    rescale_context job = {n, x, (real)factor};
    if (factor != 0 && factor < SMALLEST_NORMAL && factor > -SMALLEST_NORMAL) { /* it would count as 0: two steps */
        job.value = SMALLEST_NORMAL;
        fl_parallel(update_threads(n, n_threads), scale_body, &job);
        job.value = (real)(factor / (double)SMALLEST_NORMAL);
    }
    fl_parallel(update_threads(n, n_threads), scale_body, &job);
}

static void clip(ptrdiff_t n, void *x, double limit, int n_threads)
{
    rescale_context job = {n, x, (real)limit};
    fl_parallel(update_threads(n, n_threads), clip_body, &job);
}

static ptrdiff_t first_nonfinite(ptrdiff_t n, const void *array)
{
    const real *x = array;
    enum { BLOCK = 1024 };
    for (ptrdiff_t first = 0; first < n; first += BLOCK) {
        const ptrdiff_t end = minimum(first + BLOCK, n);
        integer bad = 0; /* x - x is 0 for finite x only; an integer sum keeps the loop free of branches */
        for (ptrdiff_t k = first; k < end; ++k)
            bad |= x[k] - x[k] != 0;
        if (bad)
            for (ptrdiff_t k = first; k < end; ++k)
                if (x[k] - x[k] != 0)
                    return k;
    }
    return -1;
}
