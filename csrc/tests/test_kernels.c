/* test_kernels.c - the C kernels against plain loops in double, on every instruction set of the machine.
 *
 * No Python is involved, so that a sanitizer or a debugger sees only C. Workspaces have exactly the size that was asked
 * for, so that the address sanitizer sees a step beyond them, and padding holds NaN, so that a value read from it
 * shows. Exits with 1 if anything differs.
 */
#include "../fastlstm.h"
#include "../subnormal.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- helpers */

/* An array of the dtype under test, and the same numbers in double. */
typedef struct {
    size_t n;
    void *data;
    double *exact;
} array;

static array make(fl_dtype dtype, size_t n, double bound)
{
    array a = {n, malloc(n ? n * size_of(dtype) : 1), malloc(n ? n * sizeof(double) : 1)};
    if (!a.data || !a.exact)
        exit(2);
    for (size_t k = 0; k < n; ++k) {
        double value = bound ? uniform(-bound, bound) : 0;
        if (dtype == FL_F32) {
            ((float *)a.data)[k] = (float)value;
            a.exact[k] = (float)value;
        } else {
            ((double *)a.data)[k] = a.exact[k] = value;
        }
    }
    return a;
}

static void release(array a)
{
    free(a.data);
    free(a.exact);
}

static void set(fl_dtype dtype, void *data, size_t k, double value)
{
    if (dtype == FL_F32)
        ((float *)data)[k] = (float)value;
    else
        ((double *)data)[k] = value;
}

static double get(fl_dtype dtype, array a, size_t k)
{
    return dtype == FL_F32 ? (double)((float *)a.data)[k] : ((double *)a.data)[k];
}

static void set_nan(fl_dtype dtype, array a, size_t k)
{
    if (dtype == FL_F32)
        ((float *)a.data)[k] = NAN;
    else
        ((double *)a.data)[k] = (double)NAN;
}

/* Rounding errors grow with the number of terms. 1000 ulp of the largest element is an order of magnitude above the
 * errors at the sizes of these tests, and far below any wrong term. */
static void expect_close(fl_dtype dtype, array got, const char *what)
{
    const double eps = dtype == FL_F32 ? 1.2e-7 : 2.2e-16;
    double most = 1e-3, worst = 0;
    for (size_t k = 0; k < got.n; ++k)
        most = fmax(most, fabs(got.exact[k]));
    for (size_t k = 0; k < got.n; ++k) {
        double error = fabs(get(dtype, got, k) - got.exact[k]);
        worst = error <= worst ? worst : error; /* NaN counts as worst */
    }
    expect(worst <= 1000 * eps * most, what);
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

/* ---------------------------------------------------------------- LSTM */

typedef struct {
    int batch, time, input, hidden, reverse, bias, state;
    int lengths; /* 0: all rows full; 1: mixed, including 0 and full */
} shape;

typedef struct {
    array x, w_ih, w_hh, b_ih, b_hh, h0, c0, y, hn, cn;
    array dy, dhn, dcn, dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0;
    int64_t *lengths;
} problem;

static int length_of(const shape *s, const problem *p, int b)
{
    return s->lengths ? (int)p->lengths[b] : s->time;
}

/* Compute the whole layer in plain loops, one row at a time; results go to the `exact` side. */
static void solve(const shape *s, problem *p)
{
    const int T = s->time, I = s->input, H = s->hidden;
    double *gates = malloc(sizeof(double) * (size_t)(T + 1) * 4 * H), *c = malloc(sizeof(double) * (size_t)(T + 1) * H);
    double *h = malloc(sizeof(double) * (size_t)(T + 1) * H), *dh = malloc(sizeof(double) * H);
    double *dc = malloc(sizeof(double) * H), *dz = malloc(sizeof(double) * 4 * H);
    if (!gates || !c || !h || !dh || !dc || !dz)
        exit(2);
    for (int b = 0; b < s->batch; ++b) {
        const int steps = length_of(s, p, b);
        for (int u = 0; u < H; ++u) {
            h[u] = s->state ? p->h0.exact[b * H + u] : 0;
            c[u] = s->state ? p->c0.exact[b * H + u] : 0;
        }
        for (int k = 0; k < steps; ++k) {
            const int t = s->reverse ? steps - 1 - k : k;
            double *z = gates + (size_t)k * 4 * H, *h1 = h + (size_t)(k + 1) * H, *c1 = c + (size_t)(k + 1) * H;
            for (int r = 0; r < 4 * H; ++r) {
                double sum = s->bias ? p->b_ih.exact[r] + p->b_hh.exact[r] : 0;
                for (int i = 0; i < I; ++i)
                    sum += p->w_ih.exact[r * I + i] * p->x.exact[(b * T + t) * I + i];
                for (int u = 0; u < H; ++u)
                    sum += p->w_hh.exact[r * H + u] * h[(size_t)k * H + u];
                z[r] = r / H == 2 ? tanh(sum) : logistic(sum);
            }
            for (int u = 0; u < H; ++u) {
                c1[u] = z[H + u] * c[(size_t)k * H + u] + z[u] * z[2 * H + u];
                h1[u] = z[3 * H + u] * tanh(c1[u]);
                p->y.exact[(b * T + t) * H + u] = h1[u];
            }
        }
        for (int u = 0; u < H; ++u) {
            p->hn.exact[b * H + u] = h[(size_t)steps * H + u];
            p->cn.exact[b * H + u] = c[(size_t)steps * H + u];
            dh[u] = p->dhn.exact[b * H + u];
            dc[u] = p->dcn.exact[b * H + u];
        }
        for (int k = steps - 1; k >= 0; --k) {
            const int t = s->reverse ? steps - 1 - k : k;
            const double *z = gates + (size_t)k * 4 * H;
            for (int u = 0; u < H; ++u) {
                const double i = z[u], f = z[H + u], g = z[2 * H + u], o = z[3 * H + u];
                const double tc = tanh(c[(size_t)(k + 1) * H + u]);
                dh[u] += p->dy.exact[(b * T + t) * H + u];
                dc[u] += dh[u] * o * (1 - tc * tc);
                dz[u] = dc[u] * g * i * (1 - i);
                dz[H + u] = dc[u] * c[(size_t)k * H + u] * f * (1 - f);
                dz[2 * H + u] = dc[u] * i * (1 - g * g);
                dz[3 * H + u] = dh[u] * tc * o * (1 - o);
                dc[u] *= f;
            }
            memset(dh, 0, sizeof(double) * H);
            for (int r = 0; r < 4 * H; ++r) {
                for (int i = 0; i < I; ++i) {
                    p->dx.exact[(b * T + t) * I + i] += dz[r] * p->w_ih.exact[r * I + i];
                    p->dw_ih.exact[r * I + i] += dz[r] * p->x.exact[(b * T + t) * I + i];
                }
                for (int u = 0; u < H; ++u) {
                    dh[u] += dz[r] * p->w_hh.exact[r * H + u];
                    p->dw_hh.exact[r * H + u] += dz[r] * h[(size_t)k * H + u];
                }
                p->db_ih.exact[r] += dz[r];
                p->db_hh.exact[r] += dz[r];
            }
        }
        memcpy(p->dh0.exact + b * H, dh, sizeof(double) * H);
        memcpy(p->dc0.exact + b * H, dc, sizeof(double) * H);
    }
    free(gates);
    free(c);
    free(h);
    free(dh);
    free(dc);
    free(dz);
}

static problem pose(fl_dtype dtype, const shape *s)
{
    const size_t B = s->batch, T = s->time, I = s->input, H = s->hidden;
    const double w = 1 / sqrt((double)H);
    problem p = {
        make(dtype, B * T * I, 1), make(dtype, 4 * H * I, w), make(dtype, 4 * H * H, w),
        make(dtype, 4 * H, w),     make(dtype, 4 * H, w),     make(dtype, B * H, 1),
        make(dtype, B * H, 1),     make(dtype, B * T * H, 0), make(dtype, B * H, 0),
        make(dtype, B * H, 0),     make(dtype, B * T * H, 1), make(dtype, B * H, 1),
        make(dtype, B * H, 1),     make(dtype, B * T * I, 0), make(dtype, 4 * H * I, 0),
        make(dtype, 4 * H * H, 0), make(dtype, 4 * H, 0),     make(dtype, 4 * H, 0),
        make(dtype, B * H, 0),     make(dtype, B * H, 0),     malloc(sizeof(int64_t) * (B ? B : 1)),
    };
    if (!p.lengths)
        exit(2);
    for (size_t b = 0; b < B; ++b)
        p.lengths[b] = b == 0 ? (int64_t)T : b == 1 ? 0 : (int64_t)uniform(0, (double)T + 0.999);
    solve(s, &p);
    for (size_t b = 0; b < B; ++b)
        for (size_t t = (size_t)length_of(s, &p, (int)b); t < T; ++t) {
            for (size_t i = 0; i < I; ++i) {
                set_nan(dtype, p.x, (b * T + t) * I + i);
                set_nan(dtype, p.dx, (b * T + t) * I + i); /* must be overwritten by zeros */
            }
            for (size_t u = 0; u < H; ++u) {
                set_nan(dtype, p.y, (b * T + t) * H + u);
                set_nan(dtype, p.dy, (b * T + t) * H + u);
            }
        }
    return p;
}

static void finish(problem p)
{
    array *all[] = {&p.x,  &p.w_ih, &p.w_hh, &p.b_ih, &p.b_hh,  &p.h0,    &p.c0,    &p.y,     &p.hn,  &p.cn,
                    &p.dy, &p.dhn,  &p.dcn,  &p.dx,   &p.dw_ih, &p.dw_hh, &p.db_ih, &p.db_hh, &p.dh0, &p.dc0};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k)
        release(*all[k]);
    free(p.lengths);
}

