/* test_network.c - networks of random stages against the kernels called one by one.
 *
 * A plain walk over the stages computes the expected values, each by one call for the whole series with separate
 * memory. The network must give the same bits: in one block, step by step and in blocks of any length, on several
 * threads, whatever the reused buffers held before, with weights that are packed once for several networks, for any of
 * the series in any order, and in memory of exactly the size that was asked for, where the address sanitizer sees a step
 * beyond it. Whole series, with reversed layers and lengths, are compared in the same way. Exits with 1 if anything
 * differs.
 */
#include "../fastlstm.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STAGES = 9, TOKENS = 11 };

static int below(int n)
{
    return (int)uniform(0, n);
}

/* Memory that holds NaN; NULL if none is needed. */
static void *unset(size_t bytes)
{
    return bytes ? memset(allocate(bytes), 0xff, bytes) : NULL;
}

/* ---------------------------------------------------------------- a random network */

/* A network with all that it points to; arrays are freed together. */
typedef struct {
    fl_network network;
    fl_stage stages[MOST_STAGES];
    fl_lstm_cell cells[MOST_STAGES];
    ptrdiff_t widths[MOST_STAGES + 1];
    void *arrays[MOST_STAGES * 18];
    int arrays_used;
    void *state, *workspace;
} problem;

static void *kept(problem *p, void *array)
{
    if (!array)
        exit(2);
    p->arrays[p->arrays_used++] = array;
    return array;
}

static void *numbers(problem *p, ptrdiff_t n, double bound)
{
    void *a = kept(p, malloc((size_t)n * size_of(p->network.dtype)));
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double value = uniform(-bound, bound);
        if (p->network.dtype == FL_F32)
            ((float *)a)[k] = (float)value;
        else
            ((double *)a)[k] = value;
    }
    return a;
}

static double *doubles(problem *p, ptrdiff_t n, double low, double high)
{
    double *a = kept(p, malloc((size_t)n * sizeof(double)));
    for (ptrdiff_t k = 0; k < n; ++k)
        a[k] = uniform(low, high);
    return a;
}

static ptrdiff_t random_lstm(problem *p, fl_stage *stage, fl_lstm_cell *cell, ptrdiff_t input)
{
    const ptrdiff_t hidden = 1 + below(40);
    const double bound = 1 / sqrt((double)hidden);
    fl_lstm_pass *pass = &stage->lstm;
    ptrdiff_t recurrent = hidden, gates = 4;
    pass->hidden = hidden;
    if (below(2)) {
        *cell = (fl_lstm_cell){.gate = {0, 0, 0},
                               .cell = {1, 0, 0},
                               .output = {1, 0, 0},
                               .gate_clip = INFINITY,
                               .cell_clip = INFINITY,
                               .output_clip = INFINITY,
                               .norm_eps = 1e-5};
        cell->coupled = below(2);
        gates = cell->coupled ? 3 : 4;
        if (below(2))
            cell->cell_clip = 0.5;
        if (below(2)) {
            recurrent = cell->projection = 1 + below(20);
            cell->weight_hr = numbers(p, recurrent * hidden, bound);
        }
        if (below(2))
            cell->peepholes = numbers(p, (gates - 1) * hidden, 1);
        if (below(2)) {
            cell->layer_norm = 1;
            cell->gain_ih = numbers(p, gates * hidden, 1);
            cell->gain_hh = numbers(p, gates * hidden, 1);
            cell->gain_c = numbers(p, hidden, 1);
            cell->bias_c = numbers(p, hidden, 1);
        }
        if (below(2))
            cell->zoneout_h = cell->zoneout_c = 0.2;
        pass->cell = cell;
    }
    pass->weight_ih = numbers(p, gates * hidden * input, 1);
    pass->weight_hh = numbers(p, gates * hidden * recurrent, bound);
    pass->bias_ih = below(3) ? numbers(p, gates * hidden, 1) : NULL;
    pass->bias_hh = pass->bias_ih ? numbers(p, gates * hidden, 1) : NULL;
    if (below(2)) {
        stage->initial[0] = numbers(p, recurrent, 1);
        stage->initial[1] = numbers(p, hidden, 1);
    }
    return recurrent;
}

/* How far back a value of a certain width is, or one of any width (0); -1: there is none. Tokens are ignored. */
static ptrdiff_t back_to(const problem *p, ptrdiff_t k, ptrdiff_t width)
{
    for (int trial = 0; trial < 10; ++trial) {
        const ptrdiff_t value = below((int)k + 1);
        if (p->widths[value] > 0 && (width == 0 || p->widths[value] == width))
            return k - value;
    }
    return -1;
}

/* Let some features of a scaling be missing, in any order; return their number. */
static ptrdiff_t some_missing(problem *p, fl_scaling *scaling, ptrdiff_t input)
{
    scaling->count = below(2) ? below((int)input + 1) : 0;
    if (scaling->count > 0) {
        int64_t *missing = kept(p, malloc((size_t)scaling->count * sizeof(int64_t)));
        for (ptrdiff_t k = 0; k < scaling->count; ++k)
            missing[k] = input - 1 - k;
        scaling->missing = missing;
    }
    return scaling->count;
}

static ptrdiff_t minimum_of(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}

