/* doubles.c - sums and functions of arrays of doubles, the same bits on every machine.
 *
 * NumPy's sums and functions, and the C library's, differ between versions and processors. These compute statistics of
 * data, losses and probabilities outside the kernels; scalar.h has the functions of one number.
 */
#include "fastlstm.h"
#include "scalar.h"

double fl_sum(ptrdiff_t n, const double *x, const double *weights)
{
    /* Partial sums let the compiler vectorize without reordering the additions. */
    enum { SUMS = 16 };
    double sums[SUMS] = {0}, total = 0;
    ptrdiff_t k = 0;
    if (weights) {
        for (; k + SUMS <= n; k += SUMS)
            for (int lane = 0; lane < SUMS; ++lane)
                sums[lane] += x[k + lane] * weights[k + lane];
        for (; k < n; ++k)
            sums[k % SUMS] += x[k] * weights[k];
    } else {
        for (; k + SUMS <= n; k += SUMS)
            for (int lane = 0; lane < SUMS; ++lane)
                sums[lane] += x[k + lane];
        for (; k < n; ++k)
            sums[k % SUMS] += x[k];
    }
    for (int lane = 0; lane < SUMS; ++lane)
        total += sums[lane];
    return total;
}

void fl_row_sums(ptrdiff_t rows, ptrdiff_t width, const double *x, double *sums)
{
    for (ptrdiff_t n = 0; n < rows; ++n)
        sums[n] = fl_sum(width, x + n * width, NULL);
}

void fl_column_sums(ptrdiff_t rows, ptrdiff_t width, const double *x, const double *center, double *sums)
{
    for (ptrdiff_t c = 0; c < width; ++c)
        sums[c] = 0;
    for (ptrdiff_t n = 0; n < rows; ++n, x += width)
        if (center)
            for (ptrdiff_t c = 0; c < width; ++c)
                sums[c] += (x[c] - center[c]) * (x[c] - center[c]);
        else
            for (ptrdiff_t c = 0; c < width; ++c)
                sums[c] += x[c];
}

void fl_exp_of(ptrdiff_t n, const double *x, double *y)
{
    for (ptrdiff_t k = 0; k < n; ++k)
        y[k] = fl_exp(x[k]);
}

void fl_log_of(ptrdiff_t n, const double *x, double *y)
{
    for (ptrdiff_t k = 0; k < n; ++k)
        y[k] = fl_log(x[k]);
}

double fl_power_of(double base, int64_t n)
{
    return fl_power(base, n);
}

/* By the series of sine and cosine up to pi / 4. */
double fl_cosine(double turns)
{
    const double half = turns > 0.25 ? 0.5 - turns : turns; /* of [0, 0.5], with the opposite sign above 0.25 */
    const double near = half < 0 ? -half : half;
    const double pi = 3.14159265358979323846;
    double sum = 1;
    if (near <= 0.125) {
        const double square = (2 * pi * near) * (2 * pi * near);
        for (int k = 18; k > 0; k -= 2)
            sum = 1 - sum * square / (k * (k - 1));
    } else {
        const double angle = 2 * pi * (0.25 - near), square = angle * angle;
        for (int k = 19; k > 1; k -= 2)
            sum = 1 - sum * square / (k * (k - 1));
        sum *= angle;
    }
    return turns > 0.25 ? -sum : sum;
}
