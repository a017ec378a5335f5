/* kernels/normalize.h - batch normalisation and layer normalisation.
 *
 * Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167), of each feature over the N steps that count:
 *
 *   mean = sum x / N,  variance = sum (x - mean)^2 / N,  s = 1 / sqrt(variance + eps),  h = (x - mean) s
 *   y  = w h + b
 *   dx = w s (dy - [x counts] (sum dy + h sum dy h) / N),   dw = sum dy h,   db = sum dy
 *
 * Steps that do not count are normalised too, so that the sums of the gradient are over all valid steps. Everything is
 * computed in double and rounded once: a mean far from 0 does not drown the deviations. The mean is subtracted before
 * squares are summed.
 *
 * Layer normalisation (Ba, Kiros & Hinton 2016, arXiv:1607.06450), of each step over its F features, with g = w dy:
 *
 *   mean = sum x / F,  variance = sum (x - mean)^2 / F,  s = 1 / sqrt(variance + eps),  h = (x - mean) s
 *   y  = w h + b
 *   dx = s (g - sum g / F - h sum g h / F),   dw = sum dy h,   db = sum dy
 *
 * These sums are over lanes, in banks of UNITS; h is computed again in the backward pass. Squares exceed the largest
 * number long before the values themselves do: such a step is summed again after multiplication by a power of 2.
 *
 * Sums over steps are taken for each series, in double, and then over the series, so that their order depends on nothing
 * but the shapes and lengths.
 */

static ptrdiff_t norm_length(const int64_t *lengths, ptrdiff_t time, ptrdiff_t b)
{
    return lengths ? (ptrdiff_t)lengths[b] : time;
}

/* Multiply-adds for each number. */
#define BATCH_NORM_WORK 2.0
#define LAYER_NORM_WORK 8.0

static int norm_threads(int n_threads, double each, ptrdiff_t batch, ptrdiff_t time, ptrdiff_t width)
{
    return fl_worthwhile_threads(n_threads, each * (double)batch * (double)time * (double)width);
}

/* Add the sums of each series, (batch, 2, width), to the gradients, which may be NULL. */
static void norm_add_sums(ptrdiff_t batch, ptrdiff_t width, const double *sums, real *dweight, real *dbias)
{
    for (ptrdiff_t c = 0; c < width; ++c) {
        double of_weight = 0, of_bias = 0;
        for (ptrdiff_t b = 0; b < batch; ++b) {
            of_weight += sums[2 * b * width + c];
            of_bias += sums[(2 * b + 1) * width + c];
        }
        if (dweight)
            dweight[c] += (real)of_weight;
        if (dbias)
            dbias[c] += (real)of_bias;
    }
}

/* ---------------------------------------------------------------- batch normalisation */

typedef struct {
    const fl_batch_norm_pass *pass;
    const double *mean, *scale, *shift; /* mean NULL: sum x, else sum (x - mean)^2 */
    const real *weight, *dy;
    const double *of_h, *of_dy; /* sum dy h / N and sum dy / N; NULL: the statistics are constants */
    real *out;                  /* y or dx */
} batch_norm_context;

static void batch_norm_sums_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const batch_norm_context *job = argument;
    const fl_batch_norm_pass *pass = job->pass;
    const ptrdiff_t width = pass->width;
    const double *mean = job->mean;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        double *sums = pass->sums + 2 * b * width;
        const real *x = (const real *)pass->x + b * pass->time * width;
        memset(sums, 0, (size_t)width * sizeof(double));
        for (ptrdiff_t t = 0; t < norm_length(pass->lengths, pass->time, b); ++t, x += width) {
            if (pass->mask && !pass->mask[b * pass->time + t])
                continue;
            if (mean)
                for (ptrdiff_t c = 0; c < width; ++c)
                    sums[c] += ((double)x[c] - mean[c]) * ((double)x[c] - mean[c]);
            else
                for (ptrdiff_t c = 0; c < width; ++c)
                    sums[c] += x[c];
        }
    }
}

