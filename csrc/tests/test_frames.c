/* test_frames.c - stages that compute within the features of each step, against plain loops and the kernel of
 * convolutions.
 *
 * A network takes features in another order and with zeros, convolves them as a series, computes magnitudes, and
 * multiplies the result with an earlier value. It must give the same bits step by step, in blocks and on several
 * threads, in memory of exactly the size that was asked for. Exits with 1 if anything differs.
 */
#include "../fastlstm.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT = 11, TAKEN = 14, FRAME = 7, KERNEL = 3, STRIDE = 2, FILTERS = 6, STEPS = 3, OUT = STEPS * FILTERS / 2 };

static double at(fl_dtype dtype, const void *a, ptrdiff_t k)
{
    return dtype == FL_F32 ? ((const float *)a)[k] : ((const double *)a)[k];
}

static void put(fl_dtype dtype, void *a, ptrdiff_t k, double value)
{
    if (dtype == FL_F32)
        ((float *)a)[k] = (float)value;
    else
        ((double *)a)[k] = value;
}

static void *numbers(fl_dtype dtype, ptrdiff_t n)
{
    void *a = allocate((size_t)n * size_of(dtype));
    for (ptrdiff_t k = 0; k < n; ++k)
        put(dtype, a, k, uniform(-1, 1));
    return a;
}

/* What the network gives for rows steps, by plain loops in the same order of operations. */
static void *expected(fl_dtype dtype, const fl_stage *stages, ptrdiff_t rows, const void *x)
{
    void *taken = allocate((size_t)(rows * TAKEN) * size_of(dtype));
    void *conv = allocate((size_t)(rows * STEPS * FILTERS) * size_of(dtype));
    void *y = allocate((size_t)(rows * OUT) * size_of(dtype));
    for (ptrdiff_t n = 0; n < rows; ++n)
        for (ptrdiff_t k = 0; k < TAKEN; ++k) {
            const int64_t from = stages[0].take.index[k];
            put(dtype, taken, n * TAKEN + k, from < 0 ? 0.0 : at(dtype, x, n * INPUT + from));
        }
    fl_conv_pass pass = stages[1].conv;
    pass.batch = rows;
    pass.input = TAKEN / FRAME;
    pass.steps = STEPS;
    pass.n_threads = 1;
    pass.x = taken;
    pass.y = conv;
    pass.workspace = allocate(fl_conv_workspace(dtype, &pass));
    fl_conv_forward(dtype, &pass);
    for (ptrdiff_t n = 0; n < rows * STEPS; ++n)
        for (ptrdiff_t k = 0; k < FILTERS / 2; ++k) {
            const double re = at(dtype, conv, n * FILTERS + k), im = at(dtype, conv, n * FILTERS + FILTERS / 2 + k);
            const double magnitude = dtype == FL_F32 ? sqrtf((float)re * (float)re + (float)im * (float)im + 0.5f)
                                                     : sqrt(re * re + im * im + 0.5);
            const double factor = at(dtype, conv, n / STEPS * STEPS * FILTERS + (n % STEPS) * (FILTERS / 2) + k);
            put(dtype, y, n * (FILTERS / 2) + k,
                dtype == FL_F32 ? (double)((float)magnitude * (float)factor) : magnitude * factor);
        }
    free(pass.workspace);
    free(taken);
    free(conv);
    return y;
}

static int differs(fl_dtype dtype, ptrdiff_t batch, int n_threads)
{
    const ptrdiff_t steps = 9;
    int64_t index[TAKEN], half[OUT];
    for (int k = 0; k < TAKEN; ++k)
        index[k] = k % 5 == 4 ? -1 : (int64_t)uniform(0, INPUT);
    for (int k = 0; k < OUT; ++k)
        half[k] = k;
    void *weight = numbers(dtype, FILTERS * 2 * KERNEL), *bias = numbers(dtype, FILTERS);
    void *x = numbers(dtype, batch * steps * INPUT);
    fl_stage stages[5] = {
        {.kind = FL_STAGE_TAKE, .take = {.index = index, .count = TAKEN}},
        {.kind = FL_STAGE_FRAME_CONV,
         .conv = {.time = FRAME,
                  .stride = STRIDE,
                  .filters = FILTERS,
                  .kernel = KERNEL,
                  .dilation = 1,
                  .groups = 1,
                  .weight = weight,
                  .bias = bias}},
        {.kind = FL_STAGE_TAKE, .take = {.index = half, .count = OUT}},
        {.kind = FL_STAGE_MAGNITUDE, .main = 1, .magnitude = {.parts = STEPS, .eps = 0.5}},
        {.kind = FL_STAGE_MULTIPLY, .side = {1}},
    };
    fl_network network = {
        .dtype = dtype, .batch = batch, .input = INPUT, .stages = stages, .count = 5, .n_threads = n_threads};
    void *state = allocate(fl_network_state(&network)), *workspace = allocate(fl_network_workspace(&network, steps));
    fl_network_bind(&network, state, workspace, steps);
    fl_network_reset(&network, NULL, 0);
    void *want = expected(dtype, stages, batch * steps, x);
    int wrong = 0;
    for (ptrdiff_t block = 1; block <= steps; block += 4) {
        const size_t in = (size_t)(block * INPUT) * size_of(dtype), out = (size_t)(block * OUT) * size_of(dtype);
        char *part = allocate((size_t)batch * in), *y = allocate((size_t)batch * out);
        for (ptrdiff_t t = 0; t + block <= steps; t += block) {
            for (ptrdiff_t b = 0; b < batch; ++b)
                memcpy(part + (size_t)b * in, (char *)x + (size_t)((b * steps + t) * INPUT) * size_of(dtype), in);
            wrong |= fl_network_run(&network, part, block, y);
            for (ptrdiff_t b = 0; b < batch; ++b)
                wrong |= memcmp(y + (size_t)b * out, (char *)want + (size_t)((b * steps + t) * OUT) * size_of(dtype),
                                out) != 0;
        }
        free(part);
        free(y);
    }
    void *all[] = {weight, bias, x, state, workspace, want};
    for (size_t k = 0; k < sizeof all / sizeof *all; ++k)
        free(all[k]);
    return wrong;
}

int main(void)
{
    for (ptrdiff_t batch = 1; batch <= 5; batch += 2)
        for (int n_threads = 1; n_threads <= 3; n_threads += 2)
            for (int dtype = 0; dtype < 2; ++dtype) {
                snprintf(where, sizeof where, "float%d, batch %d, %d threads", 32 << dtype, (int)batch, n_threads);
                expect(!differs((fl_dtype)dtype, batch, n_threads), "other bits than by plain loops");
            }
    printf("frames: %d checks, %d failures\n", checks, failures);
    return failures > 0;
}