/* Fill in stage k and return the number of features of its output. */
static ptrdiff_t random_stage(problem *p, ptrdiff_t k, fl_stage_kind kind)
{
    fl_stage *stage = &p->stages[k];
    stage->kind = kind;
    if (k > 0 && below(3) == 0)
        stage->main = back_to(p, k, 0);
    if (stage->main < 0)
        stage->main = 0;
    const ptrdiff_t input = p->widths[k - stage->main];
    switch (kind) {
    case FL_STAGE_STANDARDIZE:
    case FL_STAGE_UNSTANDARDIZE:
        stage->scaling = (fl_scaling){.mean = doubles(p, input, -1, 1), .scale = doubles(p, input, 0.5, 2)};
        return kind == FL_STAGE_STANDARDIZE ? input + some_missing(p, &stage->scaling, input) : input;
    case FL_STAGE_EMBEDDING:
        stage->embedding.width = 1 + below(30);
        stage->embedding.table = numbers(p, TOKENS * stage->embedding.width, 1);
        return stage->embedding.width;
    case FL_STAGE_LSTM: return random_lstm(p, stage, &p->cells[k], input);
    case FL_STAGE_DENSE:
        stage->dense.output = 1 + below(30);
        stage->dense.weight = numbers(p, stage->dense.output * input, 1);
        stage->dense.bias = below(3) ? numbers(p, stage->dense.output, 1) : NULL;
        return stage->dense.output;
    case FL_STAGE_CONV:
        stage->conv.groups = input % 2 == 0 && below(3) == 0 ? 2 : 1;
        stage->conv.filters = stage->conv.groups * (1 + below(20));
        stage->conv.kernel = 1 + below(4);
        stage->conv.stride = 1;
        stage->conv.dilation = 1 + below(3);
        stage->conv.weight = numbers(p, stage->conv.filters * (input / stage->conv.groups) * stage->conv.kernel, 1);
        stage->conv.bias = below(3) ? numbers(p, stage->conv.filters, 1) : NULL;
        return stage->conv.filters;
    case FL_STAGE_WINDOW_POOL:
        stage->window.kind = below(2) ? FL_POOL_MAX : FL_POOL_MEAN;
        stage->window.counts_zeros = below(2);
        stage->window.kernel = 1 + below(5);
        return input;
    case FL_STAGE_BATCH_NORM:
        stage->scaling = (fl_scaling){.mean = doubles(p, input, -1, 1), .scale = doubles(p, input, 0.5, 2)};
        return input;
    case FL_STAGE_LAYER_NORM:
        stage->layer_norm.weight = below(3) ? numbers(p, input, 1) : NULL;
        stage->layer_norm.bias = below(3) ? numbers(p, input, 1) : NULL;
        stage->layer_norm.eps = 1e-3;
        return input;
    case FL_STAGE_ACTIVATION:
        stage->activation = (fl_function){below(FL_FUNCTIONS), uniform(0.2, 1), uniform(0.2, 1)};
        return input;
    case FL_STAGE_POOL:
        stage->pool.kind = below(4);
        stage->side[0] = back_to(p, k, 1); /* scores are of one feature */
        if (stage->side[0] < 0) {
            stage->side[0] = 0;
            stage->pool.kind = below(3); /* not FL_POOL_ATTENTION */
        }
        return input;
    case FL_STAGE_ADD:
    case FL_STAGE_MULTIPLY:
        stage->side[0] = back_to(p, k, input);
        if (stage->side[0] < 0)
            stage->side[0] = stage->main;
        return input;
    case FL_STAGE_TAKE: {
        const ptrdiff_t count = 1 + below(20);
        int64_t *index = kept(p, malloc((size_t)count * sizeof(int64_t)));
        for (ptrdiff_t n = 0; n < count; ++n)
            index[n] = below((int)input + 1) - 1;
        stage->take = (fl_taken){index, count};
        return count;
    }
    case FL_STAGE_MAGNITUDE:
        if (input % 2) {
            stage->kind = FL_STAGE_SOFTMAX;
            return input;
        }
        stage->magnitude = (fl_magnitude){input % 4 == 0 && below(2) ? 2 : 1, 1e-3};
        return input / 2;
    case FL_STAGE_FRAME_CONV: {
        fl_conv_pass *conv = &stage->conv;
        const ptrdiff_t features = input % 3 == 0 ? 3 : input % 2 == 0 ? 2 : 1;
        conv->time = input / features;
        conv->groups = features == 2 && below(2) ? 2 : 1;
        conv->filters = conv->groups * (1 + below(4));
        conv->kernel = 1 + below((int)minimum_of(3, conv->time));
        conv->dilation = 1 + (conv->kernel > 1 ? below((int)((conv->time - 1) / (conv->kernel - 1))) : 0);
        conv->stride = 1 + below(3);
        conv->weight = numbers(p, conv->filters * (features / conv->groups) * conv->kernel, 1);
        conv->bias = below(3) ? numbers(p, conv->filters, 1) : NULL;
        return ((conv->time - (conv->kernel - 1) * conv->dilation - 1) / conv->stride + 1) * conv->filters;
    }
    case FL_STAGE_CONCAT:
        stage->side[0] = back_to(p, k, 0);
        if (stage->side[0] < 0)
            stage->side[0] = stage->main;
        return input + p->widths[k - stage->side[0]];
    default: return input;
    }
}

