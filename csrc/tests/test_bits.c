/* test_bits.c - every instruction set with a fused multiply-add gives the same bits, on any machine, by any compiler.
 *
 * Each part computes with numbers of a fixed generator and folds all bytes of its results into one number, which is
 * compared with the one that is written here. `test_bits print` prints the numbers; change them only where a change of
 * results is meant, as the golden bits of the Python tests. The portable set rounds a multiply-add twice, and is left
 * out unless it was built with -DFL_EXACT_FMA.
 */
#include "../fastlstm.h"
#include "../scalar.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fl_dtype dtype;
static uint64_t folded;
enum { NOT_HERE = 0 }; /* in place of what this processor cannot compute */
static int bf16;       /* whether LSTM layers have operands of 16 bits */

/* FNV-1a. Elements of 8 bytes are folded as two of 4, the lower one first. */
static void fold(const void *data, size_t n, size_t size)
{
    for (size_t k = 0; k < n * size / 4; ++k) {
        uint32_t word;
        memcpy(&word, (const char *)data + 4 * k, 4);
        for (int byte = 0; byte < 4; ++byte)
            folded = (folded ^ ((word >> (8 * byte)) & 0xff)) * UINT64_C(1099511628211);
    }
}

static void fold_reals(const void *data, ptrdiff_t n)
{
    fold(data, (size_t)n, size_of(dtype));
}

/* n numbers in [-bound, bound), or zeros. */
static void *draw(ptrdiff_t n, double bound)
{
    void *data = allocate((size_t)n * size_of(dtype));
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double value = bound > 0 ? uniform(-bound, bound) : 0;
        if (dtype == FL_F32)
            ((float *)data)[k] = (float)value;
        else
            ((double *)data)[k] = value;
    }
    return data;
}

/* ---------------------------------------------------------------- LSTM */