/* Run the problem in one pass and then, in inference, once more with weights packed beforehand, for another batch. */
static void run(fl_dtype dtype, const shape *s, problem *p, int training, int recompute_every, int n_threads)
{
    fl_lstm_pass pass = {
        .batch = s->batch,
        .time = s->time,
        .input = s->input,
        .hidden = s->hidden,
        .lengths = s->lengths ? p->lengths : NULL,
        .reverse = s->reverse,
        .training = training,
        .recompute_every = recompute_every,
        .weight_ih = p->w_ih.data,
        .weight_hh = p->w_hh.data,
        .bias_ih = s->bias ? p->b_ih.data : NULL,
        .bias_hh = s->bias ? p->b_hh.data : NULL,
        .x = p->x.data,
        .x_batch = (ptrdiff_t)s->time * s->input,
        .x_time = s->input,
        .h0 = s->state ? p->h0.data : NULL,
        .c0 = s->state ? p->c0.data : NULL,
        .y = p->y.data,
        .y_batch = (ptrdiff_t)s->time * s->hidden,
        .y_time = s->hidden,
        .hn = p->hn.data,
        .cn = p->cn.data,
        .n_threads = n_threads,
    };
    pass.workspace = allocate(fl_lstm_workspace(dtype, &pass));
    fl_lstm_forward(dtype, &pass);
    if (!training) {
        fl_lstm_pass of_weights = pass;
        of_weights.batch = of_weights.time = 0;
        void *packed = allocate(fl_lstm_packed_size(dtype, &of_weights));
        fl_lstm_pack(dtype, &of_weights, packed);
        free(pass.workspace);
        const size_t packs = fl_lstm_workspace(dtype, &pass);
        pass.packed = packed;
        expect(fl_lstm_workspace(dtype, &pass) + fl_lstm_packed_size(dtype, &pass) == packs,
               "a workspace without the packed weights");
        pass.workspace = allocate(fl_lstm_workspace(dtype, &pass));
        pass.weight_ih = pass.weight_hh = pass.bias_ih = pass.bias_hh = NULL; /* not read again */
        memset(p->y.data, 0, p->y.n * size_of(dtype));
        fl_lstm_forward(dtype, &pass);
        free(packed);
    }
    if (training) {
        fl_lstm_gradients out = {
            .dy = p->dy.data,
            .dy_batch = pass.y_batch,
            .dy_time = pass.y_time,
            .dhn = p->dhn.data,
            .dcn = p->dcn.data,
            .dx = p->dx.data,
            .dx_batch = pass.x_batch,
            .dx_time = pass.x_time,
            .dweight_ih = p->dw_ih.data,
            .dweight_hh = p->dw_hh.data,
            .dbias_ih = p->db_ih.data,
            .dbias_hh = p->db_hh.data,
            .dh0 = p->dh0.data,
            .dc0 = p->dc0.data,
        };
        fl_lstm_backward(dtype, &pass, &out);
    }
    free(pass.workspace);
}

static void expect_same_bits(fl_dtype dtype, array a, array b, const char *what)
{
    expect(!memcmp(a.data, b.data, a.n * size_of(dtype)), what);
}

