/* kernels/activation.h - activation functions of one number, and their derivatives, on vectors and on arrays.
 *
 *   number  function           value y                         derivative
 *   0       sigmoid            1 / (1 + exp(-x))               y (1 - y)
 *   1       tanh               tanh(x)                         1 - y^2
 *   2       relu               max(x, 0)                       x > 0
 *   3       affine             alpha x + beta                  alpha
 *   4       leaky_relu         x >= 0 ? x : alpha x            x >= 0 ? 1 : alpha
 *   5       thresholded_relu   x > alpha ? x : 0               x > alpha
 *   6       scaled_tanh        alpha tanh(beta x)              alpha beta (1 - tanh(beta x)^2)
 *   7       hard_sigmoid       min(max(alpha x + beta, 0), 1)  0 < y < 1 ? alpha : 0
 *   8       elu                x >= 0 ? x : alpha expm1(x)     x >= 0 ? 1 : alpha exp(x)
 *   9       softsign           x / (1 + |x|)                   1 / (1 + |x|)^2
 *   10      softplus           max(x, 0) + log1p(exp(-|x|))    sigmoid(x)
 *   11      silu               x s,  s = sigmoid(x)            s + x s (1 - s)
 *   12      selu               beta elu(x)                     beta (x >= 0 ? 1 : alpha exp(x))
 *   13      gelu               x Phi(x)                        Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)
 *   14      gelu_tanh          x s,  s = sigmoid(2 u)          s + x s (1 - s) 2 u'
 *
 * Phi is the normal distribution, u = sqrt(2 / pi) (x + 0.044715 x^3) and (1 + tanh(u)) / 2 = sigmoid(2 u) (Hendrycks &
 * Gimpel 2016, arXiv:1606.08415; Klambauer et al. 2017, arXiv:1706.02515).
 *
 * The Python package's list of activations has the same numbers. NaN gives NaN, in values and derivatives (except in
 * the derivative of affine, a constant), and infinity gives the limit. Functions that need an exponential take it from
 * vmath.h; elu, softplus and the last four are accurate relative to the result, near 0 and far below it, except where a
 * factor of x is below the smallest normal number; in the tail of gelu_tanh the error is 2 |u| units in the last place.
 *
 * Those with an exponential, except sigmoid and tanh, are functions of their own, not inlined: cells have a choice of
 * functions at five places, and their loops should not carry the code of rare ones.
 */
enum {
    ACT_SIGMOID,
    ACT_TANH,
    ACT_RELU,
    ACT_AFFINE,
    ACT_LEAKY_RELU,
    ACT_THRESHOLDED_RELU,
    ACT_SCALED_TANH,
    ACT_HARD_SIGMOID,
    ACT_ELU,
    ACT_SOFTSIGN,
    ACT_SOFTPLUS,
    ACT_SILU,
    ACT_SELU,
    ACT_GELU,
    ACT_GELU_TANH
};

/* The argument of softsign. infinity / infinity would be NaN, while the largest number gives 1, as infinity must. */
INLINE V v_finite(V x)
{
    const V most = v_set(REAL_IS_FLOAT ? (real)FLT_MAX : (real)DBL_MAX);
    return v_at_least(v_at_most(x, most), -most);
}

/* A derivative that was chosen by comparisons, which NaN does not pass: NaN where x is NaN. */
INLINE V v_unless_nan(V slope, V x)
{
    return v_select(x == x, slope, x);
}

/* x in [-most, most]: beyond it the factors of x do not change any more, and infinity would give NaN. */
INLINE V v_within(V x, real most)
{
    return v_at_least(v_at_most(x, v_set(most)), v_set(-most));
}

#define GELU_SLOPE ((real)1.59576912160573071176) /* 2 sqrt(2 / pi) */
#define GELU_CUBE ((real)0.044715)
#define GELU_MOST ((real)40) /* where sigmoid(2 u) is 0 or 1 */

static OUT_OF_LINE V v_activate_rare(int kind, V alpha, V beta, V x)
{
    const V zero = v_set(0), one = v_set(1);
    switch (kind) {
    case ACT_SCALED_TANH: return alpha * v_tanh(beta * x);
    case ACT_ELU: return v_select(x >= zero, x, alpha * v_expm1(v_at_most(x, zero)));
    case ACT_SOFTPLUS: return v_at_least(x, zero) + v_log1p_unit(v_exp(-v_abs(x)));
    case ACT_SILU: {
        const V finite = v_finite(x);
        return v_select(x > finite, x, finite * v_sigmoid(finite));
    }
    case ACT_SELU: return beta * v_select(x >= zero, x, alpha * v_expm1(v_at_most(x, zero)));
    case ACT_GELU: {
        const V inside = v_within(x, (real)NORMAL_MAX);
        V bell;
        const V tail = v_normal_tail(v_abs(inside), &bell);
        return v_select(x > inside, x, inside * v_select(x >= zero, one - tail, tail));
    }
    default: {
        const V inside = v_within(x, GELU_MOST);
        const V twice = inside * v_set(GELU_SLOPE) * v_fma(inside * inside, v_set(GELU_CUBE), one);
        return v_select(x > inside, x, inside * v_sigmoid(twice));
    }
    }
}