/* A pass over (batch, time, input) with all gradients, by the cell that the number chooses. */
static void one_lstm(ptrdiff_t batch, ptrdiff_t time, ptrdiff_t input, ptrdiff_t hidden, int number)
{
    const fl_function sigmoid = {0, 0, 0}, tangent = {1, 0, 0}, elu = {8, 0.7, 0}, softsign = {9, 0, 0};
    const int plain = number % 8 == 0;
    fl_lstm_cell cell = {
        .projection = number % 8 == 1 || number % 8 == 7 ? 1 + hidden / 2 : 0,
        .coupled = number % 8 == 2 || number % 8 == 7,
        .layer_norm = number % 8 >= 6,
        .gate = sigmoid,
        .cell = number % 8 == 3 ? softsign : tangent,
        .output = number % 8 == 3 ? elu : tangent,
        .gate_clip = number % 8 == 4 ? 1 : INFINITY,
        .cell_clip = number % 8 == 4 ? 0.5 : INFINITY,
        .output_clip = INFINITY,
        .norm_eps = 1e-5,
        .recurrent_dropout = number % 8 == 5 ? 0.2 : 0,
        .variational_dropout = number % 8 == 5 ? 0.3 : 0,
        .zoneout_h = number % 8 == 5 || number % 8 == 7 ? 0.1 : 0,
        .zoneout_c = number % 8 == 5 ? 0.2 : 0,
        .seed = 17,
    };
    const ptrdiff_t recurrent = cell.projection ? cell.projection : hidden, gates = cell.coupled ? 3 : 4;
    enum { W_IH, W_HH, B_IH, B_HH, X, H0, C0, W_HR, PEEP, GAIN_IH, GAIN_HH, GAIN_C, BIAS_C, INPUTS };
    const ptrdiff_t n[INPUTS] = {gates * hidden * input,
                                 gates * hidden * recurrent,
                                 gates * hidden,
                                 gates * hidden,
                                 batch * time * input,
                                 batch * recurrent,
                                 batch * hidden,
                                 cell.projection * hidden,
                                 number % 8 == 2 ? (gates - 1) * hidden : 0,
                                 cell.layer_norm ? gates * hidden : 0,
                                 cell.layer_norm ? gates * hidden : 0,
                                 cell.layer_norm ? hidden : 0,
                                 cell.layer_norm ? hidden : 0};
    void *in[INPUTS], *gradient[INPUTS];
    for (int k = 0; k < INPUTS; ++k) {
        in[k] = draw(n[k], k == W_IH || k == W_HH || k == W_HR ? 0.5 : 1);
        gradient[k] = draw(n[k], 0);
    }
    cell.weight_hr = in[W_HR];
    cell.peepholes = n[PEEP] ? in[PEEP] : NULL;
    cell.gain_ih = in[GAIN_IH];
    cell.gain_hh = in[GAIN_HH];
    cell.gain_c = in[GAIN_C];
    cell.bias_c = in[BIAS_C];
    int64_t lengths[64];
    for (ptrdiff_t b = 0; b < batch; ++b)
        lengths[b] = (5 * b + number) % (time + 1);
    const ptrdiff_t n_y = batch * time * recurrent;
    void *y = draw(n_y, 0), *hn = draw(batch * recurrent, 0), *cn = draw(batch * hidden, 0);
    void *dy = draw(n_y, 1), *dhn = draw(batch * recurrent, 1), *dcn = draw(batch * hidden, 1);
    fl_lstm_pass pass = {
        .batch = batch,
        .time = time,
        .input = input,
        .hidden = hidden,
        .lengths = number % 2 ? lengths : NULL,
        .reverse = number % 3 == 0,
        .training = 1,
        .weight_ih = in[W_IH],
        .weight_hh = in[W_HH],
        .bias_ih = in[B_IH],
        .bias_hh = in[B_HH],
        .cell = plain ? NULL : &cell,
        .x = in[X],
        .x_batch = time * input,
        .x_time = input,
        .h0 = in[H0],
        .c0 = in[C0],
        .y = y,
        .y_batch = time * recurrent,
        .y_time = recurrent,
        .hn = hn,
        .cn = cn,
        .bf16 = bf16,
        .n_threads = 1 + number % 2,
    };
    pass.workspace = allocate(fl_lstm_workspace(dtype, &pass));
    fl_lstm_forward(dtype, &pass);
    const fl_lstm_gradients out = {
        .dy = dy,
        .dy_batch = pass.y_batch,
        .dy_time = pass.y_time,
        .dhn = dhn,
        .dcn = dcn,
        .dx = gradient[X],
        .dx_batch = pass.x_batch,
        .dx_time = pass.x_time,
        .dweight_ih = gradient[W_IH],
        .dweight_hh = gradient[W_HH],
        .dbias_ih = gradient[B_IH],
        .dbias_hh = gradient[B_HH],
        .dh0 = gradient[H0],
        .dc0 = gradient[C0],
        .dweight_hr = gradient[W_HR],
        .dpeepholes = gradient[PEEP],
        .dgain_ih = gradient[GAIN_IH],
        .dgain_hh = gradient[GAIN_HH],
        .dgain_c = gradient[GAIN_C],
        .dbias_c = gradient[BIAS_C],
    };
    fl_lstm_backward(dtype, &pass, &out);
    fold_reals(y, n_y);
    fold_reals(hn, batch * recurrent);
    fold_reals(cn, batch * hidden);
    for (int k = 0; k < INPUTS; ++k)
        fold_reals(gradient[k], n[k]);
    free(pass.workspace);
    void *const others[] = {y, hn, cn, dy, dhn, dcn};
    for (int k = 0; k < 6; ++k)
        free(others[k]);
    for (int k = 0; k < INPUTS; ++k) {
        free(in[k]);
        free(gradient[k]);
    }
}

static void lstm(void)
{
    static const ptrdiff_t hidden[] = {1, 3, 8, 13, 16, 24, 37, 64};
    for (int number = 0; number < 64; ++number)
        one_lstm(1 + number % 5 * 3, 1 + number % 7, 1 + number % 11 * 2, hidden[number / 8], number);
}