static void test_lstm(fl_dtype dtype)
{
    static const shape shapes[] = {
        {1, 1, 1, 1, 0, 1, 0, 0},     {1, 40, 1, 3, 1, 1, 1, 0},    {2, 5, 3, 7, 0, 0, 1, 0},
        {7, 9, 12, 16, 1, 1, 1, 1},   {13, 6, 17, 33, 0, 1, 1, 1},  {64, 4, 20, 65, 1, 1, 1, 1},
        {5, 3, 130, 17, 0, 1, 0, 1},  {25, 12, 5, 100, 0, 1, 1, 1}, {0, 3, 2, 4, 0, 1, 0, 0},
        {3, 0, 2, 4, 0, 1, 1, 0},     {1, 60, 20, 130, 0, 1, 1, 0}, {3, 30, 33, 200, 1, 1, 1, 1},
        {7, 30, 40, 120, 0, 1, 1, 1}, {1, 600, 3, 9, 1, 1, 1, 0},   {2, 300, 5, 18, 1, 1, 1, 1},
        {300, 7, 2, 5, 0, 1, 1, 1},   {9, 100, 4, 33, 0, 1, 1, 1},
    };
    static const int every[] = {1, 29, 260};
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; ++k) {
        const shape *s = &shapes[k];
        snprintf(where, sizeof where, "%s %s lstm B=%d T=%d I=%d H=%d", fl_isa_active(),
                 dtype == FL_F32 ? "f32" : "f64", s->batch, s->time, s->input, s->hidden);
        random_state = k + 1;
        problem one = pose(dtype, s);
        run(dtype, s, &one, 0, 0, 1);
        expect_close(dtype, one.y, "y, inference");
        expect_close(dtype, one.hn, "hn, inference");
        expect_close(dtype, one.cn, "cn, inference");
        random_state = k + 1;
        problem three = pose(dtype, s);
        run(dtype, s, &three, 1, 0, 3);
        expect_same_bits(dtype, one.y, three.y, "y: inference on 1 thread and training on 3");
        run(dtype, s, &one, 1, 0, 1);
        array *all[][2] = {{&one.y, &three.y},     {&one.hn, &three.hn},       {&one.cn, &three.cn},
                           {&one.dx, &three.dx},   {&one.dw_ih, &three.dw_ih}, {&one.dw_hh, &three.dw_hh},
                           {&one.dh0, &three.dh0}, {&one.dc0, &three.dc0}};
        static const char *names[] = {"y", "hn", "cn", "dx", "dw_ih", "dw_hh", "dh0", "dc0"};
        for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a) {
            expect_close(dtype, *all[a][0], names[a]);
            expect_same_bits(dtype, *all[a][0], *all[a][1], names[a]);
        }
        expect_close(dtype, one.db_ih, "db_ih");
        expect_same_bits(dtype, one.db_ih, one.db_hh, "db_hh");
        finish(three);
        for (size_t c = 0; c < sizeof every / sizeof every[0]; ++c) {
            random_state = k + 1;
            problem recomputed = pose(dtype, s);
            run(dtype, s, &recomputed, 1, every[c], 1 + (int)c);
            array *same[][2] = {{&one.y, &recomputed.y},   {&one.hn, &recomputed.hn},   {&one.cn, &recomputed.cn},
                                {&one.dx, &recomputed.dx}, {&one.dh0, &recomputed.dh0}, {&one.dc0, &recomputed.dc0}};
            static const char *what[] = {"y, recomputed",  "hn, recomputed",  "cn, recomputed",
                                         "dx, recomputed", "dh0, recomputed", "dc0, recomputed"};
            for (size_t a = 0; a < sizeof same / sizeof same[0]; ++a)
                expect_same_bits(dtype, *same[a][0], *same[a][1], what[a]);
            /* `one` has had one backward pass as well */
            expect_same_bits(dtype, one.dw_ih, recomputed.dw_ih, "dw_ih, recomputed");
            expect_same_bits(dtype, one.dw_hh, recomputed.dw_hh, "dw_hh, recomputed");
            expect_same_bits(dtype, one.db_ih, recomputed.db_ih, "db_ih, recomputed");
            finish(recomputed);
        }
        finish(one);
    }
    fl_lstm_pass few = {.batch = 4, .time = 10000, .input = 8, .hidden = 64, .training = 1}, many = few;
    few.recompute_every = 100;
    expect(fl_lstm_workspace(dtype, &few) < fl_lstm_workspace(dtype, &many) / 20, "recomputing takes less memory");
    fl_lstm_pass huge = {.batch = PTRDIFF_MAX / 2, .time = PTRDIFF_MAX / 2, .input = 1, .hidden = 1, .training = 1};
    expect(fl_lstm_workspace(dtype, &huge) == SIZE_MAX, "a size that overflows gives SIZE_MAX");
    huge.bf16 = dtype == FL_F32;
    expect(fl_lstm_workspace(dtype, &huge) == SIZE_MAX, "also with operands of 16 bits");
}

/* ---------------------------------------------------------------- the other layers */

static void test_dense(fl_dtype dtype)
{
    static const int shapes[][3] = {{1, 1, 1}, {7, 3, 9}, {300, 33, 65}, {40, 130, 17}, {13, 64, 130}, {0, 3, 2}};
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; ++k) {
        const int n = shapes[k][0], in = shapes[k][1], out = shapes[k][2];
        snprintf(where, sizeof where, "%s %s dense n=%d in=%d out=%d", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64",
                 n, in, out);
        array x = make(dtype, (size_t)n * in, 1), w = make(dtype, (size_t)out * in, 1), b = make(dtype, out, 1);
        array y = make(dtype, (size_t)n * out, 0), dy = make(dtype, (size_t)n * out, 1);
        array dx = make(dtype, (size_t)n * in, 0), dw = make(dtype, (size_t)out * in, 0), db = make(dtype, out, 0);
        for (int r = 0; r < n; ++r)
            for (int o = 0; o < out; ++o) {
                double sum = b.exact[o];
                for (int i = 0; i < in; ++i) {
                    sum += x.exact[r * in + i] * w.exact[o * in + i];
                    dx.exact[r * in + i] += dy.exact[r * out + o] * w.exact[o * in + i];
                    dw.exact[o * in + i] += dy.exact[r * out + o] * x.exact[r * in + i];
                }
                y.exact[r * out + o] = sum;
                db.exact[o] += dy.exact[r * out + o];
            }
        fl_dense_pass pass = {.rows = n,
                              .input = in,
                              .output = out,
                              .weight = w.data,
                              .bias = b.data,
                              .x = x.data,
                              .y = y.data,
                              .backward = 1,
                              .n_threads = 2};
        pass.workspace = allocate(fl_dense_workspace(dtype, &pass));
        fl_dense_forward(dtype, &pass);
        fl_dense_pass shared = pass;
        shared.backward = 0;
        void *packed = allocate(fl_dense_packed_size(dtype, &shared));
        void *again = malloc(y.n * size_of(dtype));
        fl_dense_pack(dtype, &shared, packed);
        shared.packed = packed;
        shared.weight = shared.bias = shared.workspace = NULL;
        shared.y = again;
        expect(fl_dense_workspace(dtype, &shared) == 0, "no workspace where the weights are packed");
        fl_dense_forward(dtype, &shared);
        expect(!memcmp(again, y.data, y.n * size_of(dtype)), "y of weights packed beforehand");
        free(again);
        free(packed);
        fl_dense_backward(dtype, &pass, dy.data, dx.data, dw.data, db.data);
        expect_close(dtype, y, "y");
        expect_close(dtype, dx, "dx");
        expect_close(dtype, dw, "dw");
        expect_close(dtype, db, "db");
        free(pass.workspace);
        array *all[] = {&x, &w, &b, &y, &dy, &dx, &dw, &db};
        for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
            release(*all[a]);
    }
}

/* Batch, time, input, filters, kernel, stride, dilation, groups, left, right, same, whether series have lengths. */
static const int convolutions[][12] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},    {3, 20, 2, 5, 3, 1, 1, 1, 0, 0, 0, 0},
    {2, 60, 12, 70, 7, 2, 1, 1, 3, 3, 0, 1}, {4, 33, 6, 9, 4, 3, 2, 3, 0, 0, 1, 1},
    {5, 17, 4, 4, 3, 1, 2, 4, 4, 0, 0, 1},   {2, 40, 3, 33, 5, 4, 6, 1, 2, 7, 0, 0},
    {3, 9, 130, 17, 2, 1, 1, 1, 0, 0, 1, 1}, {2, 700, 2, 3, 4, 1, 1, 1, 1, 2, 0, 1},
    {6, 5, 2, 8, 9, 1, 1, 2, 0, 0, 0, 0},    {2, 30, 2, 6, 2, 5, 1, 2, 0, 0, 0, 1},
};

