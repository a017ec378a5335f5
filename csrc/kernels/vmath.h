/* kernels/vmath.h - exp, expm1, log1p, sigmoid, tanh and the normal distribution on vectors.
 *
 *   expm1(y) = 2^n (expm1(r) + 1) - 1,   n = round(y / ln 2),  r = y - n ln 2,  |r| <= ln(2)/2
 *   expm1(r) = r + r^2 q(r)              q: minimax polynomial, fitted for this file (Lawson's iteration, relative
 *                                        error of expm1: 2.4e-10 for float, 2.6e-19 for double)
 *   sigmoid(x) = 1 / (1 + exp(-x))
 *   tanh(x) = sign(x) (h - h h / (h + 1)) for h < 1/3, else sign(x) (1 - 1 / (h + 1)),  h = expm1(2 |x|) / 2
 *   log1p(e) = 2 atanh(s),  s = e / (2 + e);  for e in [0, 1], s^2 <= 1/9 and the series of atanh is short
 *
 * sigmoid and tanh are accurate relative to the result: nothing cancels near 0 in tanh, where (1 - e) / (1 + e) would
 * have absolute accuracy only and drown small signals and their gradients. They never decrease: each operation on the
 * way is monotone in the one before, except h - h h / (h + 1), where the part that is subtracted is small compared with
 * the step of h as long as tanh is below 3/8. (h / (h + 1), which is equal, decreases by 1 or 2 units wherever h + 1 is
 * rounded up.) They are exact at saturation (0, 1, -1) and give NaN for NaN. Results below the smallest normal number
 * become 0 (subnormal.h). tests/exhaustive.c has checked every float; its head states what holds, with the bounds.
 */
#if REAL_IS_FLOAT
#define EXP_SHIFT 23
#define EXP_BIAS 127
#define ROUNDING 12582912.0f  /* 1.5 * 2^23: adding it leaves round(y) in the low bits */
#define LN2_HIGH 0.693359375f /* few bits: n * LN2_HIGH is exact */
#define LN2_LOW (-2.12194440054690583e-4f)
#define EXP_MAX 89.0f    /* n = 128 and 2^n = infinity, intentionally: 1 / (1 + inf) = 0 */
#define EXP_MIN (-88.0f) /* n = -127 and 2^n = 0 */
#define TANH_MAX 20.0f   /* 1 - 1 / (h + 1) rounds to 1 */
static const real exp_coefficients[] = {0.000198460066481f, 0.00139407243936f, 0.00833338935939f,
                                        0.0416663597472f,   0.166666663697f,   0.500000004443f};
#else
#define EXP_SHIFT 52
#define EXP_BIAS 1023
#define ROUNDING 6755399441055744.0 /* 1.5 * 2^52 */
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define EXP_MAX 710.0
#define EXP_MIN (-709.0)
#define TANH_MAX 40.0
static const real exp_coefficients[] = {
    2.087530592864308851118e-9, 2.510908293027161007918e-8, 2.755740301564458526611e-7, 2.755724409941159333581e-6,
    2.480158717175176407131e-5, 1.984126988621319223356e-4, 1.38888888889629490039e-3,  8.333333333321605064496e-3,
    4.166666666666650725143e-2, 1.666666666666667659998e-1, 5.00000000000000000858e-1};
#endif
#define TANH_SEAM (1.0 / 3) /* of h: where tanh = 1/4 */

/* Compute the two factors of exp(y) 2^power = scale * (1 + m), m = expm1(r). */
INLINE V exp_parts(V y, int power, V *scale)
{
    const int terms = (int)(sizeof exp_coefficients / sizeof exp_coefficients[0]);
    V shifted = v_fma(y, v_set((real)1.44269504088896340736), v_set((real)ROUNDING));
    V n = shifted - v_set((real)ROUNDING);
    *scale = v_from_bits((VI)(((VN)v_bits(shifted) << EXP_SHIFT) + ((natural)(EXP_BIAS + power) << EXP_SHIFT)));
    V r = v_fma(n, v_set((real)-LN2_HIGH), y);
    r = v_fma(n, v_set((real)-LN2_LOW), r);
    V q = v_set(exp_coefficients[0]);
    for (int k = 1; k < terms; ++k)
        q = v_fma(q, r, v_set(exp_coefficients[k]));
    return v_fma(r * r, q, r);
}

INLINE V v_exp(V y)
{
    V scale, m;
    y = v_at_least(v_at_most(y, v_set((real)EXP_MAX)), v_set((real)EXP_MIN));
    m = exp_parts(y, 0, &scale);
    return scale * (v_set(1) + m); /* not scale + scale * m: scale may be infinity and m negative */
}

INLINE V v_abs(V x)
{
    return v_from_bits(v_bits(x) & ~v_bits(v_set((real)-0.0)));
}