/* The same with operands of 16 bits. AMX rounds its sums in another order, and has a number of its own. */
static void lstm_bf16(void)
{
    fl_bf16_choose(FL_BF16_DOTS);
    bf16 = dtype == FL_F32;
    if (bf16)
        lstm();
    bf16 = 0;
    fl_bf16_choose(FL_BF16_TILES);
}

static void lstm_tiles(void)
{
    bf16 = dtype == FL_F32 && fl_bf16_way() == FL_BF16_TILES;
    if (bf16)
        lstm();
    else
        folded = NOT_HERE;
    bf16 = 0;
}

/* ---------------------------------------------------------------- weights of 8 bits */

/* A layer with packed weights of 8 bits, for one row and for many, and a dense layer on its answers. */
static void one_of_bytes(ptrdiff_t batch, ptrdiff_t time, ptrdiff_t input, ptrdiff_t hidden, int number)
{
    const ptrdiff_t outputs = 1 + number * 7 % 90;
    void *w_ih = draw(4 * hidden * input, 0.5), *w_hh = draw(4 * hidden * hidden, 0.5), *bias = draw(4 * hidden, 1);
    void *x = draw(batch * time * input, 3), *y = draw(batch * time * hidden, 0), *h0 = draw(batch * hidden, 1);
    void *weight = draw(outputs * hidden, 0.5), *z = draw(batch * time * outputs, 0);
    float *limits = allocate((size_t)input * sizeof *limits), *limits_h = allocate((size_t)hidden * sizeof *limits);
    int64_t lengths[64];
    for (ptrdiff_t k = 0; k < input; ++k)
        limits[k] = 2 + (float)(k % 3) / 2;
    for (ptrdiff_t k = 0; k < hidden; ++k)
        limits_h[k] = 1;
    for (ptrdiff_t b = 0; b < batch; ++b)
        lengths[b] = (5 * b + number) % (time + 1);
    fl_lstm_pass pass = {
        .batch = batch,
        .time = time,
        .input = input,
        .hidden = hidden,
        .lengths = number % 2 ? lengths : NULL,
        .reverse = number % 3 == 0,
        .weight_ih = w_ih,
        .weight_hh = w_hh,
        .bias_ih = bias,
        .x = x,
        .x_batch = time * input,
        .x_time = input,
        .h0 = number % 5 ? h0 : NULL,
        .y = y,
        .y_batch = time * hidden,
        .y_time = hidden,
        .quantized = 1,
        .x_limits = number % 4 < 2 ? limits : NULL,
        .n_threads = 1 + number % 2,
    };
    fl_dense_pass dense = {
        .rows = batch * time,
        .input = hidden,
        .output = outputs,
        .weight = weight,
        .x = y,
        .y = z,
        .quantized = 1,
        .x_limits = number % 4 < 2 ? limits_h : NULL,
        .n_threads = 1 + number % 2,
    };
    void *packed = allocate(fl_lstm_packed_size(FL_F32, &pass)), *of_dense;
    fl_lstm_pack(FL_F32, &pass, packed);
    pass.packed = packed;
    pass.workspace = allocate(fl_lstm_workspace(FL_F32, &pass));
    fl_lstm_forward(FL_F32, &pass);
    of_dense = allocate(fl_dense_packed_size(FL_F32, &dense));
    fl_dense_pack(FL_F32, &dense, of_dense);
    dense.packed = of_dense;
    dense.workspace = allocate(fl_dense_workspace(FL_F32, &dense));
    fl_dense_forward(FL_F32, &dense);
    fold_reals(y, batch * time * hidden);
    fold_reals(z, batch * time * outputs);
    void *const all[] = {w_ih,     w_hh,           bias,           x, y, h0, weight, z, limits, limits_h, packed,
                         of_dense, pass.workspace, dense.workspace};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k)
        free(all[k]);
}