static problem *pose(fl_dtype dtype, int number)
{
    problem *p = calloc(1, sizeof *p);
    if (!p)
        exit(2);
    random_state = (uint64_t)number * 7919 + 1;
    const int tokens = below(4) == 0;
    fl_network *network = &p->network;
    network->dtype = dtype;
    network->batch = 1 + below(3) * below(6);
    network->input = p->widths[0] = tokens ? 0 : 1 + below(20);
    network->stages = p->stages;
    network->count = 1 + below(MOST_STAGES);
    network->n_threads = 1;
    for (ptrdiff_t k = 0; k < network->count; ++k) {
        /* the numbers begin with each kind in turn, except the last one, which is of whole series */
        fl_stage_kind kind = (fl_stage_kind)(k == 0 ? number % FL_STAGE_FINAL : below(FL_STAGE_FINAL));
        if (kind == FL_STAGE_EMBEDDING)
            kind = FL_STAGE_LSTM;
        p->widths[k + 1] = random_stage(p, k, tokens && k == 0 ? FL_STAGE_EMBEDDING : kind);
    }
    snprintf(where, sizeof where, "%s %s network %d: %td stages, batch %td, input %td", fl_isa_active(),
             dtype == FL_F32 ? "f32" : "f64", number, network->count, network->batch, network->input);
    return p;
}

static void finish(problem *p)
{
    for (int k = 0; k < p->arrays_used; ++k)
        free(p->arrays[k]);
    free(p->state);
    free(p->workspace);
    free(p);
}

/* Allocate memory for blocks of `steps` steps, instead of the present memory; the states stay. */
static void bind(problem *p, ptrdiff_t steps)
{
    const size_t bytes = fl_network_workspace(&p->network, steps);
    free(p->workspace);
    p->workspace = unset(bytes);
    if (!p->state)
        p->state = unset(fl_network_state(&p->network));
    fl_network_bind(&p->network, p->state, p->workspace, steps);
}

static void begin(problem *p, ptrdiff_t steps)
{
    bind(p, steps);
    fl_network_reset(&p->network, NULL, 0);
}

static size_t output_bytes(const problem *p, ptrdiff_t steps)
{
    return (size_t)(p->network.batch * steps * p->widths[p->network.count]) * size_of(p->network.dtype);
}

/* ---------------------------------------------------------------- the kernels one by one */

static void *repeated(const void *row, ptrdiff_t rows, size_t bytes)
{
    char *a = calloc((size_t)rows, bytes);
    if (!a)
        exit(2);
    for (ptrdiff_t b = 0; row && b < rows; ++b)
        memcpy(a + (size_t)b * bytes, row, bytes);
    return a;
}

static void lstm_by_hand(const problem *p, const fl_stage *stage, ptrdiff_t steps, ptrdiff_t input, ptrdiff_t output,
                         const void *x, void *y)
{
    const fl_dtype dtype = p->network.dtype;
    const ptrdiff_t batch = p->network.batch;
    fl_lstm_pass pass = {.batch = batch,
                         .time = steps,
                         .input = input,
                         .hidden = stage->lstm.hidden,
                         .weight_ih = stage->lstm.weight_ih,
                         .weight_hh = stage->lstm.weight_hh,
                         .bias_ih = stage->lstm.bias_ih,
                         .bias_hh = stage->lstm.bias_hh,
                         .cell = stage->lstm.cell,
                         .x = x,
                         .x_batch = steps * input,
                         .x_time = input,
                         .y = y,
                         .y_batch = steps * output,
                         .y_time = output,
                         .n_threads = 1};
    void *h0 = repeated(stage->initial[0], batch, (size_t)output * size_of(dtype));
    void *c0 = repeated(stage->initial[1], batch, (size_t)pass.hidden * size_of(dtype));
    pass.h0 = h0;
    pass.c0 = c0;
    void *workspace = unset(fl_lstm_workspace(dtype, &pass));
    pass.workspace = workspace;
    fl_lstm_forward(dtype, &pass);
    free(workspace);
    free(h0);
    free(c0);
}

/* Number n of an array of the network's type. */
static double number_of(const problem *p, const void *a, ptrdiff_t n)
{
    return p->network.dtype == FL_F32 ? (double)((const float *)a)[n] : ((const double *)a)[n];
}

static void number_by_number(const problem *p, const fl_stage *stage, ptrdiff_t rows, ptrdiff_t input, ptrdiff_t output,
                             const void *x, const void *side, void *y)
{
    for (ptrdiff_t n = 0; n < rows * output; ++n) {
        const ptrdiff_t row = n / output, column = n % output;
        double value;
        if (stage->kind == FL_STAGE_MULTIPLY) {
            value = number_of(p, x, n) * number_of(p, side, n);
        } else if (stage->kind == FL_STAGE_TAKE) {
            const int64_t from = stage->take.index[column];
            value = from < 0 ? 0 : number_of(p, x, row * input + from);
        } else {
            const ptrdiff_t size = output / stage->magnitude.parts;
            const ptrdiff_t at = row * input + column / size * 2 * size + column % size;
            const double re = number_of(p, x, at), im = number_of(p, x, at + size);
            if (p->network.dtype == FL_F32) {
                const float a = (float)re, b = (float)im;
                value = (double)sqrtf(a * a + b * b + (float)stage->magnitude.eps);
            } else {
                value = sqrt(re * re + im * im + stage->magnitude.eps);
            }
        }
        if (p->network.dtype == FL_F32)
            ((float *)y)[n] = (float)value;
        else
            ((double *)y)[n] = value;
    }
}