/* expm1 for y <= 0. */
INLINE V v_expm1(V y)
{
    V scale, m = exp_parts(v_at_least(y, v_set((real)EXP_MIN)), 0, &scale);
    return v_fma(scale, m, scale - v_set(1));
}

/* log(1 + e) for e in [0, 1]. */
INLINE V v_log1p_unit(V e)
{
    const int terms = REAL_IS_FLOAT ? 8 : 17;
    V twice = (e + e) / (v_set(2) + e), s = v_set((real)0.5) * twice; /* s alone would be below the normal numbers */
    V square = s * s, sum = v_set((real)(1.0 / (2 * terms + 1)));
    for (int k = terms - 1; k >= 0; --k)
        sum = v_fma(sum, square, v_set((real)(1.0 / (2 * k + 1))));
    return twice * sum;
}

INLINE V v_sigmoid(V x)
{
    V one = v_set(1);
    return one / (one + v_exp(-x));
}

INLINE V v_tanh(V x)
{
    V one = v_set(1), scale;
    VI sign = v_bits(x) & v_bits(v_set((real)-0.0));
    V magnitude = v_abs(x);
    V m = exp_parts(v_at_most(magnitude + magnitude, v_set((real)TANH_MAX)), -1, &scale);
    V half = v_fma(scale, m, scale - v_set((real)0.5)), rest = one / (half + one);
    V near = v_fma(-half, half * rest, half), far = one - rest;
    return v_from_bits(v_bits(v_select(half < v_set((real)TANH_SEAM), near, far)) | sign);
}

/* The normal distribution. With a >= 0, r = 1 / (a + 4) and t = 1 - 8 r, exp(a^2 / 2) Phi(-a) is r P(t), P a polynomial
 * (interpolated at Chebyshev nodes for this file, relative error 2.2e-9 for float, 1.8e-18 for double), so that the tail
 * is accurate relative to the result. exp(-a^2 / 2) is computed from a^2 rounded, and the rest of it. */
#if REAL_IS_FLOAT
#define NORMAL_MAX 14.5f /* Phi(-a) is 0 below the smallest normal number */
#define HALF_BITS 12
static const real normal_coefficients[] = {-5.143016220557e-5f, -2.320224706626e-4f, 1.699849102145e-4f,
                                           1.644523957412e-3f,  -3.488922386263e-3f, -7.544860544781e-3f,
                                           6.039751158873e-2f,  -1.865213447412e-1f, 3.871373656381e-1f,
                                           -6.078966566593e-1f, 7.552851306801e-1f};
#else
#define NORMAL_MAX 38.7
#define HALF_BITS 27
static const real normal_coefficients[] = {
    -6.96801365429856343562e-10, -2.4575192437771133759e-9,  1.84634973102617638336e-9,  1.93846397687343385012e-8,
    1.33228652024700661908e-8,   -8.50385923691237753246e-8, -1.54919956639685406236e-7, 2.71474698532187996759e-7,
    1.02146861064194462188e-6,   -6.29513170362460648101e-7, -5.92011355431393464821e-6, 7.16600446691096446235e-7,
    3.51446628867276676793e-5,   -1.90824316175576434886e-6, -2.31094929847400563234e-4, 1.33344310165727374456e-4,
    1.63081845687538435395e-3,   -3.47969236719923339877e-3, -7.54018896667521447181e-3, 6.03965748909277826064e-2,
    -1.86521857959658933651e-1,  3.87137400742214698637e-1,  -6.07896641971892091526e-1, 7.55285130415751492792e-1};
#endif

/* a^2 - square exactly, where square is a^2 rounded: by halves of the bits of a, where there is no fused multiply-add. */
INLINE V v_square_rest(V a, V square)
{
#if FUSED
    return v_fma(a, a, -square);
#else
    const V high = v_from_bits((VI)((VN)v_bits(a) >> HALF_BITS << HALF_BITS)), low = a - high;
    return ((high * high - square) + (high + high) * low) + low * low;
#endif
}

/* Phi(-a) for 0 <= a <= NORMAL_MAX, and exp(-a^2 / 2). */
INLINE V v_normal_tail(V a, V *bell)
{
    const int terms = (int)(sizeof normal_coefficients / sizeof normal_coefficients[0]);
    const V square = a * a, half = v_set((real)0.5), r = v_set(1) / (a + v_set(4)), t = v_fma(v_set(-8), r, v_set(1));
    V p = v_set(normal_coefficients[0]);
    for (int k = 1; k < terms; ++k)
        p = v_fma(p, t, v_set(normal_coefficients[k]));
    *bell = v_exp(-half * square) * (v_set(1) - half * v_square_rest(a, square));
    return *bell * (p * r);
}