static void bytes(void)
{
    static const ptrdiff_t hidden[] = {1, 3, 8, 13, 16, 24, 37, 64};
    for (int number = 0; number < 64 && dtype == FL_F32; ++number)
        one_of_bytes(1 + number % 5 * 3, 1 + number % 7, 1 + number % 11 * 4, hidden[number / 8], number);
}

/* ---------------------------------------------------------------- dense layers, activations, dropout */

static void layers(void)
{
    static const ptrdiff_t sizes[][3] = {{1, 5, 3}, {7, 33, 18}, {40, 16, 64}, {300, 9, 1}};
    for (int k = 0; k < 4; ++k) {
        const ptrdiff_t rows = sizes[k][0], input = sizes[k][1], output = sizes[k][2];
        void *weight = draw(output * input, 1), *bias = draw(output, 1), *x = draw(rows * input, 1);
        void *y = draw(rows * output, 0), *dy = draw(rows * output, 1), *dx = draw(rows * input, 0);
        void *dweight = draw(output * input, 0), *dbias = draw(output, 0), *z = draw(rows * output, 0);
        fl_dense_pass pass = {.rows = rows,
                              .input = input,
                              .output = output,
                              .weight = weight,
                              .bias = bias,
                              .x = x,
                              .y = y,
                              .backward = 1,
                              .n_threads = 2};
        pass.workspace = allocate(fl_dense_workspace(dtype, &pass));
        fl_dense_forward(dtype, &pass);
        fl_dense_backward(dtype, &pass, dy, dx, dweight, dbias);
        fold_reals(y, rows * output);
        fold_reals(dx, rows * input);
        fold_reals(dweight, output * input);
        fold_reals(dbias, output);
        for (int kind = 0; kind < 11; ++kind) { /* the later ones are below */
            fl_activation(dtype, kind, 0.7, 0.4, rows * output, y, z, 2);
            fold_reals(z, rows * output);
            fl_activation_backward(dtype, kind, 0.7, 0.4, rows * output, y, z, dy, z, 2);
            fold_reals(z, rows * output);
        }
        fl_dropout(dtype, rows, output, y, z, 0.3, 99, 0, 2);
        fold_reals(z, rows * output);
        fl_noise(dtype, rows, output, y, z, 0.3, 99, 0, 2);
        fold_reals(z, rows * output);
        free(pass.workspace);
        void *const all[] = {weight, bias, x, y, dy, dx, dweight, dbias, z};
        for (int a = 0; a < 9; ++a)
            free(all[a]);
    }
}

/* ---------------------------------------------------------------- softmax, pooling, CTC */

