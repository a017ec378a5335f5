/* test_cells.c - all cells except the plain one: random settings at random sizes.
 *
 * The Python tests compare the cells with their equations in the reference. Here a sanitizer sees every access to
 * workspaces of the exact size, and these are checked: in double, the gradients are the derivative of the forward pass
 * in a random direction over all arguments at once; in float, the outputs are those of double; in both, threads and
 * recomputed segments leave every bit as it is. Padding holds NaN. Exits with 1 if anything differs.
 */
#include "../fastlstm.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int chosen(double p)
{
    return uniform(0, 1) < p;
}

/* The inputs of a pass, which have a gradient each; the outputs, whose gradients come in. */
enum { X, W_IH, W_HH, B_IH, B_HH, H0, C0, W_HR, PEEP, GAIN_IH, GAIN_HH, GAIN_C, BIAS_C, INPUTS };
enum { Y, HN, CN, OUTPUTS };

typedef struct {
    ptrdiff_t batch, time, input, hidden, recurrent, n[INPUTS], n_out[OUTPUTS];
    int64_t *lengths;
    int reverse;
    fl_lstm_cell cell;
    double *in[INPUTS], *d_out[OUTPUTS], *direction[INPUTS];
} problem;

static double *draw(ptrdiff_t n, double bound)
{
    double *a = malloc((size_t)(n + 1) * sizeof(double));
    if (!a)
        exit(2);
    for (ptrdiff_t k = 0; k < n; ++k)
        a[k] = uniform(-bound, bound);
    return a;
}

/* A smooth function, or one with corners that a random argument misses. */
static fl_function some_function(int gate)
{
    static const fl_function gates[] = {{0, 0, 0}, {7, 0.2, 0.5}, {9, 0, 0}, {3, 0.3, 0.2}};
    static const fl_function others[] = {{1, 0, 0}, {6, 1.3, 0.7}, {8, 0.6, 0}, {10, 0, 0},
                                         {2, 0, 0}, {4, 0.1, 0},   {5, 0.05, 0}};
    return gate ? gates[(int)uniform(0, 4)] : others[(int)uniform(0, 7)];
}

static problem pose(void)
{
    static const int sizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 50, 70};
    static const int batches[] = {0, 1, 1, 2, 3, 7, 12, 13, 30};
    problem p = {0};
    p.batch = batches[(int)uniform(0, 9)];
    p.time = (int)uniform(0, 9);
    p.input = sizes[(int)uniform(0, 11)];
    p.hidden = sizes[(int)uniform(2, 11)];
    p.reverse = chosen(0.5);
    fl_lstm_cell *cell = &p.cell;
    *cell = (fl_lstm_cell){.gate = {0, 0, 0},
                           .cell = {1, 0, 0},
                           .output = {1, 0, 0},
                           .gate_clip = INFINITY,
                           .cell_clip = INFINITY,
                           .output_clip = INFINITY,
                           .norm_eps = 1e-3};
    cell->projection = chosen(0.4) ? sizes[(int)uniform(0, 11)] : 0;
    cell->coupled = chosen(0.4);
    cell->layer_norm = chosen(0.35);
    cell->seed = (uint64_t)uniform(0, 1e18);
    if (chosen(0.4))
        cell->gate = some_function(1);
    if (chosen(0.4))
        cell->cell = some_function(0);
    if (chosen(0.4))
        cell->output = some_function(0);
    if (chosen(0.2))
        cell->gate_clip = 1.2;
    if (chosen(0.2))
        cell->cell_clip = 0.9;
    if (chosen(0.2))
        cell->output_clip = 0.6;
    cell->recurrent_dropout = chosen(0.3) ? 0.3 : 0;
    cell->variational_dropout = chosen(0.3) ? 0.4 : 0;
    cell->zoneout_h = chosen(0.3) ? 0.2 : 0;
    cell->zoneout_c = chosen(0.3) ? 0.3 : 0;
    p.recurrent = cell->projection ? cell->projection : p.hidden;
    const ptrdiff_t gates = cell->coupled ? 3 : 4, hidden = p.hidden;
    const int peepholes = chosen(0.4), norm = cell->layer_norm;
    const ptrdiff_t n[INPUTS] = {p.batch * p.time * p.input,
                                 gates * hidden * p.input,
                                 gates * hidden * p.recurrent,
                                 gates * hidden,
                                 gates * hidden,
                                 p.batch * p.recurrent,
                                 p.batch * hidden,
                                 cell->projection * hidden,
                                 peepholes ? (gates - 1) * hidden : 0,
                                 norm ? gates * hidden : 0,
                                 norm ? gates * hidden : 0,
                                 norm ? hidden : 0,
                                 norm ? hidden : 0};
    for (int k = 0; k < INPUTS; ++k) {
        const int matrix = k == W_IH || k == W_HH || k == W_HR;
        p.n[k] = n[k];
        p.in[k] = draw(n[k], matrix ? 1 / sqrt((double)hidden) : 1);
        p.direction[k] = draw(n[k], 1);
    }
    const ptrdiff_t n_out[OUTPUTS] = {p.batch * p.time * p.recurrent, p.batch * p.recurrent, p.batch * hidden};
    for (int k = 0; k < OUTPUTS; ++k) {
        p.n_out[k] = n_out[k];
        p.d_out[k] = draw(n_out[k], 1);
    }
    if (chosen(0.6)) {
        p.lengths = malloc((size_t)(p.batch + 1) * sizeof(int64_t));
        for (ptrdiff_t b = 0; b < p.batch; ++b)
            p.lengths[b] = (int64_t)uniform(0, (double)p.time + 0.999);
        for (ptrdiff_t b = 0; b < p.batch; ++b)
            for (ptrdiff_t t = p.lengths[b]; t < p.time; ++t) {
                for (ptrdiff_t i = 0; i < p.input; ++i) {
                    p.in[X][(b * p.time + t) * p.input + i] = (double)NAN;
                    p.direction[X][(b * p.time + t) * p.input + i] = 0;
                }
                for (ptrdiff_t u = 0; u < p.recurrent; ++u)
                    p.d_out[Y][(b * p.time + t) * p.recurrent + u] = (double)NAN;
            }
    }
    return p;
}