static void batch_norm_mean_of(const batch_norm_context *job, ptrdiff_t count, double *to)
{
    const fl_batch_norm_pass *pass = job->pass;
    fl_parallel(norm_threads(pass->n_threads, BATCH_NORM_WORK, pass->batch, pass->time, pass->width),
                batch_norm_sums_body, (void *)job);
    for (ptrdiff_t c = 0; c < pass->width; ++c) {
        double total = 0;
        for (ptrdiff_t b = 0; b < pass->batch; ++b)
            total += pass->sums[2 * b * pass->width + c];
        to[c] = count ? total / (double)count : 0;
    }
}

static ptrdiff_t batch_norm_statistics(const fl_batch_norm_pass *pass, double *mean, double *variance)
{
    ptrdiff_t count = 0;
    for (ptrdiff_t b = 0; b < pass->batch; ++b) {
        const ptrdiff_t length = norm_length(pass->lengths, pass->time, b);
        if (!pass->mask)
            count += length;
        for (ptrdiff_t t = 0; pass->mask && t < length; ++t)
            count += pass->mask[b * pass->time + t] != 0;
    }
    batch_norm_context job = {.pass = pass};
    batch_norm_mean_of(&job, count, mean);
    job.mean = mean;
    batch_norm_mean_of(&job, count, variance);
    return count;
}

static void batch_norm_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const batch_norm_context *job = argument;
    const fl_batch_norm_pass *pass = job->pass;
    const ptrdiff_t width = pass->width;
    const double *mean = job->mean, *scale = job->scale, *shift = job->shift;
    ptrdiff_t begin, end;
    fl_share(pass->batch * pass->time, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        const real *x = (const real *)pass->x + n * width;
        real *y = job->out + n * width;
        if (n % pass->time >= norm_length(pass->lengths, pass->time, n / pass->time))
            memset(y, 0, (size_t)width * sizeof(real));
        else
            for (ptrdiff_t c = 0; c < width; ++c)
                y[c] = (real)(((double)x[c] - mean[c]) * scale[c] + shift[c]);
    }
}

static void batch_norm_forward(const fl_batch_norm_pass *pass, const double *mean, const double *scale,
                               const double *shift, void *y)
{
    batch_norm_context job = {.pass = pass, .mean = mean, .scale = scale, .shift = shift, .out = y};
    fl_parallel(norm_threads(pass->n_threads, BATCH_NORM_WORK, pass->batch, pass->time, pass->width),
                batch_norm_forward_body, &job);
}

static void batch_norm_gradient_sums_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const batch_norm_context *job = argument;
    const fl_batch_norm_pass *pass = job->pass;
    const ptrdiff_t width = pass->width;
    const double *mean = job->mean, *scale = job->scale;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        double *of_h = pass->sums + 2 * b * width, *of_dy = of_h + width;
        const real *x = (const real *)pass->x + b * pass->time * width, *dy = job->dy + b * pass->time * width;
        memset(of_h, 0, 2 * (size_t)width * sizeof(double));
        for (ptrdiff_t t = 0; t < norm_length(pass->lengths, pass->time, b); ++t, x += width, dy += width)
            for (ptrdiff_t c = 0; c < width; ++c) {
                of_h[c] += (double)dy[c] * (((double)x[c] - mean[c]) * scale[c]);
                of_dy[c] += dy[c];
            }
    }
}

static void batch_norm_dx_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const batch_norm_context *job = argument;
    const fl_batch_norm_pass *pass = job->pass;
    const ptrdiff_t width = pass->width;
    const double *mean = job->mean, *scale = job->scale;
    const real *weight = job->weight;
    ptrdiff_t begin, end;
    fl_share(pass->batch * pass->time, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        const real *x = (const real *)pass->x + n * width, *dy = job->dy + n * width;
        real *dx = job->out + n * width;
        if (n % pass->time >= norm_length(pass->lengths, pass->time, n / pass->time))
            memset(dx, 0, (size_t)width * sizeof(real));
        else if (job->of_dy && !(pass->mask && !pass->mask[n]))
            for (ptrdiff_t c = 0; c < width; ++c) {
                const double h = ((double)x[c] - mean[c]) * scale[c];
                dx[c] = (real)((weight ? (double)weight[c] : 1) * scale[c] *
                               ((double)dy[c] - (job->of_dy[c] + h * job->of_h[c])));
            }
        else
            for (ptrdiff_t c = 0; c < width; ++c)
                dx[c] = (real)((weight ? (double)weight[c] : 1) * scale[c] * (double)dy[c]);
    }
}