static void sums(void)
{
    for (ptrdiff_t classes = 2; classes < 60; classes += 7) {
        enum { N = 9 };
        void *z = draw(N * classes, 5), *p = draw(N * classes, 0), *d = draw(N * classes, 1);
        void *weights = draw(N, 1);
        int64_t labels[N];
        double losses[N];
        for (int n = 0; n < N; ++n)
            labels[n] = n % classes;
        fl_softmax(dtype, N, classes, z, p, 1);
        fold_reals(p, N * classes);
        fl_softmax_backward(dtype, N, classes, p, d, d, 1);
        fold_reals(d, N * classes);
        fl_softmax_cross_entropy(dtype, N, classes, z, labels, weights, d, losses, 1);
        fold_reals(d, N * classes);
        fold(losses, N, sizeof losses[0]);
        void *const all[] = {z, p, d, weights};
        for (int a = 0; a < 4; ++a)
            free(all[a]);
    }
    for (int kind = FL_POOL_LAST; kind <= FL_POOL_ATTENTION; ++kind) {
        enum { B = 4, T = 11, W = 37 };
        static const int64_t lengths[B] = {11, 0, 5, 1};
        void *x = draw(B * T * W, 1), *scores = draw(B * T, 9), *y = draw(B * W, 0), *weights = draw(B * T, 0);
        void *dy = draw(B * W, 1), *dx = draw(B * T * W, 0), *dscores = draw(B * T, 0);
        double counts[B * FL_POOL_COUNTS] = {0}, totals[B * W] = {0};
        int64_t index[B * W];
        const int attends = kind == FL_POOL_ATTENTION;
        const fl_pool_pass pass = {.kind = kind,
                                   .batch = B,
                                   .time = T,
                                   .width = W,
                                   .lengths = lengths,
                                   .x = x,
                                   .scores = attends ? scores : NULL,
                                   .counts = counts,
                                   .sums = totals,
                                   .y = y,
                                   .index = index,
                                   .weights = attends ? weights : NULL,
                                   .n_threads = 2};
        fl_pool_forward(dtype, &pass);
        fl_pool_backward(dtype, &pass, dy, dx, attends ? dscores : NULL);
        fold_reals(y, B * W);
        fold_reals(weights, B * T);
        fold_reals(dx, B * T * W);
        fold_reals(dscores, B * T);
        void *const all[] = {x, scores, y, weights, dy, dx, dscores};
        for (int a = 0; a < 7; ++a)
            free(all[a]);
    }
    enum { CASES = 3, STEPS = 14, CLASSES = 6, LABELS = 4, BEAM = 8 };
    static const int64_t labels[CASES * LABELS] = {1, 2, 2, 5, 3, 0, 0, 0, 4, 1, 4, 0};
    static const int64_t counts[CASES] = {4, 1, 3}, lengths[CASES] = {14, 9, 3};
    void *z = draw(CASES * STEPS * CLASSES, 4), *d = draw(CASES * STEPS * CLASSES, 0);
    double losses[CASES], log_p[STEPS * CLASSES], score;
    int64_t found[STEPS];
    fl_ctc_pass pass = {.batch = CASES,
                        .time = STEPS,
                        .classes = CLASSES,
                        .max_labels = LABELS,
                        .lengths = lengths,
                        .logits = z,
                        .labels = labels,
                        .label_lengths = counts,
                        .dlogits = d,
                        .losses = losses,
                        .n_threads = 1};
    pass.workspace = allocate(fl_ctc_workspace(dtype, &pass));
    fl_ctc(dtype, &pass);
    fold_reals(d, CASES * STEPS * CLASSES);
    fold(losses, CASES, sizeof losses[0]);
    for (int k = 0; k < STEPS * CLASSES; ++k)
        log_p[k] = uniform(-6, 0);
    void *workspace = allocate(fl_ctc_beam_workspace(STEPS, CLASSES, BEAM));
    const ptrdiff_t n = fl_ctc_beam_search(STEPS, CLASSES, log_p, 0, BEAM, found, &score, workspace);
    fold(found, (size_t)n, sizeof found[0]);
    fold(&score, 1, sizeof score);
    free(workspace);
    free(pass.workspace);
    free(z);
    free(d);
}

/* ---------------------------------------------------------------- optimizers */

static void updates(void)
{
    enum { N = 5000 };
    void *p = draw(N, 1), *m = draw(N, 0), *v = draw(N, 0);
    for (int step = 1; step <= 6; ++step) {
        void *g = draw(N, 0.1);
        const double norm = fl_norm(dtype, N, g, 2);
        fold(&norm, 1, sizeof norm);
        fl_scale(dtype, N, g, 0.3 / norm, 2);
        fl_clip(dtype, N, g, 0.005, 2);
        if (step <= 2)
            fl_sgd(dtype, N, p, g, m, 0.1, 0.9, step == 2, 0.01, 2);
        else if (step <= 4)
            fl_rmsprop(dtype, N, p, g, v, m, 0.01, 0.99, 1e-8, 0.5, 0.01, 2);
        else
            fl_adam(dtype, N, p, g, m, v, 0.01, 0.9, 0.999, 1e-8, 0.01, step == 6, step * 1000, 2);
        fold_reals(p, N);
        free(g);
    }
    free(p);
    free(m);
    free(v);
}

/* ---------------------------------------------------------------- convolutions, windows, normalisation */