static void finish(problem *p)
{
    for (int k = 0; k < INPUTS; ++k) {
        free(p->in[k]);
        free(p->direction[k]);
    }
    for (int k = 0; k < OUTPUTS; ++k)
        free(p->d_out[k]);
    free(p->lengths);
}

/* The results of a run: outputs, and after training the gradients of the inputs. */
typedef struct {
    void *out[OUTPUTS], *gradient[INPUTS];
} results;

static void *copy(fl_dtype dtype, const double *from, ptrdiff_t n, const double *direction, double by)
{
    void *to = malloc((size_t)(n + 1) * size_of(dtype));
    if (!to)
        exit(2);
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double value = from[k] + (direction ? by * direction[k] : 0);
        if (dtype == FL_F32)
            ((float *)to)[k] = (float)value;
        else
            ((double *)to)[k] = value;
    }
    return to;
}

/* Run the problem with its inputs moved by `by` in the direction. */
static results run(fl_dtype dtype, const problem *p, double by, int backward, int recompute_every, int n_threads)
{
    results r = {0};
    void *in[INPUTS], *d_out[OUTPUTS];
    for (int k = 0; k < INPUTS; ++k) {
        in[k] = copy(dtype, p->in[k], p->n[k], p->direction[k], by);
        r.gradient[k] = calloc((size_t)p->n[k] + 1, size_of(dtype));
    }
    for (int k = 0; k < OUTPUTS; ++k) {
        d_out[k] = copy(dtype, p->d_out[k], p->n_out[k], NULL, 0);
        r.out[k] = calloc((size_t)p->n_out[k] + 1, size_of(dtype));
    }
    fl_lstm_cell cell = p->cell;
    cell.weight_hr = in[W_HR];
    cell.peepholes = p->n[PEEP] ? in[PEEP] : NULL;
    cell.gain_ih = in[GAIN_IH];
    cell.gain_hh = in[GAIN_HH];
    cell.gain_c = in[GAIN_C];
    cell.bias_c = in[BIAS_C];
    fl_lstm_pass pass = {
        .batch = p->batch,
        .time = p->time,
        .input = p->input,
        .hidden = p->hidden,
        .lengths = p->lengths,
        .reverse = p->reverse,
        .training = 1,
        .recompute_every = recompute_every,
        .weight_ih = in[W_IH],
        .weight_hh = in[W_HH],
        .bias_ih = in[B_IH],
        .bias_hh = in[B_HH],
        .cell = &cell,
        .x = in[X],
        .x_batch = p->time * p->input,
        .x_time = p->input,
        .h0 = in[H0],
        .c0 = in[C0],
        .y = r.out[Y],
        .y_batch = p->time * p->recurrent,
        .y_time = p->recurrent,
        .hn = r.out[HN],
        .cn = r.out[CN],
        .n_threads = n_threads,
    };
    const size_t bytes = fl_lstm_workspace(dtype, &pass);
    pass.workspace = allocate(bytes);
    memset(pass.workspace, 0xff, bytes); /* NaN: whatever is read must have been written */
    fl_lstm_forward(dtype, &pass);
    if (backward) {
        const fl_lstm_gradients out = {
            .dy = d_out[Y],
            .dy_batch = pass.y_batch,
            .dy_time = pass.y_time,
            .dhn = d_out[HN],
            .dcn = d_out[CN],
            .dx = r.gradient[X],
            .dx_batch = pass.x_batch,
            .dx_time = pass.x_time,
            .dweight_ih = r.gradient[W_IH],
            .dweight_hh = r.gradient[W_HH],
            .dbias_ih = r.gradient[B_IH],
            .dbias_hh = r.gradient[B_HH],
            .dh0 = r.gradient[H0],
            .dc0 = r.gradient[C0],
            .dweight_hr = r.gradient[W_HR],
            .dpeepholes = r.gradient[PEEP],
            .dgain_ih = r.gradient[GAIN_IH],
            .dgain_hh = r.gradient[GAIN_HH],
            .dgain_c = r.gradient[GAIN_C],
            .dbias_c = r.gradient[BIAS_C],
        };
        fl_lstm_backward(dtype, &pass, &out);
    }
    free(pass.workspace);
    for (int k = 0; k < INPUTS; ++k)
        free(in[k]);
    for (int k = 0; k < OUTPUTS; ++k)
        free(d_out[k]);
    return r;
}