static void batch_norm_backward(const fl_batch_norm_pass *pass, const double *mean, const double *scale,
                                const void *weight, ptrdiff_t count, const void *dy, void *dx, void *dweight,
                                void *dbias)
{
    batch_norm_context job = {.pass = pass, .mean = mean, .scale = scale, .weight = weight, .dy = dy, .out = dx};
    const int n_threads = norm_threads(pass->n_threads, BATCH_NORM_WORK, pass->batch, pass->time, pass->width);
    const ptrdiff_t width = pass->width;
    if (dweight || dbias || count) {
        fl_parallel(n_threads, batch_norm_gradient_sums_body, &job);
        norm_add_sums(pass->batch, width, pass->sums, dweight, dbias);
    }
    if (count && pass->batch) {
        double *of_h = pass->sums, *of_dy = of_h + width; /* the sums of the first series become those of all */
        for (ptrdiff_t c = 0; c < 2 * width; ++c) {
            double total = 0;
            for (ptrdiff_t b = 0; b < pass->batch; ++b)
                total += pass->sums[2 * b * width + c];
            of_h[c] = total / (double)count;
        }
        job.of_h = of_h;
        job.of_dy = of_dy;
    }
    if (dx)
        fl_parallel(n_threads, batch_norm_dx_body, &job);
}

/* ---------------------------------------------------------------- layer normalisation */

typedef struct {
    const fl_layer_norm_pass *pass;
    const real *dy;
    real *dx;
    int sums; /* 1: those of dweight and dbias */
} layer_norm_context;

/* The sum of x * down - mean over the features, or of its squares. */
INLINE real layer_norm_sum(const real *x, ptrdiff_t width, real down, real mean, const int squares)
{
    V sums[PARTS];
    v_zero(sums);
    for (ptrdiff_t bank = 0; bank < width; bank += UNITS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part) {
            const ptrdiff_t c = bank + part * LANES;
            if (c >= width)
                break;
            const ptrdiff_t count = minimum(LANES, width - c);
            const V v = v_keep(v_load_part(x + c, count) * v_set(down) - v_set(mean), count);
            if (squares)
                sums[part] = v_fma(v, v, sums[part]);
            else
                sums[part] = sums[part] + v;
        }
    }
    return v_total(sums);
}

/* Mean and 1 / sqrt(variance + eps). */
static void layer_norm_statistics(const real *x, ptrdiff_t width, double eps, real *mean, real *scale)
{
    const real down = REAL_IS_FLOAT ? (real)0x1p-100 : (real)0x1p-600, count = (real)width;
    *mean = layer_norm_sum(x, width, 1, 0, 0) / count;
    real variance = layer_norm_sum(x, width, 1, *mean, 1) / count;
    *scale = (real)(1 / sqrt((double)variance + eps));
    if (variance - variance == 0)
        return;
    *mean = layer_norm_sum(x, width, down, 0, 0) / count;
    variance = layer_norm_sum(x, width, down, *mean, 1) / count;
    *mean /= down;
    *scale = (real)(down / sqrt((double)variance)); /* eps is negligible */
}

/* Elements of an array of the features, or of one that is not there. */
INLINE V layer_norm_load(const real *array, ptrdiff_t c, ptrdiff_t count, real absent)
{
    if (array)
        return v_load_part(array + c, count);
    return v_set(absent);
}

static void layer_norm_row(const fl_layer_norm_pass *pass, const real *x, real *y)
{
    const real *weight = pass->weight, *bias = pass->bias;
    real mean, scale;
    layer_norm_statistics(x, pass->width, pass->eps, &mean, &scale);
    for (ptrdiff_t c = 0; c < pass->width; c += LANES) {
        const ptrdiff_t count = minimum(LANES, pass->width - c);
        const V h = (v_load_part(x + c, count) - v_set(mean)) * v_set(scale);
        const V w = layer_norm_load(weight, c, count, 1);
        v_store_part(y + c, v_fma(w, h, layer_norm_load(bias, c, count, 0)), count);
    }
}