/* One convolution, normalisations and pools over (batch, time, width), with all gradients. */
static void one_signal(int number)
{
    enum { B = 4, T = 23 };
    static const int64_t lengths[B] = {23, 0, 9, 17};
    const ptrdiff_t width = 1 + number * 5 % 39, filters = 2 * (1 + number * 3 % 20), kernel = 1 + number % 5;
    const ptrdiff_t groups = width % 2 || number % 3 ? 1 : 2, stride = 1 + number % 3, n = B * T * width;
    void *x = draw(n, 1), *y = draw(n, 0), *dy = draw(n, 1), *dx = draw(n, 0), *of = draw(B * T * filters, 0);
    void *weight = draw(filters * width / groups * kernel, 1), *bias = draw(filters, 1),
         *d_of = draw(B * T * filters, 1);
    void *dweight = draw(filters * width / groups * kernel, 0), *dbias = draw(filters, 0);
    fl_conv_pass conv = {.batch = B,
                         .time = T,
                         .steps = T,
                         .input = width,
                         .filters = filters,
                         .kernel = kernel,
                         .stride = stride,
                         .dilation = 1 + number % 2,
                         .groups = groups,
                         .same = 1,
                         .lengths = lengths,
                         .weight = weight,
                         .bias = bias,
                         .x = x,
                         .y = of,
                         .backward = 1,
                         .n_threads = 2};
    conv.workspace = allocate(fl_conv_workspace(dtype, &conv));
    fl_conv_forward(dtype, &conv);
    fl_conv_backward(dtype, &conv, d_of, dx, dweight, dbias);
    fold_reals(of, B * T * filters);
    fold_reals(dx, n);
    fold_reals(dweight, filters * width / groups * kernel);
    fold_reals(dbias, filters);
    double *sums = allocate((size_t)(B * 2 * width) * sizeof(double));
    double *mean = allocate((size_t)width * sizeof(double)), *scale = allocate((size_t)width * sizeof(double));
    void *gain = draw(width, 1), *dgain = draw(width, 0), *dshift = draw(width, 0);
    const fl_batch_norm_pass batch = {
        .batch = B, .time = T, .width = width, .lengths = lengths, .x = x, .sums = sums, .n_threads = 2};
    const ptrdiff_t count = fl_batch_norm_statistics(dtype, &batch, mean, scale);
    fold(mean, (size_t)width, sizeof mean[0]);
    fold(scale, (size_t)width, sizeof scale[0]);
    for (ptrdiff_t c = 0; c < width; ++c)
        scale[c] = 1 / sqrt(scale[c] + 1e-3);
    fl_batch_norm_forward(dtype, &batch, mean, scale, mean, y);
    fl_batch_norm_backward(dtype, &batch, mean, scale, gain, count, dy, dx, dgain, dshift);
    fold_reals(y, n);
    fold_reals(dx, n);
    const fl_layer_norm_pass layer = {.batch = B,
                                      .time = T,
                                      .width = width,
                                      .lengths = lengths,
                                      .weight = gain,
                                      .bias = dshift,
                                      .eps = 1e-3,
                                      .x = x,
                                      .y = y,
                                      .sums = sums,
                                      .n_threads = 2};
    fl_layer_norm_forward(dtype, &layer);
    fold_reals(y, n);
    fl_layer_norm_backward(dtype, &layer, dy, dx, dgain, dshift);
    fold_reals(dx, n);
    fold_reals(dgain, width);
    fold_reals(dshift, width);
    for (int kind = FL_POOL_MEAN; kind <= FL_POOL_MAX; ++kind) {
        const fl_window_pool_pass pool = {.kind = kind,
                                          .batch = B,
                                          .time = T,
                                          .steps = T,
                                          .width = width,
                                          .kernel = kernel,
                                          .stride = stride,
                                          .same = 1,
                                          .lengths = lengths,
                                          .x = x,
                                          .y = y,
                                          .n_threads = 2};
        fl_window_pool_forward(dtype, &pool);
        fold_reals(y, n);
        fl_window_pool_backward(dtype, &pool, dy, dx);
        fold_reals(dx, n);
    }
    for (int kind = 11; kind < FL_FUNCTIONS; ++kind) {
        fl_activation(dtype, kind, 1.2, 0.8, n, x, y, 2);
        fold_reals(y, n);
        fl_activation_backward(dtype, kind, 1.2, 0.8, n, x, y, dy, dx, 2);
        fold_reals(dx, n);
    }
    void *const all[] = {x,    y,     dy,   dx,    of,    weight, bias, d_of, dweight, dbias, sums, conv.workspace,
                         mean, scale, gain, dgain, dshift};
    for (size_t a = 0; a < sizeof all / sizeof all[0]; ++a)
        free(all[a]);
}