static void stage_by_hand(const problem *p, ptrdiff_t k, ptrdiff_t steps, void *const *values)
{
    const fl_stage *stage = &p->stages[k];
    const fl_dtype dtype = p->network.dtype;
    const ptrdiff_t batch = p->network.batch, rows = batch * steps;
    const ptrdiff_t input = p->widths[k - stage->main], output = p->widths[k + 1];
    const void *x = values[k - stage->main], *side = values[k - stage->side[0]];
    void *y = values[k + 1];
    switch (stage->kind) {
    case FL_STAGE_STANDARDIZE:
        fl_standardize_missing(dtype, dtype, rows, input, x, stage->scaling.mean, stage->scaling.scale,
                               stage->scaling.missing, stage->scaling.count, y);
        break;
    case FL_STAGE_UNSTANDARDIZE:
        fl_unstandardize(dtype, dtype, rows, input, x, stage->scaling.mean, stage->scaling.scale, y);
        break;
    case FL_STAGE_EMBEDDING: fl_embedding_forward(dtype, rows, output, x, stage->embedding.table, y, 1); break;
    case FL_STAGE_LSTM: lstm_by_hand(p, stage, steps, input, output, x, y); break;
    case FL_STAGE_DENSE: {
        fl_dense_pass pass = {.rows = rows,
                              .input = input,
                              .output = output,
                              .weight = stage->dense.weight,
                              .bias = stage->dense.bias,
                              .x = x,
                              .y = y,
                              .n_threads = 1};
        void *workspace = unset(fl_dense_workspace(dtype, &pass));
        pass.workspace = workspace;
        fl_dense_forward(dtype, &pass);
        free(workspace);
        break;
    }
    case FL_STAGE_CONV: {
        fl_conv_pass pass = {.batch = batch,
                             .time = steps,
                             .steps = steps,
                             .input = input,
                             .filters = output,
                             .kernel = stage->conv.kernel,
                             .stride = 1,
                             .dilation = stage->conv.dilation,
                             .groups = stage->conv.groups,
                             .left = (stage->conv.kernel - 1) * stage->conv.dilation,
                             .weight = stage->conv.weight,
                             .bias = stage->conv.bias,
                             .x = x,
                             .y = y,
                             .n_threads = 1};
        void *workspace = unset(fl_conv_workspace(dtype, &pass));
        pass.workspace = workspace;
        fl_conv_forward(dtype, &pass);
        free(workspace);
        break;
    }
    case FL_STAGE_WINDOW_POOL: {
        fl_window_pool_pass pass = {.kind = stage->window.kind,
                                    .counts_zeros = stage->window.counts_zeros,
                                    .batch = batch,
                                    .time = steps,
                                    .steps = steps,
                                    .width = input,
                                    .kernel = stage->window.kernel,
                                    .stride = 1,
                                    .left = stage->window.kernel - 1,
                                    .x = x,
                                    .y = y,
                                    .n_threads = 1};
        fl_window_pool_forward(dtype, &pass);
        break;
    }
    case FL_STAGE_BATCH_NORM:
        fl_unstandardize(dtype, dtype, rows, input, x, stage->scaling.mean, stage->scaling.scale, y);
        break;
    case FL_STAGE_LAYER_NORM: {
        fl_layer_norm_pass pass = stage->layer_norm;
        pass.batch = 1;
        pass.time = rows;
        pass.width = input;
        pass.x = x;
        pass.y = y;
        pass.lengths = NULL;
        pass.n_threads = 1;
        fl_layer_norm_forward(dtype, &pass);
        break;
    }
    case FL_STAGE_ACTIVATION:
        fl_activation(dtype, stage->activation.kind, stage->activation.alpha, stage->activation.beta, rows * output, x,
                      y, 1);
        break;
    case FL_STAGE_SOFTMAX: fl_softmax(dtype, rows, output, x, y, 1); break;
    case FL_STAGE_POOL: {
        double *counts = repeated(NULL, batch, FL_POOL_COUNTS * sizeof(double));
        double *sums = repeated(NULL, batch, (size_t)input * sizeof(double));
        fl_pool_pass pass = {.kind = stage->pool.kind,
                             .batch = batch,
                             .time = steps,
                             .width = input,
                             .x = x,
                             .scores = stage->pool.kind == FL_POOL_ATTENTION ? side : NULL,
                             .counts = counts,
                             .sums = sums,
                             .y = y,
                             .every_step = 1,
                             .n_threads = 1};
        fl_pool_forward(dtype, &pass);
        free(counts);
        free(sums);
        break;
    }
    case FL_STAGE_TAKE:
    case FL_STAGE_MAGNITUDE:
    case FL_STAGE_MULTIPLY: number_by_number(p, stage, rows, input, output, x, side, y); break;
    case FL_STAGE_FRAME_CONV: {
        fl_conv_pass pass = stage->conv;
        pass.batch = rows;
        pass.input = input / pass.time;
        pass.steps = output / pass.filters;
        pass.left = pass.right = 0;
        pass.same = pass.backward = 0;
        pass.lengths = NULL;
        pass.packed = NULL;
        pass.x = x;
        pass.y = y;
        pass.n_threads = 1;
        void *workspace = unset(fl_conv_workspace(dtype, &pass));
        pass.workspace = workspace;
        fl_conv_forward(dtype, &pass);
        free(workspace);
        break;
    }
    case FL_STAGE_CONCAT: {
        const size_t first = (size_t)input * size_of(dtype), both = (size_t)output * size_of(dtype);
        for (ptrdiff_t n = 0; n < rows; ++n) {
            memcpy((char *)y + (size_t)n * both, (const char *)x + (size_t)n * first, first);
            memcpy((char *)y + (size_t)n * both + first, (const char *)side + (size_t)n * (both - first), both - first);
        }
        break;
    }
    default:
        for (ptrdiff_t n = 0; n < rows * output; ++n)
            if (dtype == FL_F32)
                ((float *)y)[n] = ((const float *)x)[n] + ((const float *)side)[n];
            else
                ((double *)y)[n] = ((const double *)x)[n] + ((const double *)side)[n];
    }
}