static void release(results *r)
{
    for (int k = 0; k < INPUTS; ++k)
        free(r->gradient[k]);
    for (int k = 0; k < OUTPUTS; ++k)
        free(r->out[k]);
}

/* The sum of outputs times their gradients, where those are numbers. */
static double loss(const problem *p, const results *r)
{
    double sum = 0;
    for (int k = 0; k < OUTPUTS; ++k)
        for (ptrdiff_t n = 0; n < p->n_out[k]; ++n)
            if (!isnan(p->d_out[k][n]))
                sum += ((double *)r->out[k])[n] * p->d_out[k][n];
    return sum;
}

static double loss_at(const problem *p, double by)
{
    results r = run(FL_F64, p, by, 0, 0, 1);
    const double value = loss(p, &r);
    release(&r);
    return value;
}

/* Compare with central differences of two step sizes. Their difference tells how far they can be trusted: near a
 * corner of an activation or of clipping they cannot. */
static void check_gradients(const problem *p, const results *r)
{
    double slope = 0, size = 0;
    for (int k = 0; k < INPUTS; ++k)
        for (ptrdiff_t n = 0; n < p->n[k]; ++n) {
            const double term = ((double *)r->gradient[k])[n] * p->direction[k][n];
            slope += term;
            size += term * term;
        }
    const double coarse = (loss_at(p, 2e-6) - loss_at(p, -2e-6)) / 4e-6;
    const double fine = (loss_at(p, 1e-6) - loss_at(p, -1e-6)) / 2e-6;
    const double scale = sqrt(size) + 1e-3, trust = 1e-5 * scale + 100 * fabs(coarse - fine);
    expect(fabs(slope - fine) <= trust, "the gradients are the slope of the forward pass");
}

static int same(fl_dtype dtype, const problem *p, const results *a, const results *b)
{
    int equal = 1;
    for (int k = 0; k < INPUTS; ++k)
        equal &= !memcmp(a->gradient[k], b->gradient[k], (size_t)p->n[k] * size_of(dtype));
    for (int k = 0; k < OUTPUTS; ++k)
        equal &= !memcmp(a->out[k], b->out[k], (size_t)p->n_out[k] * size_of(dtype));
    return equal;
}

static void test_cell(int number)
{
    random_state = (uint64_t)number * 7919 + 1;
    problem p = pose();
    const fl_lstm_cell *c = &p.cell;
    snprintf(
        where, sizeof where,
        "%s cell %d B=%td T=%td I=%td H=%td P=%td coupled %d norm %d activations %d %d %d dropout %g %g zoneout %g %g",
        fl_isa_active(), number, p.batch, p.time, p.input, p.hidden, c->projection, c->coupled, c->layer_norm,
        c->gate.kind, c->cell.kind, c->output.kind, c->recurrent_dropout, c->variational_dropout, c->zoneout_h,
        c->zoneout_c);
    results exact = run(FL_F64, &p, 0, 1, 0, 1), single = run(FL_F32, &p, 0, 1, 0, 1);
    check_gradients(&p, &exact);
    double most = 1e-2, worst = 0;
    for (int k = 0; k < OUTPUTS; ++k)
        for (ptrdiff_t n = 0; n < p.n_out[k]; ++n) {
            const double value = ((double *)exact.out[k])[n], error = fabs(((float *)single.out[k])[n] - value);
            most = fmax(most, fabs(value));
            worst = error <= worst ? worst : error;
        }
    expect(worst <= 2e-4 * most, "float agrees with double");
    for (int n_threads = 2; n_threads <= 3; ++n_threads) {
        const int every = n_threads == 2 ? 0 : 2;
        results other = run(FL_F32, &p, 0, 1, every, n_threads), other_exact = run(FL_F64, &p, 0, 1, every, n_threads);
        expect(same(FL_F32, &p, &single, &other),
               every ? "float: same bits, recomputed" : "float: same bits, 2 threads");
        expect(same(FL_F64, &p, &exact, &other_exact),
               every ? "double: same bits, recomputed" : "double: same bits, 2 threads");
        release(&other);
        release(&other_exact);
    }
    release(&exact);
    release(&single);
    finish(&p);
}

int main(int argc, char **argv)
{
    const int cells = argc > 1 ? atoi(argv[1]) : 150;
    fl_always_wake(1);
    for (int k = 0; k < fl_isa_count(); ++k) {
        fl_isa_select(fl_isa_name(k));
        for (int number = 0; number < cells; ++number)
            test_cell(number);
    }
    printf("%d of %d checks passed on %d instruction sets\n", checks - failures, checks, fl_isa_count());
    return failures > 0;
}