static void signals(void)
{
    for (int number = 0; number < 12; ++number)
        one_signal(number);
}

/* ---------------------------------------------------------------- functions of scalar.h */

/* The distance of two numbers, in units in the last place of the second. */
static double units(double value, double exact)
{
    int exponent;
    frexp(exact, &exponent);
    return value == exact ? 0 : fabs(value - exact) / ldexp(1, exponent - 53);
}

static void scalars(void)
{
    double worst = 0;
    int powers = 1;
    for (int k = 0; k < 100000; ++k) {
        const double x = uniform(-1, 1), e = fabs(x);
        const double of[4] = {fl_exp(x * (k % 2 ? 700 : 1)), fl_log(e * (k % 2 ? 1e3 : 1) + 1e-300), fl_log1p_unit(e),
                              fl_power(e, k % 50)};
        worst = fmax(worst, units(of[0], exp(x * (k % 2 ? 700 : 1))));
        worst = fmax(worst, units(of[1], log(e * (k % 2 ? 1e3 : 1) + 1e-300)));
        worst = fmax(worst, units(of[2], log1p(e)));
        fold(of, 4, sizeof of[0]);
        powers &= fabs(of[3] - pow(e, k % 50)) <= 1e-14 * of[3];
    }
    expect(powers, "powers agree with the C library's");
    expect(worst <= 2, "exp, log and log1p are within 2 units in the last place of the C library's");
    expect(fl_exp(0) == 1 && fl_exp(-INFINITY) == 0 && fl_exp(INFINITY) == INFINITY && fl_exp(710) == INFINITY, "exp");
    expect(fl_exp(-709) == 0 && fl_exp(709.78) < INFINITY && isnan(fl_exp((double)NAN)), "exp at the ends");
    expect(fl_log(1) == 0 && fl_log(0) == -INFINITY && fl_log(-0.0) == -INFINITY && fl_log(INFINITY) == INFINITY,
           "log");
    expect(isnan(fl_log(-1)) && isnan(fl_log(-INFINITY)) && isnan(fl_log((double)NAN)), "log of what has none");
    expect(fl_log1p_unit(0) == 0 && fl_log1p_unit(1e-300) == 1e-300, "log1p");
    expect(fl_power(0.5, 0) == 1 && fl_power(0.5, 3) == 0.125 && fl_power(0.999, INT64_C(1) << 40) == 0, "powers");
}

/* ---------------------------------------------------------------- arrays of doubles, random numbers */