/* The last value, of all steps. */
static void *by_hand(const problem *p, const void *x, ptrdiff_t steps)
{
    const ptrdiff_t count = p->network.count;
    void *values[MOST_STAGES + 1];
    values[0] = (void *)(uintptr_t)x;
    for (ptrdiff_t k = 0; k < count; ++k) {
        values[k + 1] = malloc((size_t)(p->network.batch * steps * p->widths[k + 1]) * size_of(p->network.dtype));
        if (!values[k + 1])
            exit(2);
        stage_by_hand(p, k, steps, values);
    }
    for (ptrdiff_t k = 1; k < count; ++k)
        free(values[k]);
    return values[count];
}

/* ---------------------------------------------------------------- tests */

static void *random_input(problem *p, ptrdiff_t steps)
{
    const ptrdiff_t n = p->network.batch * steps;
    if (p->network.input > 0)
        return numbers(p, n * p->network.input, 1);
    int64_t *tokens = kept(p, malloc((size_t)n * sizeof(int64_t)));
    for (ptrdiff_t k = 0; k < n; ++k)
        tokens[k] = below(TOKENS);
    return tokens;
}

/* Steps [first, first + steps) of an array (batch, time, ...) with `bytes` bytes for each step. */
static void copy_steps(void *to, const void *from, ptrdiff_t batch, ptrdiff_t time, ptrdiff_t first, ptrdiff_t steps,
                       size_t bytes, int into_whole)
{
    for (ptrdiff_t b = 0; b < batch; ++b) {
        const size_t of_whole = (size_t)(b * time + first) * bytes, of_part = (size_t)(b * steps) * bytes;
        memcpy((char *)to + (into_whole ? of_whole : of_part), (const char *)from + (into_whole ? of_part : of_whole),
               (size_t)steps * bytes);
    }
}

/* Run steps [first, end) of x in blocks of up to `longest`, into y. */
static int run_steps(problem *p, const void *x, void *y, ptrdiff_t time, ptrdiff_t first, ptrdiff_t end, int longest)
{
    const ptrdiff_t batch = p->network.batch, width = p->widths[p->network.count];
    const size_t x_bytes =
        p->network.input > 0 ? (size_t)p->network.input * size_of(p->network.dtype) : sizeof(int64_t);
    const size_t y_bytes = (size_t)width * size_of(p->network.dtype);
    int ok = 1;
    while (first < end) {
        ptrdiff_t steps = 1 + below(longest);
        steps = steps < end - first ? steps : end - first;
        void *part_x = malloc((size_t)(batch * steps) * x_bytes), *part_y = malloc((size_t)(batch * steps) * y_bytes);
        copy_steps(part_x, x, batch, time, first, steps, x_bytes, 0);
        ok &= fl_network_run(&p->network, part_x, steps, part_y) == 0;
        copy_steps(y, part_y, batch, time, first, steps, y_bytes, 1);
        free(part_x);
        free(part_y);
        first += steps;
    }
    return ok;
}

static void test_blocks(problem *p, const void *x, const void *expected, ptrdiff_t time)
{
    const size_t bytes = output_bytes(p, time);
    void *y = malloc(bytes);
    for (int n_threads = 1; n_threads <= 3; ++n_threads) {
        p->network.n_threads = n_threads;
        begin(p, time);
        memset(y, 0, bytes);
        expect(fl_network_run(&p->network, x, time, y) == 0 && !memcmp(y, expected, bytes), "the whole series");
        fl_network_reset(&p->network, NULL, 0);
        memset(y, 0, bytes);
        expect(run_steps(p, x, y, time, 0, time, 4) && !memcmp(y, expected, bytes), "blocks in a large workspace");
    }
    p->network.n_threads = 1;
    begin(p, 1);
    memset(y, 0, bytes);
    expect(run_steps(p, x, y, time, 0, time, 1) && !memcmp(y, expected, bytes), "steps");
    fl_network_reset(&p->network, NULL, 0);
    memset(y, 0, bytes);
    int ok = run_steps(p, x, y, time, 0, time / 2, 1);
    bind(p, time); /* the states are carried over to other memory */
    ok &= run_steps(p, x, y, time, time / 2, time, 3);
    expect(ok && !memcmp(y, expected, bytes), "a workspace that grows between two blocks");
    free(y);
}

