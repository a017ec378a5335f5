/* kernels/attention.h - attention of queries over the steps of a memory (Luong, Pham & Manning 2015).
 *
 *   s[u][i] = q[u] . k[i]      a[u] = softmax over i of s[u]      y[u] = sum_i a[u][i] v[i]
 *   da[u][i] = dy[u] . v[i]    ds[u][i] = a[u][i] (da[u][i] - sum_j a[u][j] da[u][j])
 *   dq[u] = sum_i ds[u][i] k[i]    dk[i] = sum_u ds[u][i] q[u]    dv[i] = sum_u a[u][i] dy[u]
 *
 * for each case of a batch by itself, over the valid steps i of its memory and its valid queries u. The queries of a
 * decoder that is taught with whole sequences come all at once; one that runs step by step brings one at a time, or one
 * for each of several candidates, which then share the memory of their case.
 *
 * A query is computed by itself, in an order that depends on the number of its memory's steps and features alone, and
 * sums over queries go in their order: so neither threads nor the batch nor the other queries change bits. The scores
 * are sums across lanes as of a vector of UNITS (simd.h), four keys at a time, which load the query once. The other
 * products add rows of a matrix, four results of two vectors at a time in registers.
 *
 * Cases are shared out over threads.
 */
typedef struct {
    const fl_attention_pass *pass;
    const real *dy;
    real *dscores, *dquery, *dkeys, *dvalues;
} attention_context;

enum { ATTENTION_ROWS = 4, ATTENTION_COLS = 2 };

/* out[r] = a . rows[r], for `rows` (1 to 4) rows of n elements, ld apart: each has the bits of row_dot(). */
INLINE void dots(const real *a, const real *b, ptrdiff_t ld, const int rows, ptrdiff_t n, real *out)
{
    V sums[ATTENTION_ROWS][PARTS];
    UNROLL
    for (int r = 0; r < rows; ++r)
        v_zero(sums[r]);
    ptrdiff_t c = 0;
    for (; c + UNITS <= n; c += UNITS) {
        UNROLL
        for (int part = 0; part < PARTS; ++part) {
            const V from_a = v_load(a + c + part * LANES);
            UNROLL
            for (int r = 0; r < rows; ++r)
                sums[r][part] = v_fma(from_a, v_load(b + r * ld + c + part * LANES), sums[r][part]);
        }
    }
    UNROLL
    for (int part = 0; part < PARTS; ++part) {
        const ptrdiff_t at = c + part * LANES, count = minimum(LANES, n - at);
        if (count <= 0)
            continue;
        const V from_a = v_load_part(a + at, count);
        UNROLL
        for (int r = 0; r < rows; ++r)
            sums[r][part] = v_fma(from_a, v_load_part(b + r * ld + at, count), sums[r][part]);
    }
    UNROLL
    for (int r = 0; r < rows; ++r)
        out[r] = v_total(sums[r]);
}

/* out[i] = a . b[i] for the `count` rows of b, which have n elements. */
static void dots_of_rows(const real *a, const real *b, ptrdiff_t count, ptrdiff_t n, real *out)
{
    ptrdiff_t i = 0;
    for (; i + ATTENTION_ROWS <= count; i += ATTENTION_ROWS)
        dots(a, b + i * n, n, ATTENTION_ROWS, n, out + i);
    for (; i < count; ++i)
        dots(a, b + i * n, n, 1, n, out + i);
}

/* to[r][c] = sum_n a[r * row + n * term] * b[n][c] for `rows` (1 to 4) rows of `to`. */
typedef struct {
    const real *a;
    ptrdiff_t row, term;
    const real *b;
    ptrdiff_t terms, width;
    real *to;
} mixture;