static void doubles(void)
{
    enum { N = 1003, ROWS = 59, WIDTH = 17 };
    double x[N], y[N], sums[ROWS], columns[WIDTH];
    uint64_t words[N];
    for (int k = 0; k < N; ++k) {
        x[k] = uniform(-1, 1);
        y[k] = uniform(0, 2);
    }
    const double of[3] = {fl_sum(N, x, NULL), fl_sum(N, x, y), fl_power_of(0.7, 11)};
    double exact = 0;
    for (int k = 0; k < N; ++k)
        exact += x[k] * y[k];
    expect(fabs(of[1] - exact) < 1e-12, "the sum of products");
    fold(of, 3, sizeof of[0]);
    fl_row_sums(ROWS, WIDTH, x, sums);
    fold(sums, ROWS, sizeof sums[0]);
    for (int around = 0; around < 2; ++around) {
        fl_column_sums(ROWS, WIDTH, x, around ? y : NULL, columns);
        fold(columns, WIDTH, sizeof columns[0]);
    }
    double worst = 0;
    for (int k = 0; k < N; ++k) {
        const double turns = 0.5 * k / (N - 1);
        const double cosine = fl_cosine(turns);
        worst = fmax(worst, fabs(cosine - cos(6.283185307179586 * turns)));
        fold(&cosine, 1, sizeof cosine);
    }
    expect(worst < 4e-16 && fl_cosine(0) == 1 && fl_cosine(0.25) == 0 && fl_cosine(0.5) == -1, "the cosine");
    fl_random_words(7, 5, N, words);
    fold(words, N, sizeof words[0]);
    uint64_t word;
    fl_random_words(7, 6, 1, &word);
    expect(word == words[1], "a word depends on its number alone");
    fl_normals(7, 5, N, y);
    fold(y, N, sizeof y[0]);
    double total = 0, squares = 0;
    for (int k = 0; k < N; ++k) {
        total += y[k];
        squares += y[k] * y[k];
    }
    expect(fabs(total / N) < 0.13 && fabs(squares / N - 1) < 0.18, "mean and variance of normal numbers"); /* 4 sigma */
}

/* ---------------------------------------------------------------- all of them */

typedef struct {
    const char *name;
    void (*compute)(void);
    uint64_t golden[2]; /* by dtype */
} part;

static const part parts[] = {
    {"lstm", lstm, {UINT64_C(0xb51861dae06eb40c), UINT64_C(0x72eccb17c61908f3)}},
    {"layers", layers, {UINT64_C(0x7f9e62a668b09b6f), UINT64_C(0x3cfcb1d6432ad3d2)}},
    {"sums", sums, {UINT64_C(0xe055d7f5c713ccb5), UINT64_C(0xc771e1bdea54cc66)}},
    {"updates", updates, {UINT64_C(0xc6f3dad4dc77a709), UINT64_C(0x85fb0718d3869e76)}},
    {"signals", signals, {UINT64_C(0x000d06970c40e1e6), UINT64_C(0xce8f4daa97e6df6a)}},
    {"doubles", doubles, {UINT64_C(0x58ef2a6e3bcaacef), UINT64_C(0x58ef2a6e3bcaacef)}},
    {"scalars", scalars, {UINT64_C(0x1d2324d8922e1df5), UINT64_C(0x1d2324d8922e1df5)}},
    {"bf16", lstm_bf16, {UINT64_C(0x96297993f3dec121), UINT64_C(0xcbf29ce484222325)}},
    {"tiles", lstm_tiles, {UINT64_C(0x7b3623e6fbb9d424), NOT_HERE}},
    {"bytes", bytes, {UINT64_C(0x0685788a79c07a0f), UINT64_C(0xcbf29ce484222325)}},
};

int main(int argc, char **argv)
{
    const int print = argc > 1 && !strcmp(argv[1], "print");
    int sets = 0;
    fl_always_wake(1);
    for (int set = 0; set < fl_isa_count(); ++set) {
        fl_isa_select(fl_isa_name(set));
        sets += fl_isa_fused();
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; ++k)
            for (int type = 0; type < 2; ++type) {
                dtype = (fl_dtype)type;
                random_state = 1;
                folded = UINT64_C(14695981039346656037);
                snprintf(where, sizeof where, "%s %s %s", fl_isa_active(), dtype == FL_F32 ? "f32" : "f64",
                         parts[k].name);
                parts[k].compute();
                if (print)
                    printf("%s: 0x%016llx\n", where, (unsigned long long)folded);
                else if (fl_isa_fused() || parts[k].compute == scalars || parts[k].compute == doubles)
                    expect(folded == NOT_HERE || folded == parts[k].golden[type],
                           "the bits that every processor gives");
            }
    }
    printf("%d of %d checks passed on %d instruction sets with a fused multiply-add\n", checks - failures, checks,
           sets);
    return failures != 0;
}