/* A row that begins again gives its first results again; the others continue. */
static void test_reset(problem *p, const void *x, ptrdiff_t time)
{
    const ptrdiff_t batch = p->network.batch;
    const size_t bytes = output_bytes(p, time), row_bytes = bytes / (size_t)batch;
    char *first = malloc(bytes), *second = malloc(bytes), *mixed = malloc(bytes);
    begin(p, time);
    fl_network_run(&p->network, x, time, first);
    fl_network_run(&p->network, x, time, second);
    fl_network_reset(&p->network, NULL, 0);
    fl_network_run(&p->network, x, time, mixed);
    expect(!memcmp(mixed, first, bytes), "all rows begin anew");
    const int64_t rows[] = {batch - 1, 0};
    const ptrdiff_t n = below(2) + 1;
    fl_network_reset(&p->network, rows, n);
    fl_network_run(&p->network, x, time, mixed);
    int ok = 1;
    for (ptrdiff_t b = 0; b < batch; ++b) {
        const int anew = b == rows[0] || (n == 2 && b == rows[1]);
        ok &= !memcmp(mixed + (size_t)b * row_bytes, (anew ? first : second) + (size_t)b * row_bytes, row_bytes);
    }
    expect(ok, "some rows begin anew");
    free(first);
    free(second);
    free(mixed);
}

static void test_refusals(problem *p, const void *x)
{
    const size_t bytes = output_bytes(p, 1);
    const char *isa = fl_isa_active();
    char *y = malloc(bytes), *untouched = malloc(bytes);
    memset(y, 7, bytes);
    memset(untouched, 7, bytes);
    begin(p, 2);
    expect(fl_network_fits(&p->network, 2) && !fl_network_fits(&p->network, 3), "blocks that fit");
    expect(fl_network_run(&p->network, x, 3, y) == -1, "a block that is too long");
    if (fl_isa_count() > 1) {
        fl_isa_select(fl_isa_name(!strcmp(isa, fl_isa_name(0))));
        expect(fl_network_run(&p->network, x, 1, y) == -1, "a workspace for another instruction set");
        expect(!memcmp(y, untouched, bytes), "a run that is refused writes nothing");
        bind(p, 2);
        expect(fl_network_run(&p->network, x, 1, y) == 0, "bound again");
        fl_isa_select(isa);
    }
    expect(fl_network_workspace(&p->network, PTRDIFF_MAX) == SIZE_MAX, "more steps than memory can hold");
    free(y);
    free(untouched);
}

/* Pack the weights of all stages that have some. */
static void give_packed(problem *p)
{
    const fl_dtype dtype = p->network.dtype;
    fl_network_workspace(&p->network, 1); /* sets the sizes of the passes */
    for (ptrdiff_t k = 0; k < p->network.count; ++k) {
        fl_stage *stage = &p->stages[k];
        if (stage->kind == FL_STAGE_LSTM) {
            void *packed = kept(p, unset(fl_lstm_packed_size(dtype, &stage->lstm)));
            stage->lstm.n_threads = 2;
            fl_lstm_pack(dtype, &stage->lstm, packed);
            stage->packed = packed;
        } else if (stage->kind == FL_STAGE_DENSE) {
            void *packed = kept(p, unset(fl_dense_packed_size(dtype, &stage->dense)));
            fl_dense_pack(dtype, &stage->dense, packed);
            stage->packed = packed;
        } else if (stage->kind == FL_STAGE_CONV) {
            void *packed = kept(p, unset(fl_conv_packed_size(dtype, &stage->conv)));
            fl_conv_pack(dtype, &stage->conv, packed);
            stage->packed = packed;
        }
    }
}

/* One network with packed weights serves the series of a larger memory: all of them, some of them in any order, all
 * again. Each series then has the result of its own steps. */
static void test_rows(problem *p, const void *x, const void *expected, ptrdiff_t time)
{
    const ptrdiff_t batch = p->network.batch, capacity = batch + 2;
    const size_t x_bytes =
        p->network.input > 0 ? (size_t)p->network.input * size_of(p->network.dtype) : sizeof(int64_t);
    const size_t y_bytes = (size_t)p->widths[p->network.count] * size_of(p->network.dtype);
    const size_t packs = fl_network_workspace(&p->network, time);
    give_packed(p);
    expect(fl_network_workspace(&p->network, time) <= packs, "a workspace without packed weights");
    int64_t done[20] = {0}, rows[20];
    char part_x[20 * 20 * sizeof(double)], *part_y = malloc((size_t)capacity * y_bytes);
    p->network.batch = capacity;
    char *memory = unset(fl_network_state(&p->network));
    p->network.batch = batch;
    begin(p, 1);
    fl_network_attach(&p->network, memory, capacity);
    fl_network_reset(&p->network, NULL, 0);
    int ok = 1;
    for (ptrdiff_t turn = 0, left = batch * time; left > 0 && turn < 1000; ++turn) {
        ptrdiff_t count = 0;
        for (ptrdiff_t k = 0, b = below((int)batch); k < batch; ++k, b = (b + 1) % batch)
            if (done[b] < time && below(2)) {
                memcpy(part_x + (size_t)count * x_bytes, (const char *)x + (size_t)(b * time + done[b]) * x_bytes,
                       x_bytes);
                rows[count++] = b;
            }
        if (count == 0)
            continue;
        p->network.batch = count;
        free(p->state);
        p->state = NULL;
        bind(p, 1);
        fl_network_load_rows(&p->network, memory, capacity, rows);
        ok &= fl_network_run(&p->network, part_x, 1, part_y) == 0;
        fl_network_store_rows(&p->network, memory, capacity, rows);
        for (ptrdiff_t i = 0; i < count; ++i, --left)
            ok &= !memcmp(part_y + (size_t)i * y_bytes,
                          (const char *)expected + (size_t)(rows[i] * time + done[rows[i]]++) * y_bytes, y_bytes);
    }
    expect(ok, "any of the series in any order");
    p->network.batch = batch;
    free(p->state);
    p->state = NULL;
    free(part_y);
    free(memory);
}