static void layer_norm_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const fl_layer_norm_pass *pass = ((const layer_norm_context *)argument)->pass;
    const ptrdiff_t width = pass->width;
    ptrdiff_t begin, end;
    fl_share(pass->batch * pass->time, thread, team, &begin, &end);
    for (ptrdiff_t n = begin; n < end; ++n) {
        real *y = (real *)pass->y + n * width;
        if (n % pass->time < norm_length(pass->lengths, pass->time, n / pass->time))
            layer_norm_row(pass, (const real *)pass->x + n * width, y);
        else
            memset(y, 0, (size_t)width * sizeof(real));
    }
}

static void layer_norm_forward(const fl_layer_norm_pass *pass)
{
    layer_norm_context job = {.pass = pass};
    fl_parallel(norm_threads(pass->n_threads, LAYER_NORM_WORK, pass->batch, pass->time, pass->width),
                layer_norm_forward_body, &job);
}

static void layer_norm_row_backward(const fl_layer_norm_pass *pass, const real *x, const real *dy, real *dx,
                                    double *sums)
{
    const ptrdiff_t width = pass->width;
    const real *weight = pass->weight;
    V of_g[PARTS], of_gh[PARTS];
    real mean, scale;
    layer_norm_statistics(x, width, pass->eps, &mean, &scale);
    for (ptrdiff_t c = 0; sums && c < width; ++c) {
        sums[c] += (double)dy[c] * (double)((x[c] - mean) * scale);
        sums[width + c] += dy[c];
    }
    if (!dx)
        return;
    v_zero(of_g);
    v_zero(of_gh);
    for (ptrdiff_t bank = 0; bank < width; bank += UNITS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part) {
            const ptrdiff_t c = bank + part * LANES;
            if (c >= width)
                break;
            const ptrdiff_t count = minimum(LANES, width - c);
            const V h = (v_load_part(x + c, count) - v_set(mean)) * v_set(scale);
            const V g = v_load_part(dy + c, count) * layer_norm_load(weight, c, count, 1);
            of_g[part] = of_g[part] + g; /* 0 in lanes beyond the features, and so in the next line */
            of_gh[part] = v_fma(g, v_keep(h, count), of_gh[part]);
        }
    }
    const V mean_g = v_set(v_total(of_g) / (real)width), mean_gh = v_set(v_total(of_gh) / (real)width);
    for (ptrdiff_t c = 0; c < width; c += LANES) {
        const ptrdiff_t count = minimum(LANES, width - c);
        const V h = (v_load_part(x + c, count) - v_set(mean)) * v_set(scale);
        const V g = v_load_part(dy + c, count) * layer_norm_load(weight, c, count, 1);
        v_store_part(dx + c, v_set(scale) * v_fma(-h, mean_gh, g - mean_g), count);
    }
}

static void layer_norm_backward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const layer_norm_context *job = argument;
    const fl_layer_norm_pass *pass = job->pass;
    const ptrdiff_t width = pass->width;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const ptrdiff_t length = norm_length(pass->lengths, pass->time, b);
        double *sums = job->sums ? pass->sums + 2 * b * width : NULL;
        if (sums)
            memset(sums, 0, 2 * (size_t)width * sizeof(double));
        for (ptrdiff_t t = 0; t < length; ++t) {
            const ptrdiff_t at = (b * pass->time + t) * width;
            layer_norm_row_backward(pass, (const real *)pass->x + at, job->dy + at, job->dx ? job->dx + at : NULL,
                                    sums);
        }
        if (job->dx)
            memset(job->dx + (b * pass->time + length) * width, 0,
                   (size_t)((pass->time - length) * width) * sizeof(real));
    }
}

static void layer_norm_backward(const fl_layer_norm_pass *pass, const void *dy, void *dx, void *dweight, void *dbias)
{
    layer_norm_context job = {.pass = pass, .dy = dy, .dx = dx, .sums = dweight || dbias};
    fl_parallel(norm_threads(pass->n_threads, LAYER_NORM_WORK, pass->batch, pass->time, pass->width),
                layer_norm_backward_body, &job);
    if (job.sums)
        norm_add_sums(pass->batch, pass->width, pass->sums, dweight, dbias);
}