static OUT_OF_LINE V v_activate_rare_slope(int kind, V alpha, V beta, V x)
{
    const V zero = v_set(0), one = v_set(1);
    switch (kind) {
    case ACT_SCALED_TANH: {
        const V t = v_tanh(beta * x);
        return alpha * beta * (one - t * t);
    }
    case ACT_ELU: return v_select(x >= zero, one, alpha * v_exp(v_at_most(x, zero)));
    case ACT_SOFTPLUS: return v_sigmoid(x);
    case ACT_SILU: {
        const V inside = v_within(x, 1000), s = v_sigmoid(inside);
        return v_fma(inside * s, one - s, s);
    }
    case ACT_SELU: return v_unless_nan(beta * v_select(x >= zero, one, alpha * v_exp(v_at_most(x, zero))), x);
    case ACT_GELU: {
        const V inside = v_within(x, (real)NORMAL_MAX);
        V bell;
        const V tail = v_normal_tail(v_abs(inside), &bell);
        return v_fma(inside * v_set((real)0.398942280401432677940), bell, v_select(x >= zero, one - tail, tail));
    }
    default: {
        const V inside = v_within(x, GELU_MOST), square = inside * inside;
        const V s = v_sigmoid(inside * v_set(GELU_SLOPE) * v_fma(square, v_set(GELU_CUBE), one));
        const V rise = v_set(GELU_SLOPE) * v_fma(square, v_set(3 * GELU_CUBE), one);
        return v_fma(inside * s * (one - s), rise, s);
    }
    }
}

INLINE V v_activate(int kind, V alpha, V beta, V x)
{
    const V zero = v_set(0), one = v_set(1);
    switch (kind) {
    case ACT_SIGMOID: return v_sigmoid(x);
    case ACT_TANH: return v_tanh(x);
    case ACT_RELU: return v_at_least(x, zero);
    case ACT_AFFINE: return v_fma(alpha, x, beta);
    case ACT_LEAKY_RELU: return v_select(x >= zero, x, alpha * x);
    case ACT_THRESHOLDED_RELU: return v_select(x <= alpha, zero, x);
    case ACT_HARD_SIGMOID: return v_at_most(v_at_least(v_fma(alpha, x, beta), zero), one);
    case ACT_SOFTSIGN: {
        const V finite = v_finite(x);
        return finite / (one + v_abs(finite));
    }
    default: return v_activate_rare(kind, alpha, beta, x);
    }
}

/* The derivative at x, where y is the value. */
INLINE V v_activate_slope(int kind, V alpha, V beta, V x, V y)
{
    const V zero = v_set(0), one = v_set(1);
    switch (kind) {
    case ACT_SIGMOID: return y * (one - y);
    case ACT_TANH: return one - y * y;
    case ACT_RELU: return v_unless_nan(v_select(x > zero, one, zero), x);
    case ACT_AFFINE: return alpha;
    case ACT_LEAKY_RELU: return v_unless_nan(v_select(x >= zero, one, alpha), x);
    case ACT_THRESHOLDED_RELU: return v_unless_nan(v_select(x > alpha, one, zero), x);
    case ACT_HARD_SIGMOID: return v_unless_nan(v_select(y > zero, v_select(y < one, alpha, zero), zero), y);
    case ACT_SOFTSIGN: {
        const V d = one + v_abs(x);
        return one / (d * d);
    }
    default: return v_activate_rare_slope(kind, alpha, beta, x);
    }
}

typedef struct {
    int kind;
    real alpha, beta;
    ptrdiff_t n;
    const real *x, *y, *dy; /* y, dy: NULL in the forward pass */
    real *out;
} activation_context;

static void activation_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const activation_context *job = argument;
    const V alpha = v_set(job->alpha), beta = v_set(job->beta);
    ptrdiff_t begin, end;
    fl_share(round_up(job->n, LANES) / LANES, thread, team, &begin, &end);
    for (ptrdiff_t first = begin * LANES; first < minimum(end * LANES, job->n); first += LANES) {
        const ptrdiff_t count = minimum(LANES, job->n - first);
        const V x = v_load_part(job->x + first, count);
        V out;
        if (job->dy)
            out = v_load_part(job->dy + first, count) *
                  v_activate_slope(job->kind, alpha, beta, x, v_load_part(job->y + first, count));
        else
            out = v_activate(job->kind, alpha, beta, x);
        v_store_part(job->out + first, out, count);
    }
}

static void activation(int kind, double alpha, double beta, ptrdiff_t n, const void *x, void *y, int n_threads)
{
    activation_context job = {.kind = kind, .alpha = (real)alpha, .beta = (real)beta, .n = n, .x = x, .out = y};
    fl_parallel(fl_worthwhile_threads(n_threads, 8.0 * (double)n), activation_body, &job);
}

static void activation_backward(int kind, double alpha, double beta, ptrdiff_t n, const void *x, const void *y,
                                const void *dy, void *dx, int n_threads)
{
    activation_context job = {kind, (real)alpha, (real)beta, n, x, y, dy, dx};
    fl_parallel(fl_worthwhile_threads(n_threads, 8.0 * (double)n), activation_body, &job);
}