static void test_network(fl_dtype dtype, int number)
{
    problem *p = pose(dtype, number);
    const ptrdiff_t time = 3 + below(6);
    const void *x = random_input(p, time);
    void *expected = by_hand(p, x, time);
    test_blocks(p, x, expected, time);
    test_reset(p, x, time);
    test_refusals(p, x);
    test_rows(p, x, expected, time);
    free(expected);
    finish(p);
}

/* A chain of ten layers needs two buffers; a value that is read later keeps its own. */
static void test_buffers(void)
{
    enum { LAYERS = 10, WIDTH = 16, STEPS = 1000 };
    fl_stage stages[LAYERS] = {0};
    fl_network network = {
        .dtype = FL_F32, .batch = 1, .input = WIDTH, .stages = stages, .count = LAYERS, .n_threads = 1};
    for (int k = 0; k < LAYERS; ++k)
        stages[k] = (fl_stage){.kind = FL_STAGE_ACTIVATION, .activation = {1, 0, 0}};
    snprintf(where, sizeof where, "buffers");
    const size_t value = STEPS * WIDTH * sizeof(float);
    expect(fl_network_workspace(&network, STEPS) == 2 * value, "a chain needs two buffers");
    expect(fl_network_state(&network) == 0, "a chain of activations has no state");
    stages[LAYERS - 1] = (fl_stage){.kind = FL_STAGE_ADD, .side = {LAYERS - 2}};
    expect(fl_network_workspace(&network, STEPS) == 3 * value, "a side input from the first stage needs a third");
    stages[LAYERS - 1].side[0] = LAYERS - 1;
    expect(fl_network_workspace(&network, STEPS) == 2 * value, "a side input from outside needs none");
    stages[2] = stages[4] = (fl_stage){.kind = FL_STAGE_ADD, .side = {1}};
    expect(fl_network_workspace(&network, STEPS) == 3 * value, "the buffer of a side input serves again");
    expect(fl_network_workspace(&network, PTRDIFF_MAX / WIDTH) == SIZE_MAX, "values that memory cannot hold");
    network.count = 1;
    expect(fl_network_workspace(&network, STEPS) == 0, "a single stage writes to y");
    stages[0] = (fl_stage){.kind = FL_STAGE_LSTM, .lstm = {.hidden = WIDTH}};
    expect(fl_network_workspace(&network, PTRDIFF_MAX / WIDTH) == SIZE_MAX,
           "a kernel's workspace that memory cannot hold");
    network.batch = PTRDIFF_MAX / WIDTH;
    expect(fl_network_state(&network) == SIZE_MAX, "states that memory cannot hold");
}