/* Steps of y and zeros before a series of this length. */
static int convolved_steps(const int *of, int length, int *left)
{
    const int span = (of[4] - 1) * of[6] + 1;
    *left = of[8];
    if (length == 0)
        return 0;
    if (!of[10])
        return length + of[8] + of[9] < span ? 0 : (length + of[8] + of[9] - span) / of[5] + 1;
    const int steps = (length + of[5] - 1) / of[5], beyond = (steps - 1) * of[5] + span - length;
    *left = beyond > 0 ? beyond / 2 : 0;
    return steps;
}

static void test_convolution(fl_dtype dtype)
{
    for (size_t k = 0; k < sizeof convolutions / sizeof convolutions[0]; ++k) {
        const int *of = convolutions[k];
        const int batch = of[0], time = of[1], input = of[2], filters = of[3], kernel = of[4], stride = of[5];
        const int in = input / of[7], out = filters / of[7];
        int64_t lengths[6];
        int steps = 1, left;
        snprintf(where, sizeof where, "%s %s convolution %d", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64", (int)k);
        for (int b = 0; b < batch; ++b) {
            lengths[b] = of[11] ? b == 1 ? 0 : time - 2 * b : time;
            const int own = convolved_steps(of, (int)lengths[b], &left);
            steps = own > steps ? own : steps;
        }
        steps += 1; /* a step of padding in every series */
        array x = make(dtype, (size_t)batch * time * input, 1), w = make(dtype, (size_t)filters * in * kernel, 1);
        array b = make(dtype, filters, 1), y = make(dtype, (size_t)batch * steps * filters, 0);
        array dy = make(dtype, (size_t)batch * steps * filters, 1), dx = make(dtype, (size_t)batch * time * input, 0);
        array dw = make(dtype, (size_t)filters * in * kernel, 0), db = make(dtype, filters, 0);
        for (int n = 0; n < batch; ++n) {
            const int own = convolved_steps(of, (int)lengths[n], &left);
            for (int t = 0; t < own; ++t)
                for (int f = 0; f < filters; ++f) {
                    const size_t at = ((size_t)n * steps + t) * filters + f;
                    double sum = b.exact[f];
                    for (int tap = 0; tap < kernel; ++tap)
                        for (int c = 0; c < in; ++c) {
                            const int u = t * stride - left + tap * of[6];
                            const size_t from = ((size_t)n * time + u) * input + f / out * in + c;
                            const size_t weight = ((size_t)f * in + c) * kernel + tap;
                            if (u < 0 || u >= lengths[n])
                                continue;
                            sum += w.exact[weight] * x.exact[from];
                            dx.exact[from] += w.exact[weight] * dy.exact[at];
                            dw.exact[weight] += x.exact[from] * dy.exact[at];
                        }
                    y.exact[at] = sum;
                    db.exact[f] += dy.exact[at];
                }
            /* The padding is never read. */
            for (int t = (int)lengths[n]; t < time; ++t)
                for (int c = 0; c < input; ++c)
                    set(dtype, x.data, ((size_t)n * time + t) * input + c, NAN);
            for (int t = own; t < steps; ++t)
                for (int f = 0; f < filters; ++f)
                    set(dtype, dy.data, ((size_t)n * steps + t) * filters + f, NAN);
        }
        void *first[4] = {NULL};
        for (int n_threads = 1; n_threads <= 3; ++n_threads) {
            fl_conv_pass pass = {.batch = batch,
                                 .time = time,
                                 .input = input,
                                 .filters = filters,
                                 .kernel = kernel,
                                 .stride = stride,
                                 .dilation = of[6],
                                 .groups = of[7],
                                 .left = of[8],
                                 .right = of[9],
                                 .same = of[10],
                                 .steps = steps,
                                 .lengths = of[11] ? lengths : NULL,
                                 .weight = w.data,
                                 .bias = b.data,
                                 .x = x.data,
                                 .y = y.data,
                                 .backward = 1,
                                 .n_threads = n_threads};
            memset(dw.data, 0, dw.n * size_of(dtype));
            memset(db.data, 0, db.n * size_of(dtype));
            memset(y.data, 0xff, y.n * size_of(dtype));
            memset(dx.data, 0xff, dx.n * size_of(dtype));
            pass.workspace = allocate(fl_conv_workspace(dtype, &pass));
            fl_conv_forward(dtype, &pass);
            fl_conv_backward(dtype, &pass, dy.data, dx.data, dw.data, db.data);
            free(pass.workspace);
            array results[] = {y, dx, dw, db};
            static const char *const names[] = {"y", "dx", "dw", "db"};
            for (int a = 0; a < 4; ++a)
                if (n_threads == 1) {
                    expect_close(dtype, results[a], names[a]);
                    first[a] = malloc(results[a].n * size_of(dtype));
                    memcpy(first[a], results[a].data, results[a].n * size_of(dtype));
                } else {
                    expect(!memcmp(first[a], results[a].data, results[a].n * size_of(dtype)), names[a]);
                }
            fl_conv_pass shared = pass;
            shared.backward = 0;
            void *packed = allocate(fl_conv_packed_size(dtype, &shared));
            fl_conv_pack(dtype, &shared, packed);
            shared.packed = packed;
            shared.weight = shared.bias = NULL;
            const size_t bytes = fl_conv_workspace(dtype, &shared);
            expect(of[8] || of[9] || of[10] || bytes == 0,
                   "no workspace where the weights are packed, without padding");
            shared.workspace = allocate(bytes);
            memset(y.data, 0xff, y.n * size_of(dtype));
            fl_conv_forward(dtype, &shared);
            expect(!memcmp(first[0], y.data, y.n * size_of(dtype)), "y of weights packed beforehand");
            free(shared.workspace);
            free(packed);
        }
        for (int a = 0; a < 4; ++a)
            free(first[a]);
        array *all[] = {&x, &w, &b, &y, &dy, &dx, &dw, &db};
        for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
            release(*all[a]);
    }
    fl_conv_pass huge = {.batch = 1, .time = 1, .input = 1, .filters = PTRDIFF_MAX / 2, .kernel = 64, .groups = 1};
    expect(fl_conv_workspace(dtype, &huge) == SIZE_MAX, "a convolution of a size that overflows gives SIZE_MAX");
}

static void test_elementwise(fl_dtype dtype)
{
    enum { ROWS = 37, WIDTH = 19, TABLE = 5 };
    snprintf(where, sizeof where, "%s %s elementwise", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    array table = make(dtype, TABLE * WIDTH, 1), out = make(dtype, ROWS * WIDTH, 0);
    array dout = make(dtype, ROWS * WIDTH, 1), dtable = make(dtype, TABLE * WIDTH, 0);
    int64_t index[ROWS];
    for (int n = 0; n < ROWS; ++n) {
        index[n] = (int64_t)uniform(0, TABLE);
        for (int c = 0; c < WIDTH; ++c) {
            out.exact[n * WIDTH + c] = table.exact[index[n] * WIDTH + c];
            dtable.exact[index[n] * WIDTH + c] += dout.exact[n * WIDTH + c];
        }
    }
    fl_embedding_forward(dtype, ROWS, WIDTH, index, table.data, out.data, 2);
    fl_embedding_backward(dtype, ROWS, WIDTH, index, dout.data, dtable.data, 2);
    expect_close(dtype, out, "embedding");
    expect_close(dtype, dtable, "embedding gradient");

    double mean[WIDTH], scale[WIDTH];
    array scaled = make(dtype, ROWS * WIDTH, 0), back = make(dtype, ROWS * WIDTH, 0);
    for (int c = 0; c < WIDTH; ++c) {
        mean[c] = uniform(-1, 1);
        scale[c] = uniform(0.5, 2);
    }
    for (int n = 0; n < ROWS * WIDTH; ++n) {
        scaled.exact[n] = (dout.exact[n] - mean[n % WIDTH]) / scale[n % WIDTH];
        back.exact[n] = dout.exact[n];
    }
    fl_standardize(dtype, dtype, ROWS, WIDTH, dout.data, mean, scale, scaled.data);
    fl_unstandardize(dtype, dtype, ROWS, WIDTH, scaled.data, mean, scale, back.data);
    expect_close(dtype, scaled, "standardize");
    expect_close(dtype, back, "unstandardize");
    double days[WIDTH], again[WIDTH], far[WIDTH];
    array near = make(dtype, WIDTH, 0);
    for (int c = 0; c < WIDTH; ++c) {
        far[c] = 2460000.5;
        days[c] = far[c] + mean[c] / 64;
        near.exact[c] = (days[c] - far[c]) / scale[c];
    }
    fl_standardize(dtype, FL_F64, 1, WIDTH, days, far, scale, near.data);
    fl_unstandardize(dtype, FL_F64, 1, WIDTH, near.data, far, scale, again);
    expect_close(dtype, near, "standardize double");
    int exact = 1;
    for (int c = 0; c < WIDTH; ++c)
        exact &= fabs(again[c] - days[c]) < 1e-8;
    expect(exact, "unstandardize to double");
    const int64_t missing[] = {3, 0, WIDTH - 1};
    enum { COUNT = sizeof missing / sizeof *missing, WIDE = WIDTH + COUNT };
    array marked = make(dtype, ROWS * WIDE, 0);
    for (int n = 0; n < ROWS; ++n) {
        for (int c = 0; c < WIDTH; ++c)
            marked.exact[n * WIDE + c] = scaled.exact[n * WIDTH + c];
        if (n % 2) {
            const int at = n * WIDTH + (int)missing[n % COUNT];
            if (dtype == FL_F32)
                ((float *)back.data)[at] = NAN;
            else
                ((double *)back.data)[at] = NAN;
            marked.exact[n * WIDE + missing[n % COUNT]] = 0;
            marked.exact[n * WIDE + WIDTH + n % COUNT] = 1;
        }
    }
    fl_standardize_missing(dtype, dtype, ROWS, WIDTH, back.data, mean, scale, missing, COUNT, marked.data);
    expect_close(dtype, marked, "standardize with missing values");
    release(marked);
    release(near);
    release(scaled);
    release(back);

    /* Known answer of Philox4x32-10 for a counter and a key of zeros (Random123, kat_vectors). */
    uint32_t words[4];
    fl_philox4x32(0, 0, words);
    expect(words[0] == 0x6627e8d5u && words[1] == 0xe169c58du && words[2] == 0xbc57ac4cu && words[3] == 0x9b00dbd8u,
           "philox");
    array kept = make(dtype, ROWS * WIDTH, 0);
    fl_dropout(dtype, 1, ROWS * WIDTH, dout.data, kept.data, 0.25, 42, 0, 2);
    for (int n = 0; n < ROWS * WIDTH; ++n) {
        fl_philox4x32(42, (uint64_t)n / 4, words);
        kept.exact[n] = words[n % 4] >= 0x40000000u ? dout.exact[n] / 0.75 : 0;
    }
    expect_close(dtype, kept, "dropout");
    array *all[] = {&table, &out, &dout, &dtable, &kept};
    for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
        release(*all[a]);
}

static void test_softmax(fl_dtype dtype)
{
    static const int classes[] = {1, 2, 9, 33, 100};
    enum { ROWS = 11 };
    for (size_t k = 0; k < sizeof classes / sizeof classes[0]; ++k) {
        const int C = classes[k];
        snprintf(where, sizeof where, "%s %s softmax C=%d", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64", C);
        array z = make(dtype, (size_t)ROWS * C, 30), p = make(dtype, (size_t)ROWS * C, 0);
        array dz = make(dtype, (size_t)ROWS * C, 0), w = make(dtype, ROWS, 1);
        double losses[ROWS], exact[ROWS];
        int64_t labels[ROWS];
        for (int n = 0; n < ROWS; ++n) {
            double sum = 0;
            labels[n] = n == 3 ? -100 : (int64_t)uniform(0, C);
            for (int c = 0; c < C; ++c)
                sum += exp(z.exact[n * C + c]);
            for (int c = 0; c < C; ++c) {
                p.exact[n * C + c] = exp(z.exact[n * C + c]) / sum;
                dz.exact[n * C + c] = n == 3 ? 0 : w.exact[n] * (p.exact[n * C + c] - (c == labels[n]));
            }
            exact[n] = n == 3 ? 0 : w.exact[n] * (log(sum) - z.exact[n * C + labels[n]]);
        }
        fl_softmax(dtype, ROWS, C, z.data, p.data, 2);
        fl_softmax_cross_entropy(dtype, ROWS, C, z.data, labels, w.data, dz.data, losses, 2);
        array dp = make(dtype, (size_t)ROWS * C, 1), back = make(dtype, (size_t)ROWS * C, 0);
        for (int n = 0; n < ROWS; ++n) {
            double sum = 0;
            for (int c = 0; c < C; ++c)
                sum += p.exact[n * C + c] * dp.exact[n * C + c];
            for (int c = 0; c < C; ++c)
                back.exact[n * C + c] = p.exact[n * C + c] * (dp.exact[n * C + c] - sum);
        }
        fl_softmax_backward(dtype, ROWS, C, p.data, dp.data, back.data, 2);
        expect_close(dtype, back, "gradient of the probabilities");
        release(dp);
        release(back);
        expect_close(dtype, p, "probabilities");
        expect_close(dtype, dz, "gradient");
        for (int n = 0; n < ROWS; ++n)
            expect(fabs(losses[n] - exact[n]) <= 30 * (dtype == FL_F32 ? 1.2e-6 : 2.2e-15), "loss");
        array *all[] = {&z, &p, &dz, &w};
        for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
            release(*all[a]);
    }
}

static double activation_value(int kind, double alpha, double beta, double x)
{
    switch (kind) {
    case 0: return logistic(x);
    case 1: return tanh(x);
    case 2: return x > 0 ? x : 0;
    case 3: return alpha * x + beta;
    case 4: return x >= 0 ? x : alpha * x;
    case 5: return x > alpha ? x : 0;
    case 6: return alpha * tanh(beta * x);
    case 7: return fmin(fmax(alpha * x + beta, 0), 1);
    case 8: return x >= 0 ? x : alpha * expm1(x);
    case 9: return x / (1 + fabs(x));
    default: return fmax(x, 0) + log1p(exp(-fabs(x)));
    }
}

static double activation_slope(int kind, double alpha, double beta, double x)
{
    switch (kind) {
    case 0: return logistic(x) * (1 - logistic(x));
    case 1: return 1 - tanh(x) * tanh(x);
    case 2: return x > 0;
    case 3: return alpha;
    case 4: return x >= 0 ? 1 : alpha;
    case 5: return x > alpha;
    case 6: return alpha * beta * (1 - tanh(beta * x) * tanh(beta * x));
    case 7: return alpha * x + beta > 0 && alpha * x + beta < 1 ? alpha : 0;
    case 8: return x >= 0 ? 1 : alpha * exp(x);
    case 9: return 1 / ((1 + fabs(x)) * (1 + fabs(x)));
    default: return logistic(x);
    }
}

static void test_activations(fl_dtype dtype)
{
    static const int sizes[] = {1, 15, 16, 17, 997};
    const double alpha = 0.75, beta = 0.5;
    for (int kind = 0; kind <= 10; ++kind)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; ++k) {
            const size_t n = (size_t)sizes[k];
            snprintf(where, sizeof where, "%s %s activation %d n=%d", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64",
                     kind, sizes[k]);
            array x = make(dtype, n, 4), y = make(dtype, n, 0), dy = make(dtype, n, 1), dx = make(dtype, n, 0);
            for (size_t e = 0; e < n; ++e) {
                y.exact[e] = activation_value(kind, alpha, beta, x.exact[e]);
                dx.exact[e] = dy.exact[e] * activation_slope(kind, alpha, beta, x.exact[e]);
            }
            fl_activation(dtype, kind, alpha, beta, (ptrdiff_t)n, x.data, y.data, 2);
            fl_activation_backward(dtype, kind, alpha, beta, (ptrdiff_t)n, x.data, y.data, dy.data, dx.data, 2);
            expect_close(dtype, y, "value");
            expect_close(dtype, dx, "gradient");
            array *all[] = {&x, &y, &dy, &dx};
            for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
                release(*all[a]);
        }
}

/* Mean, maximum and attention over cases of 5, 0 and 3 steps; everything else is NaN. */
static void test_pooling(fl_dtype dtype)
{
    enum { B = 3, T = 5, W = 19 };
    const int64_t lengths[B] = {5, 0, 3};
    for (int kind = FL_POOL_LAST; kind <= FL_POOL_ATTENTION; ++kind) {
        snprintf(where, sizeof where, "%s %s pooling %d", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64", kind);
        array x = make(dtype, B * T * W, 1), s = make(dtype, B * T, 2), a = make(dtype, B * T, 0);
        array y = make(dtype, B * W, 0), dy = make(dtype, B * W, 1);
        array dx = make(dtype, B * T * W, 0), ds = make(dtype, B * T, 0);
        double counts[B * FL_POOL_COUNTS] = {0}, sums[B * W] = {0};
        int64_t index[B * W] = {0};
        for (int b = 0; b < B; ++b) {
            const int n = (int)lengths[b];
            double total = 0, mean = 0;
            for (int t = n; t < T; ++t) {
                set_nan(dtype, s, (size_t)(b * T + t));
                for (int c = 0; c < W; ++c)
                    set_nan(dtype, x, (size_t)((b * T + t) * W + c));
            }
            for (int t = 0; t < n; ++t)
                total += exp(s.exact[b * T + t]);
            for (int t = 0; t < n; ++t)
                a.exact[b * T + t] = kind == FL_POOL_ATTENTION ? exp(s.exact[b * T + t]) / total
                                     : kind == FL_POOL_MEAN    ? 1.0 / n
                                                               : t == n - 1;
            for (int c = 0; c < W; ++c) {
                int most = 0;
                for (int t = 0; t < n; ++t) {
                    y.exact[b * W + c] += a.exact[b * T + t] * x.exact[(b * T + t) * W + c];
                    dx.exact[(b * T + t) * W + c] = a.exact[b * T + t] * dy.exact[b * W + c];
                    if (x.exact[(b * T + t) * W + c] > x.exact[(b * T + most) * W + c])
                        most = t;
                }
                if (kind == FL_POOL_MAX && n) {
                    y.exact[b * W + c] = x.exact[(b * T + most) * W + c];
                    for (int t = 0; t < n; ++t)
                        dx.exact[(b * T + t) * W + c] = t == most ? dy.exact[b * W + c] : 0;
                }
                mean += y.exact[b * W + c] * dy.exact[b * W + c];
            }
            for (int t = 0; t < n; ++t) {
                double dot = 0;
                for (int c = 0; c < W; ++c)
                    dot += x.exact[(b * T + t) * W + c] * dy.exact[b * W + c];
                ds.exact[b * T + t] = a.exact[b * T + t] * (dot - mean);
            }
        }
        const int attention = kind == FL_POOL_ATTENTION;
        fl_pool_pass pass = {.kind = kind,
                             .batch = B,
                             .time = T,
                             .width = W,
                             .lengths = lengths,
                             .x = x.data,
                             .scores = attention ? s.data : NULL,
                             .counts = counts,
                             .sums = sums,
                             .y = y.data,
                             .index = index,
                             .weights = attention ? a.data : NULL,
                             .n_threads = 2};
        fl_pool_forward(dtype, &pass);
        fl_pool_backward(dtype, &pass, dy.data, dx.data, attention ? ds.data : NULL);
        expect_close(dtype, y, "value");
        expect_close(dtype, dx, "gradient");
        if (attention) {
            expect_close(dtype, a, "weights");
            expect_close(dtype, ds, "gradient of the scores");
        }
        array *all[] = {&x, &s, &a, &y, &dy, &dx, &ds};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k)
            release(*all[k]);
    }
}

/* Compare with plain loops; padding of queries and memory holds NaN. */
static void test_attention(fl_dtype dtype)
{
    enum { B = 4, U = 5, T = 19, K = 21, W = 35 };
    static const int64_t lengths[B] = {T, 0, 7, 1}, valid[B] = {U, 3, 0, 2};
    snprintf(where, sizeof where, "%s %s attention", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    array q = make(dtype, B * U * K, 1), k = make(dtype, B * T * K, 1), v = make(dtype, B * T * W, 1);
    array dy = make(dtype, B * U * W, 1), a = make(dtype, B * U * T, 0), y = make(dtype, B * U * W, 0);
    array lent = make(dtype, B * U * T, 0), dq = make(dtype, B * U * K, 0), dk = make(dtype, B * T * K, 0);
    array dv = make(dtype, B * T * W, 0);
    for (int b = 0; b < B; ++b) {
        for (int u = 0; u < valid[b]; ++u) {
            const double *query = q.exact + (b * U + u) * K, *slope = dy.exact + (b * U + u) * W;
            double *weights = a.exact + (b * U + u) * T, total = 0, mean = 0, da[T];
            for (int i = 0; i < lengths[b]; ++i) {
                double score = 0;
                for (int c = 0; c < K; ++c)
                    score += query[c] * k.exact[(b * T + i) * K + c];
                total += weights[i] = exp(score);
            }
            for (int i = 0; i < lengths[b]; ++i) {
                weights[i] /= total;
                da[i] = 0;
                for (int c = 0; c < W; ++c) {
                    y.exact[(b * U + u) * W + c] += weights[i] * v.exact[(b * T + i) * W + c];
                    da[i] += slope[c] * v.exact[(b * T + i) * W + c];
                    dv.exact[(b * T + i) * W + c] += weights[i] * slope[c];
                }
                mean += weights[i] * da[i];
            }
            for (int i = 0; i < lengths[b]; ++i)
                for (int c = 0; c < K; ++c) {
                    dq.exact[(b * U + u) * K + c] += weights[i] * (da[i] - mean) * k.exact[(b * T + i) * K + c];
                    dk.exact[(b * T + i) * K + c] += weights[i] * (da[i] - mean) * query[c];
                }
        }
        for (int i = (int)lengths[b] * K; i < T * K; ++i)
            set_nan(dtype, k, (size_t)(b * T * K + i));
        for (int i = (int)lengths[b] * W; i < T * W; ++i)
            set_nan(dtype, v, (size_t)(b * T * W + i));
        for (int i = (int)valid[b] * K; i < U * K; ++i)
            set_nan(dtype, q, (size_t)(b * U * K + i));
        for (int i = (int)valid[b] * W; i < U * W; ++i)
            set_nan(dtype, dy, (size_t)(b * U * W + i));
    }
    array *const results[] = {&a, &y, &dq, &dk, &dv, &lent};
    for (int r = 0; r < 6; ++r)
        for (size_t i = 0; i < results[r]->n; ++i)
            set_nan(dtype, *results[r], i);
    const fl_attention_pass pass = {B, U, T, K, W, lengths, valid, q.data, k.data, v.data, a.data, y.data, 2};
    fl_attention_forward(dtype, &pass);
    fl_attention_backward(dtype, &pass, dy.data, lent.data, dq.data, dk.data, dv.data);
    expect_close(dtype, a, "weights");
    expect_close(dtype, y, "context");
    expect_close(dtype, dq, "gradient of the queries");
    expect_close(dtype, dk, "gradient of the keys");
    expect_close(dtype, dv, "gradient of the values");
    array *const all[] = {&q, &k, &v, &dy, &a, &y, &lent, &dq, &dk, &dv};
    for (size_t r = 0; r < sizeof all / sizeof all[0]; ++r)
        release(*all[r]);
}

/* Compare with the sum over all paths of four steps that mean given labels, and the gradient with a sum over the same
 * paths. */
static void test_ctc(fl_dtype dtype)
{
    enum { B = 4, T = 4, C = 3, L = 3, BLANK = 1 };
    static const int64_t lengths[B] = {4, 3, 2, 0}, numbers[B] = {2, 2, 2, 0};
    static const int64_t labels[B * L] = {0, 2, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0}; /* the third has no room */
    snprintf(where, sizeof where, "%s %s ctc", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    array z = make(dtype, B * T * C, 3), dz = make(dtype, B * T * C, 0);
    double losses[B], exact[B], weights[B] = {1, 0.5, 2, 1};
    for (int b = 0; b < B; ++b) {
        const int n = (int)lengths[b];
        double p[T][C], total = 0, with[T][C] = {{0}};
        int paths = 1;
        for (int t = 0; t < T; ++t) {
            double sum = 0;
            for (int c = 0; c < C; ++c)
                sum += exp(z.exact[(b * T + t) * C + c]);
            for (int c = 0; c < C; ++c) {
                p[t][c] = exp(z.exact[(b * T + t) * C + c]) / sum;
                if (t >= n)
                    set_nan(dtype, z, (size_t)((b * T + t) * C + c));
            }
            paths *= t < n ? C : 1;
        }
        for (int path = 0; path < paths; ++path) {
            int step[T], found = 0, good = 1;
            double probability = 1;
            for (int t = 0, rest = path; t < n; ++t, rest /= C) {
                step[t] = rest % C;
                probability *= p[t][step[t]];
                if (step[t] != BLANK && (t == 0 || step[t] != step[t - 1])) {
                    good &= found < numbers[b] && labels[b * L + found] == step[t];
                    ++found;
                }
            }
            if (!good || found != numbers[b])
                continue;
            total += probability;
            for (int t = 0; t < n; ++t)
                with[t][step[t]] += probability;
        }
        exact[b] = -weights[b] * log(total);
        for (int t = 0; t < n && total > 0; ++t)
            for (int c = 0; c < C; ++c)
                dz.exact[(b * T + t) * C + c] = weights[b] * (p[t][c] - with[t][c] / total);
    }
    fl_ctc_pass pass = {.batch = B,
                        .time = T,
                        .classes = C,
                        .max_labels = L,
                        .lengths = lengths,
                        .logits = z.data,
                        .labels = labels,
                        .label_lengths = numbers,
                        .blank = BLANK,
                        .weights = weights,
                        .dlogits = dz.data,
                        .losses = losses,
                        .n_threads = 2};
    pass.workspace = allocate(fl_ctc_workspace(dtype, &pass));
    fl_ctc(dtype, &pass);
    expect_close(dtype, dz, "gradient");
    for (int b = 0; b < B; ++b)
        expect(b == 2 ? isinf(losses[b]) : fabs(losses[b] - exact[b]) <= 30 * (dtype == FL_F32 ? 1.2e-6 : 2.2e-15),
               "loss");
    free(pass.workspace);
    pass.dlogits = NULL;
    pass.workspace = allocate(fl_ctc_workspace(dtype, &pass));
    double alone[B];
    pass.losses = alone;
    fl_ctc(dtype, &pass);
    expect(!memcmp(alone, losses, sizeof losses), "loss without the gradient");
    free(pass.workspace);
    release(z);
    release(dz);
}

static void test_decoding(void)
{
    enum { T = 3, C = 3 };
    snprintf(where, sizeof where, "decoding");
    /* The best path is all blanks, 0.6^3 = 0.216; the label 1 alone has 6 paths, 0.3^3 + 2 0.3^2 0.6 + 3 0.3 0.6^2. */
    double log_p[T * C], score;
    int64_t labels[T], row[4];
    for (int t = 0; t < T; ++t) {
        log_p[t * C] = log(0.6);
        log_p[t * C + 1] = log(0.3);
        log_p[t * C + 2] = log(0.1);
    }
    void *workspace = allocate(fl_ctc_beam_workspace(T, C, 20));
    const ptrdiff_t count = fl_ctc_beam_search(T, C, log_p, 0, 20, labels, &score, workspace);
    expect(count == 1 && labels[0] == 1, "beam");
    expect(fabs(score - log(0.027 + 2 * 0.054 + 3 * 0.108)) < 1e-12, "score of the beam");
    free(workspace);
    const int64_t a[] = {1, 2, 3, 4}, b[] = {2, 5, 4};
    expect(fl_edit_distance(4, a, 3, b, row) == 2, "edit distance");
    expect(fl_edit_distance(0, a, 3, b, row) == 3 && fl_edit_distance(4, a, 0, b, row) == 4,
           "edit distance of nothing");
}

/* Vectors long enough for several threads give the same bits as with one. */
static void test_long_vectors(fl_dtype dtype)
{
    enum { N = 400003 };
    const size_t bytes = N * (dtype == FL_F32 ? sizeof(float) : sizeof(double));
    snprintf(where, sizeof where, "%s %s long vectors", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    array g = make(dtype, N, 1), p = make(dtype, N, 0), m = make(dtype, N, 0), v = make(dtype, N, 0);
    array p1 = make(dtype, N, 0), m1 = make(dtype, N, 0), v1 = make(dtype, N, 0);
    double sum = 0;
    for (int k = 0; k < N; ++k)
        sum += g.exact[k] * g.exact[k];
    const double norm = fl_norm(dtype, N, g.data, 1);
    expect(fabs(norm / sqrt(sum) - 1) < 1e-12, "norm of many");
    fl_adam(dtype, N, p1.data, g.data, m1.data, v1.data, 0.01, 0.9, 0.999, 1e-8, 0.1, 0, 1, 1);
    for (int n_threads = 2; n_threads <= 4; ++n_threads) {
        memset(p.data, 0, bytes);
        memset(m.data, 0, bytes);
        memset(v.data, 0, bytes);
        expect(fl_norm(dtype, N, g.data, n_threads) == norm, "norm on several threads");
        fl_adam(dtype, N, p.data, g.data, m.data, v.data, 0.01, 0.9, 0.999, 1e-8, 0.1, 0, 1, n_threads);
        expect(!memcmp(p.data, p1.data, bytes) && !memcmp(m.data, m1.data, bytes) && !memcmp(v.data, v1.data, bytes),
               "adam on several threads");
    }
    array *all[] = {&g, &p, &m, &v, &p1, &m1, &v1};
    for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
        release(*all[a]);
}

static void test_optimizers(fl_dtype dtype)
{
    enum { N = 1003 };
    snprintf(where, sizeof where, "%s %s optimizers", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    array p = make(dtype, N, 1), g = make(dtype, N, 1), m = make(dtype, N, 1), v = make(dtype, N, 0);
    double sum = 0;
    for (int k = 0; k < N; ++k) {
        sum += g.exact[k] * g.exact[k];
        m.exact[k] = 0.9 * m.exact[k] + 0.1 * g.exact[k];
        v.exact[k] = 0.001 * g.exact[k] * g.exact[k];
        p.exact[k] = p.exact[k] * (1 - 0.01 * 0.1) -
                     0.01 * (m.exact[k] / (1 - pow(0.9, 3))) / (sqrt(v.exact[k] / (1 - pow(0.999, 3))) + 1e-8);
    }
    expect(fabs(fl_norm(dtype, N, g.data, 2) - sqrt(sum)) < 1e-9, "norm");
    fl_adam(dtype, N, p.data, g.data, m.data, v.data, 0.01, 0.9, 0.999, 1e-8, 0.1, 1, 3, 2);
    expect_close(dtype, p, "adamw");
    for (int k = 0; k < N; ++k) {
        m.exact[k] = 0.5 * m.exact[k] + (g.exact[k] + 0.2 * p.exact[k]);
        p.exact[k] -= 0.1 * (g.exact[k] + 0.2 * (p.exact[k]) + 0.5 * m.exact[k]);
    }
    fl_sgd(dtype, N, p.data, g.data, m.data, 0.1, 0.5, 1, 0.2, 2);
    expect_close(dtype, p, "sgd");
    for (int k = 0; k < N; ++k) {
        v.exact[k] = 0.9 * v.exact[k] + 0.1 * g.exact[k] * g.exact[k];
        p.exact[k] -= 0.1 * g.exact[k] / (sqrt(v.exact[k]) + 1e-3);
    }
    fl_rmsprop(dtype, N, p.data, g.data, v.data, NULL, 0.1, 0.9, 1e-3, 0, 0, 2);
    expect_close(dtype, p, "rmsprop");
    for (int k = 0; k < N; ++k)
        g.exact[k] = fmin(fmax(g.exact[k] * 2, -0.5), 0.5);
    fl_scale(dtype, N, g.data, 2, 2);
    fl_clip(dtype, N, g.data, 0.5, 2);
    expect_close(dtype, g, "scale and clip");
    expect(fl_first_nonfinite(dtype, N, g.data) == -1, "all finite");
    set_nan(dtype, g, 777);
    expect(fl_first_nonfinite(dtype, N, g.data) == 777, "first NaN");
    array *all[] = {&p, &g, &m, &v};
    for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
        release(*all[a]);
}

/* Numbers below the smallest normal one become 0 on every thread, and the caller's floating-point mode stays what it
 * was. */
static void test_subnormal(fl_dtype dtype)
{
    enum { N = 400003 };
    snprintf(where, sizeof where, "%s %s subnormal numbers", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    const double least = dtype == FL_F32 ? FLT_MIN : DBL_MIN;
    array x = make(dtype, N, 0), y = make(dtype, N, 0);
    for (int n_threads = 1; n_threads <= 3; ++n_threads)
        for (int way = 0; way < 3; ++way) {
            int zeros = 0;
            for (int k = 0; k < N; ++k) {
                const double value = way == 0 ? least : least / 4;
                if (dtype == FL_F32)
                    ((float *)x.data)[k] = ((float *)y.data)[k] = (float)value;
                else
                    ((double *)x.data)[k] = ((double *)y.data)[k] = value;
            }
            if (way < 2)
                fl_scale(dtype, N, y.data, way == 0 ? 0.5 : 4, n_threads); /* first the result, then x is subnormal */
            else
                fl_activation(dtype, 1, 0, 0, N, x.data, y.data, n_threads);
            for (int k = 0; k < N; ++k)
                zeros += get(dtype, y, (size_t)k) == 0;
            expect(zeros == N, "subnormal numbers are 0");
            volatile double half = least;
            volatile float half_float = FLT_MIN;
            half /= 2;
            half_float /= 2;
            expect(half == least / 2 && half_float > 0 && (dtype == FL_F32 || half > 0), "the caller's mode stays");
        }
    release(x);
    release(y);
}

int main(void)
{
    fl_always_wake(1); /* several threads are to run small problems, too */
    test_decoding();
    expect(fl_isa_select("no such set") == -1, "an unknown instruction set");
    expect(fl_isa_select("") == -1 && fl_isa_select("portabl") == -1 && fl_isa_select("portables") == -1, "a slip");
    expect(fl_isa_select("Portable") == 0 && !strcmp(fl_isa_active(), "portable"), "capital letters");
    for (int k = 0; k < fl_isa_count(); ++k) {
        snprintf(where, sizeof where, "%s", fl_isa_name(k));
        expect(fl_isa_select(fl_isa_name(k)) == 0 && !strcmp(fl_isa_active(), fl_isa_name(k)), "select");
        for (int dtype = FL_F32; dtype <= FL_F64; ++dtype) {
            test_lstm((fl_dtype)dtype);
            test_dense((fl_dtype)dtype);
            test_convolution((fl_dtype)dtype);
            test_elementwise((fl_dtype)dtype);
            test_softmax((fl_dtype)dtype);
            test_activations((fl_dtype)dtype);
            test_pooling((fl_dtype)dtype);
            test_attention((fl_dtype)dtype);
            test_ctc((fl_dtype)dtype);
            test_optimizers((fl_dtype)dtype);
            test_long_vectors((fl_dtype)dtype);
            if (FL_FLUSHES && !getenv("FL_EMULATED")) /* memcheck computes with subnormal numbers whatever the mode */
                test_subnormal((fl_dtype)dtype);
        }
    }
    printf("%d of %d checks passed on %d instruction sets\n", checks - failures, checks, fl_isa_count());
    return failures != 0;
}
