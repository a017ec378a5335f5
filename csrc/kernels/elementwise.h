/* kernels/elementwise.h - scaling, embedding, dropout and noise.
 *
 * Scaling: (x - mean) / scale, rounded as NumPy rounds it on arrays of the dtype; the inverse is computed in double.
 * Features that may be missing (NaN) become 0, the mean, and each of them has a channel behind the features that is 1
 * where its value is missing. NaN in any other feature stays NaN, so that no missing value passes unseen.
 *
 * Embedding: out[n] = table[index[n]]; the gradient adds dout[n] to that row. Rows of the output are shared out over
 * threads. In the gradient the columns are, so that two threads never add to one number and the order of n decides.
 *
 * Dropout (Srivastava et al. 2014), inverted: y = x / (1 - p) where kept. Element n of a row of the batch draws the
 * word n % 4 of Philox4x32-10 (Salmon et al. 2011) at counter n / 4 of the row, keyed by the seed, and is kept if word /
 * 2^32 >= p. The draw is a function of (seed, row, n), with n = step * features + feature: no state, no stored mask, the
 * same for every thread count, and whatever the other rows are and how long they are padded.
 *
 * Noise: y = x + stddev z, where the word gives z, normal, by the inverse of the distribution (../normal.h).
 */

/* Scaling is computed in double and rounded once. Times in seconds or days, or counters, have digits that float32 does
 * not hold (1.7e9 seconds are rounded to 128), so that x of a `standardize`, and y of an `unstandardize`, may be double
 * next to float32 on the other side. */

/* The scale, or 1 if it is below the smallest normal number: such a feature counts as constant. */
static double scaling_in_use(double scale)
{
    return scale < DBL_MIN ? 1 : scale;
}

static void standardize(fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *from, const double *mean,
                        const double *scaling, void *to)
{
    const float *singles = from;
    const double *doubles = from;
    real *y = to;
    for (ptrdiff_t n = 0; n < rows; ++n, singles += width, doubles += width, y += width)
        if (x_dtype == FL_F32)
            for (ptrdiff_t c = 0; c < width; ++c)
                y[c] = (real)(((double)singles[c] - mean[c]) / scaling_in_use(scaling[c]));
        else
            for (ptrdiff_t c = 0; c < width; ++c)
                y[c] = (real)((doubles[c] - mean[c]) / scaling_in_use(scaling[c]));
}

static void standardize_missing(fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *from, const double *mean,
                                const double *scaling, const int64_t *missing, ptrdiff_t count, void *to)
{
    const size_t row_bytes = (size_t)width * (x_dtype == FL_F32 ? sizeof(float) : sizeof(double));
    real *y = to;
    for (ptrdiff_t n = 0; n < rows; ++n, y += width + count) {
        standardize(x_dtype, 1, width, (const char *)from + (size_t)n * row_bytes, mean, scaling, y);
        for (ptrdiff_t k = 0; k < count; ++k) {
            /* mean and scale are finite, so that only NaN gives NaN */
            real *value = &y[missing[k]];
            const int absent = *value != *value;
            y[width + k] = absent;
            *value = absent ? 0 : *value;
        }
    }
}

static void unstandardize(fl_dtype y_dtype, ptrdiff_t rows, ptrdiff_t width, const void *from, const double *mean,
                          const double *scaling, void *to)
{
    const real *x = from;
    float *singles = to;
    double *doubles = to;
    for (ptrdiff_t n = 0; n < rows; ++n, x += width, singles += width, doubles += width)
        if (y_dtype == FL_F32)
            for (ptrdiff_t c = 0; c < width; ++c)
                singles[c] = (float)((double)x[c] * scaling[c] + mean[c]);
        else
            for (ptrdiff_t c = 0; c < width; ++c)
                doubles[c] = (double)x[c] * scaling[c] + mean[c];
}

typedef struct {
    ptrdiff_t rows, width;
    const int64_t *index;
    const real *from;
    real *to;
} embedding_context;

static void embedding_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const embedding_context *job = argument;
    ptrdiff_t begin, end;
    fl_share(job->rows, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n)
        memcpy(job->to + n * job->width, job->from + job->index[n] * job->width, (size_t)job->width * sizeof(real));
}

static void embedding_backward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const embedding_context *job = argument;
    ptrdiff_t begin, end;
    fl_share(job->width, thread, team, &begin, &end);
    for (ptrdiff_t n = 0; n < job->rows; ++n) {
        const real *from = job->from + n * job->width;
        real *to = job->to + job->index[n] * job->width;
        for (ptrdiff_t c = begin; c < end; ++c)
            to[c] += from[c];
    }
}

static void embedding_forward(ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *table, void *out,
                              int n_threads)
{
    embedding_context job = {rows, width, index, table, out};
    fl_parallel(fl_worthwhile_threads(n_threads, (double)rows * (double)width), embedding_forward_body, &job);
}

static void embedding_backward(ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *dout, void *dtable,
                               int n_threads)
{
    embedding_context job = {rows, width, index, dout, dtable};
    fl_parallel(fl_worthwhile_threads(n_threads, (double)rows * (double)width), embedding_backward_body, &job);
}

typedef struct {
    ptrdiff_t rows, size;
    const real *x;
    real *y;
    real scale;         /* dropout: of elements that are kept */
    uint64_t threshold; /* dropout: keep words >= threshold; 2^32 drops all */
    double stddev;      /* noise */
    int adds;           /* 1: noise */
    uint64_t seed;
    ptrdiff_t first_row;
} draw_context;

static void draw_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const draw_context *job = argument;
    enum { GROUP = 4 * DRAWS };
    const ptrdiff_t of_row = tile_count(job->size, GROUP);
    ptrdiff_t begin, end;
    fl_share(job->rows * of_row, thread, team, &begin, &end);
    for (ptrdiff_t group = begin; group < end; ++group) {
        uint32_t words[4][DRAWS];
        const ptrdiff_t row = group / of_row, first = group % of_row * GROUP;
        const ptrdiff_t count = minimum(GROUP, job->size - first);
        const real *x = job->x + row * job->size + first;
        real *y = job->y + row * job->size + first;
        draw_words(job->seed, (uint64_t)(first / 4), 0, job->first_row + row, (int)tile_count(count, 4), words);
        if (job->adds)
            for (ptrdiff_t k = 0; k < count; ++k)
                y[k] = (real)((double)x[k] + job->stddev * fl_normal(fl_chance_of_word(words[k % 4][k / 4])));
        else
            for (ptrdiff_t k = 0; k < count; ++k)
                y[k] = words[k % 4][k / 4] >= job->threshold ? x[k] * job->scale : 0;
    }
}

static void dropout(ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double p, uint64_t seed,
                    ptrdiff_t first_row, int n_threads)
{
    draw_context job = {
        .rows = rows,
        .size = size,
        .x = x,
        .y = y,
        .scale = (real)(p < 1 ? 1 / (1 - p) : 0),
        .threshold = (uint64_t)(p * 4294967296.0),
        .seed = seed,
        .first_row = first_row,
    };
    fl_parallel(fl_worthwhile_threads(n_threads, 8.0 * (double)rows * (double)size), draw_body, &job);
}

static void noise(ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double stddev, uint64_t seed,
                  ptrdiff_t first_row, int n_threads)
{
    draw_context job = {
        .rows = rows,
        .size = size,
        .x = x,
        .y = y,
        .stddev = stddev,
        .adds = 1,
        .seed = seed,
        .first_row = first_row,
    };
    fl_parallel(fl_worthwhile_threads(n_threads, 40.0 * (double)rows * (double)size), draw_body, &job);
}