/* A missing value is read as the mean, and a channel says so: in one block and step by step. */
static void test_missing(fl_dtype dtype)
{
    enum { STEPS = 5, WIDTH = 3, COUNT = 2, OUT = WIDTH + COUNT };
    static const double mean[WIDTH] = {1, 2, 3}, scale[WIDTH] = {2, 4, 8};
    static const int64_t missing[COUNT] = {2, 0};
    fl_stage stages[] = {
        {.kind = FL_STAGE_STANDARDIZE, .scaling = {.mean = mean, .scale = scale, .missing = missing, .count = COUNT}}};
    fl_network network = {
        .dtype = dtype, .batch = 1, .input = WIDTH, .stages = stages, .count = 1, .n_threads = 1, .x_double = 1};
    double x[STEPS * WIDTH], expected[STEPS * OUT] = {0};
    double y[STEPS * OUT], stepped[STEPS * OUT]; /* of float, if dtype is */
    for (int t = 0; t < STEPS; ++t) {
        for (int c = 0; c < WIDTH; ++c) {
            x[t * WIDTH + c] = mean[c] + scale[c] * (t - 1);
            expected[t * OUT + c] = t - 1;
        }
        for (int k = 0; k < COUNT; ++k)
            if ((t + k) % 2) {
                x[t * WIDTH + missing[k]] = NAN;
                expected[t * OUT + missing[k]] = 0;
                expected[t * OUT + WIDTH + k] = 1;
            }
    }
    snprintf(where, sizeof where, "%s %s missing values", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    expect(fl_network_workspace(&network, STEPS) == 0 && stages[0].output == OUT, "a channel for each of the features");
    fl_network_bind(&network, NULL, NULL, STEPS);
    expect(fl_network_run(&network, x, STEPS, y) == 0, "a run with missing values");
    int right = 1;
    for (int n = 0; n < STEPS * OUT; ++n)
        right &= (dtype == FL_F32 ? (double)((float *)y)[n] : y[n]) == expected[n];
    expect(right, "0 for a missing value, and 1 in its channel");
    for (int t = 0; t < STEPS; ++t)
        fl_network_run(&network, x + t * WIDTH, 1, (char *)stepped + (size_t)(t * OUT) * size_of(dtype));
    expect(!memcmp(y, stepped, (size_t)(STEPS * OUT) * size_of(dtype)), "the same step by step");
    x[1] = NAN; /* of a feature without a channel */
    fl_network_run(&network, x, 1, y);
    expect(dtype == FL_F32 ? isnan(((float *)y)[1]) : isnan(y[1]), "others stay NaN");
}

/* Both directions over series of different lengths, side by side; the largest value of each feature, and what both
 * directions end with. */
static void test_whole(fl_dtype dtype)
{
    enum { BATCH = 5, STEPS = 9, INPUT = 3, HIDDEN = 20, BOTH = 2 * HIDDEN };
    static const int64_t lengths[BATCH] = {4, 9, 1, 0, 7};
    problem *p = calloc(1, sizeof *p);
    if (!p)
        exit(2);
    p->network = (fl_network){.dtype = dtype, .batch = BATCH, .input = INPUT, .stages = p->stages, .n_threads = 2};
    snprintf(where, sizeof where, "%s %s whole series", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64");
    const void *x = numbers(p, BATCH * STEPS * INPUT, 1);
    char *sequence = calloc(BATCH * STEPS * BOTH, sizeof(double)), *end = calloc(BATCH * BOTH, sizeof(double));
    const size_t half = HIDDEN * size_of(dtype);
    for (int reverse = 0; reverse < 2; ++reverse) {
        fl_lstm_pass *pass = &p->stages[reverse].lstm;
        p->stages[reverse] = (fl_stage){.kind = FL_STAGE_LSTM, .main = reverse, .lstm = {.hidden = HIDDEN}};
        pass->reverse = reverse;
        pass->weight_ih = numbers(p, 4 * HIDDEN * INPUT, 1);
        pass->weight_hh = numbers(p, 4 * HIDDEN * HIDDEN, 1);
        fl_lstm_pass alone = *pass;
        char *hn = calloc(BATCH * HIDDEN, sizeof(double));
        alone.batch = BATCH;
        alone.time = STEPS;
        alone.input = INPUT;
        alone.lengths = lengths;
        alone.x = x;
        alone.x_batch = STEPS * INPUT;
        alone.x_time = INPUT;
        alone.y = sequence + (size_t)reverse * half;
        alone.y_batch = STEPS * BOTH;
        alone.y_time = BOTH;
        alone.hn = hn;
        alone.n_threads = 1;
        void *workspace = unset(fl_lstm_workspace(dtype, &alone));
        alone.workspace = workspace;
        fl_lstm_forward(dtype, &alone);
        for (int b = 0; b < BATCH; ++b)
            memcpy(end + (size_t)(b * BOTH) * size_of(dtype) + (size_t)reverse * half, hn + (size_t)b * half, half);
        free(workspace);
        free(hn);
    }
    p->stages[2] = (fl_stage){.kind = FL_STAGE_CONCAT, .main = 1, .side = {0}};
    p->stages[3] = (fl_stage){.kind = FL_STAGE_POOL, .last = 1, .pool = {.kind = FL_POOL_MAX}};
    double *counts = calloc(BATCH * FL_POOL_COUNTS, sizeof(double)), *sums = calloc(BATCH * BOTH, sizeof(double));
    char *largest = calloc(BATCH * BOTH, sizeof(double)), *y = calloc(BATCH * STEPS * BOTH, sizeof(double));
    fl_pool_pass pool = {.kind = FL_POOL_MAX,
                         .batch = BATCH,
                         .time = STEPS,
                         .width = BOTH,
                         .lengths = lengths,
                         .x = sequence,
                         .counts = counts,
                         .sums = sums,
                         .y = largest,
                         .n_threads = 1};
    fl_pool_forward(dtype, &pool);
    for (int count = 3; count <= 4; ++count) {
        p->network.count = count;
        p->network.lengths = lengths;
        p->stages[0].last = p->stages[1].last = 0;
        free(p->state);
        p->state = NULL;
        begin(p, STEPS);
        expect(fl_network_run(&p->network, x, STEPS, y) == 0 &&
                   !memcmp(y, count == 3 ? sequence : largest,
                           (size_t)(BATCH * BOTH * (count == 3 ? STEPS : 1)) * size_of(dtype)),
               count == 3 ? "both directions" : "a pool of both directions");
        expect(p->stages[count - 1].one_step == (count == 4), "the steps of the last value");
    }
    p->stages[3] = (fl_stage){.kind = FL_STAGE_FINAL, .last = 1, .directions = {.forward = HIDDEN}};
    free(p->state);
    p->state = NULL;
    begin(p, STEPS);
    expect(fl_network_run(&p->network, x, STEPS, y) == 0 && p->stages[3].one_step &&
               !memcmp(y, end, BATCH * BOTH * size_of(dtype)),
           "the final steps of both directions");
    p->network.count = 3;
    p->stages[0].last = p->stages[1].last = 1;
    free(p->state);
    p->state = NULL;
    begin(p, STEPS);
    expect(fl_network_run(&p->network, x, STEPS, y) == 0 && p->stages[2].one_step &&
               !memcmp(y, end, BATCH * BOTH * size_of(dtype)),
           "what both directions end with");
    free(sequence);
    free(end);
    free(counts);
    free(sums);
    free(largest);
    free(y);
    finish(p);
}

int main(int argc, char **argv)
{
    const int networks = argc > 1 ? atoi(argv[1]) : 120;
    fl_always_wake(1);
    test_buffers();
    for (int k = 0; k < fl_isa_count(); ++k) {
        fl_isa_select(fl_isa_name(k));
        test_missing(FL_F32);
        test_missing(FL_F64);
        test_whole(FL_F32);
        test_whole(FL_F64);
        for (int number = 0; number < networks; ++number) {
            test_network(FL_F32, number);
            test_network(FL_F64, number);
        }
    }
    printf("%d of %d checks passed on %d instruction sets\n", checks - failures, checks, fl_isa_count());
    return failures > 0;
}