INLINE void mix_tile(const mixture *job, const int rows, const int cols, ptrdiff_t first, ptrdiff_t last)
{
    V sums[ATTENTION_ROWS][ATTENTION_COLS];
    UNROLL
    for (int r = 0; r < rows; ++r) {
        UNROLL
        for (int c = 0; c < cols; ++c)
            sums[r][c] = v_set(0);
    }
    const real *a = job->a, *b = job->b + first;
    for (ptrdiff_t n = 0; n < job->terms; ++n, a += job->term, b += job->width) {
        V panel[ATTENTION_COLS];
        UNROLL
        for (int c = 0; c < cols - 1; ++c)
            panel[c] = v_load(b + c * LANES);
        panel[cols - 1] = last == LANES ? v_load(b + (cols - 1) * LANES) : v_load_part(b + (cols - 1) * LANES, last);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            const V factor = v_set(a[r * job->row]);
            UNROLL
            for (int c = 0; c < cols; ++c)
                sums[r][c] = v_fma(factor, panel[c], sums[r][c]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; ++r) {
        real *to = job->to + r * job->width + first;
        UNROLL
        for (int c = 0; c < cols - 1; ++c)
            v_store(to + c * LANES, sums[r][c]);
        if (last == LANES)
            v_store(to + (cols - 1) * LANES, sums[r][cols - 1]);
        else
            v_store_part(to + (cols - 1) * LANES, sums[r][cols - 1], last);
    }
}

INLINE void mix_block(const mixture *job, const int rows)
{
    ptrdiff_t first = 0;
    for (; first + ATTENTION_COLS * LANES <= job->width; first += ATTENTION_COLS * LANES)
        mix_tile(job, rows, ATTENTION_COLS, first, LANES);
    for (; first < job->width; first += LANES)
        mix_tile(job, rows, 1, first, minimum(LANES, job->width - first));
}

/* The same for `count` rows of `to`. */
static void mix_rows(mixture job, ptrdiff_t count)
{
    ptrdiff_t r = 0;
    for (; r + ATTENTION_ROWS <= count; r += ATTENTION_ROWS) {
        mix_block(&job, ATTENTION_ROWS);
        job.a += ATTENTION_ROWS * job.row;
        job.to += ATTENTION_ROWS * job.width;
    }
    for (; r < count; ++r) {
        mix_block(&job, 1);
        job.a += job.row;
        job.to += job.width;
    }
}

static void zero_rows(real *to, ptrdiff_t first, ptrdiff_t count, ptrdiff_t width)
{
    if (count > first)
        memset(to + first * width, 0, (size_t)((count - first) * width) * sizeof(real));
}

static void attention_forward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const attention_context *job = argument;
    const fl_attention_pass *pass = job->pass;
    const ptrdiff_t steps = pass->queries, time = pass->time, size = pass->key_size, width = pass->width;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const ptrdiff_t length = pass->lengths ? (ptrdiff_t)pass->lengths[b] : time;
        const ptrdiff_t valid = pass->query_lengths ? (ptrdiff_t)pass->query_lengths[b] : steps;
        const real *query = (const real *)pass->query + b * steps * size;
        const real *keys = (const real *)pass->keys + b * time * size;
        real *weights = (real *)pass->weights + b * steps * time, *y = (real *)pass->y + b * steps * width;
        zero_rows(weights, valid, steps, time);
        zero_rows(y, valid, steps, width);
        for (ptrdiff_t u = 0; u < valid; ++u) {
            real *row = weights + u * time;
            zero_rows(row, length, time, 1);
            if (!length)
                continue;
            dots_of_rows(query + u * size, keys, length, size, row);
            real largest = row[0];
            for (ptrdiff_t i = 1; i < length; ++i)
                largest = row[i] > largest || row[i] != row[i] ? row[i] : largest; /* a NaN stays */
            const real factor = 1 / softmax_sum(row, length, largest, row);
            for (ptrdiff_t i = 0; i < length; ++i)
                row[i] *= factor;
        }
        const real *values = (const real *)pass->values + b * time * width;
        mix_rows((mixture){weights, time, 1, values, length, width, y}, valid);
    }
}

static void attention_backward_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const attention_context *job = argument;
    const fl_attention_pass *pass = job->pass;
    const ptrdiff_t steps = pass->queries, time = pass->time, size = pass->key_size, width = pass->width;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const ptrdiff_t length = pass->lengths ? (ptrdiff_t)pass->lengths[b] : time;
        const ptrdiff_t valid = pass->query_lengths ? (ptrdiff_t)pass->query_lengths[b] : steps;
        const real *query = (const real *)pass->query + b * steps * size;
        const real *keys = (const real *)pass->keys + b * time * size;
        const real *values = (const real *)pass->values + b * time * width;
        const real *weights = (const real *)pass->weights + b * steps * time, *dy = job->dy + b * steps * width;
        real *dscores = job->dscores + b * steps * time;
        for (ptrdiff_t u = 0; u < valid; ++u) {
            const real *row = weights + u * time;
            real *slope = dscores + u * time;
            dots_of_rows(dy + u * width, values, length, width, slope);
            const real mean = row_dot(row, slope, length);
            for (ptrdiff_t i = 0; i < length; ++i)
                slope[i] = row[i] * (slope[i] - mean);
        }
        real *dquery = job->dquery + b * steps * size, *dkeys = job->dkeys + b * time * size;
        real *dvalues = job->dvalues + b * time * width;
        mix_rows((mixture){dscores, time, 1, keys, length, size, dquery}, valid);
        zero_rows(dquery, valid, steps, size);
        mix_rows((mixture){dscores, 1, time, query, valid, size, dkeys}, length);
        zero_rows(dkeys, length, time, size);
        mix_rows((mixture){weights, 1, time, dy, valid, width, dvalues}, length);
        zero_rows(dvalues, length, time, width);
    }
}

static double attention_work(const fl_attention_pass *pass)
{
    const double pairs = (double)pass->batch * (double)pass->queries * (double)pass->time;
    return pairs * (double)(pass->key_size + pass->width);
}

static void attention_forward(const fl_attention_pass *pass)
{
    attention_context job = {.pass = pass};
    fl_parallel(fl_worthwhile_threads(pass->n_threads, attention_work(pass)), attention_forward_body, &job);
}

static void attention_backward(const fl_attention_pass *pass, const void *dy, void *dscores, void *dquery, void *dkeys,
                               void *dvalues)
{
    attention_context job = {pass, dy, dscores, dquery, dkeys, dvalues};
    fl_parallel(fl_worthwhile_threads(pass->n_threads, 2 * attention_work(pass)), attention_backward_body, &job);
}
