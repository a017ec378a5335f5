/* network.c - the stages of a model, run one after the other over blocks of steps.
 *
 * The values are numbered: 0 is the network's input, k + 1 the output of stage k. A stage of number k names what it
 * reads by counting back from value k, so that a chain needs no numbers at all.
 *
 * Memory. Each value except the first and the last is stored in a buffer, (batch, steps, features). A buffer is used
 * again after the last stage that reads its value has run (a chain needs two). The assignment of buffers depends on the
 * graph alone: a buffer has the number of the first stage that writes to it, and is as wide as the widest of its
 * values. A stage never writes to a buffer that it reads.
 *
 * A kind of stage is one entry of `kinds`, with its functions above it.
 */
#include "fastlstm.h"

#include <math.h>
#include <string.h>

/* The functions of a kind; NULL: nothing to do. */
typedef struct {
    int sides; /* number of side inputs that it reads */
    /* Set the fields of the stage's pass that no block of steps changes, and return the number of features of its
     * output. */
    ptrdiff_t (*prepare)(const fl_network *network, fl_stage *stage);
    /* Bytes of a state of one series; 0: there is no such state. */
    size_t (*state)(const fl_network *network, const fl_stage *stage, int which);
    /* Bytes of the packed weights, and how to pack them into stage->own_packed. */
    size_t (*packed)(const fl_network *network, const fl_stage *stage);
    void (*pack)(const fl_network *network, fl_stage *stage);
    size_t (*workspace)(const fl_network *network, fl_stage *stage, ptrdiff_t steps);
    void (*bind)(fl_stage *stage, void *workspace);
    void (*run)(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                const void *const side[FL_STAGE_SIDES], void *y);
} stage_functions;

static size_t size_of(fl_dtype dtype)
{
    return dtype == FL_F32 ? sizeof(float) : sizeof(double);
}

static ptrdiff_t features(const fl_network *network, ptrdiff_t value)
{
    return value == 0 ? network->input : network->stages[value - 1].output;
}

static const void *packed_weights(const fl_stage *stage)
{
    return stage->packed ? stage->packed : stage->own_packed;
}

/* ---------------------------------------------------------------- scaling, embedding, functions of the features */

static ptrdiff_t prepare_same(const fl_network *network, fl_stage *stage)
{
    (void)network;
    return stage->input;
}

static ptrdiff_t prepare_standardize(const fl_network *network, fl_stage *stage)
{
    (void)network;
    return stage->input + stage->scaling.count;
}

static void run_standardize(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                            const void *const *side, void *y)
{
    (void)side;
    const fl_scaling *scaling = &stage->scaling;
    const int reads_x = stage - network->stages == stage->main;
    const fl_dtype x_dtype = reads_x && network->x_double ? FL_F64 : network->dtype;
    const ptrdiff_t rows = network->batch * steps;
    if (scaling->count == 0)
        fl_standardize(network->dtype, x_dtype, rows, stage->input, x, scaling->mean, scaling->scale, y);
    else
        fl_standardize_missing(network->dtype, x_dtype, rows, stage->input, x, scaling->mean, scaling->scale,
                               scaling->missing, scaling->count, y);
}

static void run_unstandardize(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                              const void *const *side, void *y)
{
    (void)side;
    const int is_last = stage - network->stages == network->count - 1;
    fl_unstandardize(network->dtype, is_last && network->y_double ? FL_F64 : network->dtype, network->batch * steps,
                     stage->output, x, stage->scaling.mean, stage->scaling.scale, y);
}

static ptrdiff_t prepare_embedding(const fl_network *network, fl_stage *stage)
{
    (void)network;
    return stage->embedding.width;
}

static void run_embedding(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                          const void *const *side, void *y)
{
    (void)side;
    fl_embedding_forward(network->dtype, network->batch * steps, stage->output, x, stage->embedding.table, y,
                         network->n_threads);
}

static void run_activation(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                           const void *const *side, void *y)
{
    const fl_function *f = &stage->activation;
    (void)side;
    fl_activation(network->dtype, f->kind, f->alpha, f->beta, network->batch * steps * stage->output, x, y,
                  network->n_threads);
}

static void run_softmax(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                        const void *const *side, void *y)
{
    (void)side;
    fl_softmax(network->dtype, network->batch * steps, stage->output, x, y, network->n_threads);
}

static ptrdiff_t prepare_concat(const fl_network *network, fl_stage *stage)
{
    return stage->input + features(network, stage - network->stages - stage->side[0]);
}

static void run_concat(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                       const void *const *side, void *y)
{
    const size_t first = (size_t)stage->input * size_of(network->dtype);
    const size_t second = (size_t)(stage->output - stage->input) * size_of(network->dtype);
    const char *from = x, *next = side[0];
    char *to = y;
    for (ptrdiff_t n = 0; n < network->batch * steps; ++n, from += first, next += second, to += first + second) {
        memcpy(to, from, first);
        memcpy(to + first, next, second);
    }
}

static void run_add(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x, const void *const *side,
                    void *y)
{
    const ptrdiff_t n = network->batch * steps * stage->output;
    if (network->dtype == FL_F32)
        for (ptrdiff_t k = 0; k < n; ++k)
            ((float *)y)[k] = ((const float *)x)[k] + ((const float *)side[0])[k];
    else
        for (ptrdiff_t k = 0; k < n; ++k)
            ((double *)y)[k] = ((const double *)x)[k] + ((const double *)side[0])[k];
}

static void run_multiply(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                         const void *const *side, void *y)
{
    const ptrdiff_t n = network->batch * steps * stage->output;
    if (network->dtype == FL_F32)
        for (ptrdiff_t k = 0; k < n; ++k)
            ((float *)y)[k] = ((const float *)x)[k] * ((const float *)side[0])[k];
    else
        for (ptrdiff_t k = 0; k < n; ++k)
            ((double *)y)[k] = ((const double *)x)[k] * ((const double *)side[0])[k];
}

static ptrdiff_t prepare_take(const fl_network *network, fl_stage *stage)
{
    (void)network;
    return stage->take.count;
}

static void run_take(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                     const void *const *side, void *y)
{
    const int64_t *index = stage->take.index;
    const ptrdiff_t count = stage->output, width = stage->input;
    (void)side;
    for (ptrdiff_t n = 0; n < network->batch * steps; ++n) {
        if (network->dtype == FL_F32) {
            const float *from = (const float *)x + n * width;
            float *to = (float *)y + n * count;
            for (ptrdiff_t k = 0; k < count; ++k)
                to[k] = index[k] < 0 ? 0.0f : from[index[k]];
        } else {
            const double *from = (const double *)x + n * width;
            double *to = (double *)y + n * count;
            for (ptrdiff_t k = 0; k < count; ++k)
                to[k] = index[k] < 0 ? 0.0 : from[index[k]];
        }
    }
}

static ptrdiff_t prepare_magnitude(const fl_network *network, fl_stage *stage)
{
    (void)network;
    return stage->input / 2;
}

static void run_magnitude(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                          const void *const *side, void *y)
{
    const ptrdiff_t parts = stage->magnitude.parts, size = stage->output / parts;
    const double eps = stage->magnitude.eps;
    (void)side;
    for (ptrdiff_t n = 0; n < network->batch * steps * parts; ++n) {
        if (network->dtype == FL_F32) {
            const float *re = (const float *)x + 2 * n * size, *im = re + size;
            float *to = (float *)y + n * size;
            for (ptrdiff_t k = 0; k < size; ++k)
                to[k] = sqrtf(re[k] * re[k] + im[k] * im[k] + (float)eps);
        } else {
            const double *re = (const double *)x + 2 * n * size, *im = re + size;
            double *to = (double *)y + n * size;
            for (ptrdiff_t k = 0; k < size; ++k)
                to[k] = sqrt(re[k] * re[k] + im[k] * im[k] + eps);
        }
    }
}

/* ---------------------------------------------------------------- LSTM */

static ptrdiff_t prepare_lstm(const fl_network *network, fl_stage *stage)
{
    fl_lstm_pass *pass = &stage->lstm;
    pass->batch = network->batch;
    pass->input = stage->input;
    pass->lengths = NULL;
    pass->training = 0;
    pass->packed = stage->packed;
    return pass->cell && pass->cell->projection ? pass->cell->projection : pass->hidden;
}

static size_t state_lstm(const fl_network *network, const fl_stage *stage, int which)
{
    return (size_t)(which == 0 ? stage->output : stage->lstm.hidden) * size_of(network->dtype);
}

static size_t packed_lstm(const fl_network *network, const fl_stage *stage)
{
    return fl_lstm_packed_size(network->dtype, &stage->lstm);
}

static void pack_lstm(const fl_network *network, fl_stage *stage)
{
    stage->lstm.n_threads = network->n_threads;
    fl_lstm_pack(network->dtype, &stage->lstm, stage->own_packed);
}

/* A pass without packed weights of its own in the workspace. */
static size_t workspace_lstm(const fl_network *network, fl_stage *stage, ptrdiff_t steps)
{
    fl_lstm_pass *pass = &stage->lstm;
    pass->time = steps;
    pass->packed = pass; /* given: the address does not matter */
    const size_t bytes = fl_lstm_workspace(network->dtype, pass);
    pass->packed = stage->packed;
    return bytes;
}

static void bind_lstm(fl_stage *stage, void *workspace)
{
    stage->lstm.workspace = workspace;
}

static void run_lstm(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                     const void *const *side, void *y)
{
    fl_lstm_pass *pass = &stage->lstm;
    (void)side;
    pass->time = steps;
    pass->lengths = network->lengths;
    pass->packed = packed_weights(stage);
    pass->n_threads = network->n_threads;
    pass->x = x;
    pass->x_batch = steps * stage->input;
    pass->x_time = stage->input;
    pass->y = stage->last ? NULL : y;
    pass->y_batch = steps * stage->output;
    pass->y_time = stage->output;
    /* The kernel reads the initial state before it writes the final one. */
    pass->h0 = pass->hn = stage->state[0];
    pass->c0 = pass->cn = stage->state[1];
    fl_lstm_forward(network->dtype, pass);
    if (stage->last)
        memcpy(y, pass->hn, (size_t)(network->batch * stage->output) * size_of(network->dtype));
}

/* ---------------------------------------------------------------- dense */

static ptrdiff_t prepare_dense(const fl_network *network, fl_stage *stage)
{
    (void)network;
    stage->dense.input = stage->input;
    stage->dense.backward = 0;
    return stage->dense.output;
}

static size_t packed_dense(const fl_network *network, const fl_stage *stage)
{
    return fl_dense_packed_size(network->dtype, &stage->dense);
}

static void pack_dense(const fl_network *network, fl_stage *stage)
{
    fl_dense_pack(network->dtype, &stage->dense, stage->own_packed);
}

static size_t workspace_dense(const fl_network *network, fl_stage *stage, ptrdiff_t steps)
{
    fl_dense_pass *pass = &stage->dense;
    pass->rows = network->batch * steps;
    pass->packed = pass; /* given: the address does not matter */
    const size_t bytes = fl_dense_workspace(network->dtype, pass);
    pass->packed = stage->packed;
    return bytes;
}

static void bind_dense(fl_stage *stage, void *workspace)
{
    stage->dense.workspace = workspace;
}

static void run_dense(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                      const void *const *side, void *y)
{
    fl_dense_pass *pass = &stage->dense;
    (void)side;
    pass->rows = network->batch * steps;
    pass->packed = packed_weights(stage);
    pass->n_threads = network->n_threads;
    pass->x = x;
    pass->y = y;
    fl_dense_forward(network->dtype, pass);
}

/* ---------------------------------------------------------------- convolution */

/* Steps before its own that a convolution reads. */
static ptrdiff_t earlier_steps(const fl_stage *stage)
{
    return (stage->conv.kernel - 1) * stage->conv.dilation;
}

static ptrdiff_t prepare_conv(const fl_network *network, fl_stage *stage)
{
    fl_conv_pass *pass = &stage->conv;
    (void)network;
    pass->input = stage->input;
    pass->left = pass->right = 0;
    pass->same = pass->backward = 0;
    pass->lengths = NULL;
    return pass->filters;
}

static size_t state_conv(const fl_network *network, const fl_stage *stage, int which)
{
    return which == 0 ? (size_t)(earlier_steps(stage) * stage->input) * size_of(network->dtype) : 0;
}

static size_t packed_conv(const fl_network *network, const fl_stage *stage)
{
    return fl_conv_packed_size(network->dtype, &stage->conv);
}

static void pack_conv(const fl_network *network, fl_stage *stage)
{
    fl_conv_pack(network->dtype, &stage->conv, stage->own_packed);
}

/* Room for the steps of each series with those before them; the kernel needs none. */
static size_t workspace_conv(const fl_network *network, fl_stage *stage, ptrdiff_t steps)
{
    const double bytes = (double)network->batch * ((double)earlier_steps(stage) + (double)steps) *
                         (double)stage->input * (double)size_of(network->dtype);
    return bytes < (double)(SIZE_MAX / 4) ? (size_t)bytes : SIZE_MAX;
}

static void bind_conv(fl_stage *stage, void *workspace)
{
    stage->conv.workspace = workspace;
}

/* The last steps of a series, `state` bytes; NULL if none are kept. */
static char *kept_steps(const fl_stage *stage, size_t state, ptrdiff_t series)
{
    return state > 0 ? (char *)stage->state[0] + (size_t)series * state : NULL;
}

static void run_conv(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                     const void *const *side, void *y)
{
    fl_conv_pass *pass = &stage->conv;
    const ptrdiff_t earlier = earlier_steps(stage);
    const size_t step = (size_t)stage->input * size_of(network->dtype);
    const size_t state = (size_t)earlier * step, block = (size_t)steps * step;
    char *series = pass->workspace;
    (void)side;
    for (ptrdiff_t b = 0; b < network->batch; ++b, series += state + block) {
        char *kept = kept_steps(stage, state, b);
        if (state > 0)
            memcpy(series, kept, state);
        memcpy(series + state, (const char *)x + (size_t)b * block, block);
        if (state > 0)
            memcpy(kept, series + block, state);
    }
    /* One step of each series is computed as many steps of one series, so that they share a tile. */
    const int one = steps == 1;
    pass->batch = one ? 1 : network->batch;
    pass->time = one ? network->batch * (earlier + 1) : earlier + steps;
    pass->stride = one ? earlier + 1 : 1;
    pass->steps = one ? network->batch : steps;
    pass->packed = packed_weights(stage);
    pass->n_threads = network->n_threads;
    pass->x = pass->workspace;
    pass->y = y;
    fl_conv_forward(network->dtype, pass);
}

/* ---------------------------------------------------------------- convolution within each step */

static ptrdiff_t prepare_frame_conv(const fl_network *network, fl_stage *stage)
{
    fl_conv_pass *pass = &stage->conv;
    (void)network;
    pass->input = stage->input / pass->time;
    pass->steps = (pass->time - (pass->kernel - 1) * pass->dilation - 1) / pass->stride + 1;
    pass->left = pass->right = 0;
    pass->same = pass->backward = 0;
    pass->lengths = NULL;
    return pass->steps * pass->filters;
}

static void run_frame_conv(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                           const void *const *side, void *y)
{
    fl_conv_pass *pass = &stage->conv;
    (void)side;
    pass->batch = network->batch * steps;
    pass->packed = packed_weights(stage);
    pass->n_threads = network->n_threads;
    pass->workspace = NULL; /* none with packed weights and without zeros around the series */
    pass->x = x;
    pass->y = y;
    fl_conv_forward(network->dtype, pass);
}

/* ---------------------------------------------------------------- pooling */

static ptrdiff_t prepare_pool(const fl_network *network, fl_stage *stage)
{
    fl_pool_pass *pass = &stage->pool;
    pass->batch = network->batch;
    pass->width = stage->input;
    pass->every_step = !stage->last;
    pass->index = NULL;
    pass->weights = NULL;
    return stage->input;
}

static size_t state_pool(const fl_network *network, const fl_stage *stage, int which)
{
    (void)network;
    return (size_t)(which == 0 ? stage->input : FL_POOL_COUNTS) * sizeof(double);
}

static void run_pool(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                     const void *const *side, void *y)
{
    fl_pool_pass *pass = &stage->pool;
    pass->time = steps;
    pass->lengths = network->lengths;
    pass->n_threads = network->n_threads;
    pass->sums = stage->state[0];
    pass->counts = stage->state[1];
    pass->x = x;
    pass->scores = pass->kind == FL_POOL_ATTENTION ? side[0] : NULL;
    pass->y = y;
    fl_pool_forward(network->dtype, pass);
}

/* ---------------------------------------------------------------- pooling over windows */

static ptrdiff_t prepare_window(const fl_network *network, fl_stage *stage)
{
    fl_window_pool_pass *pass = &stage->window;
    (void)network;
    pass->batch = pass->stride = 1;
    pass->width = stage->input;
    pass->right = 0;
    pass->same = 0;
    pass->lengths = NULL;
    return stage->input;
}

static size_t state_window(const fl_network *network, const fl_stage *stage, int which)
{
    if (which == 1)
        return stage->window.kernel > 1 ? sizeof(double) : 0;
    return (size_t)((stage->window.kernel - 1) * stage->input) * size_of(network->dtype);
}

/* Room for the steps of a series with those before them. */
static size_t workspace_window(const fl_network *network, fl_stage *stage, ptrdiff_t steps)
{
    const double bytes =
        ((double)stage->window.kernel - 1 + (double)steps) * (double)stage->input * (double)size_of(network->dtype);
    return bytes < (double)(SIZE_MAX / 4) ? (size_t)bytes : SIZE_MAX;
}

static void bind_window(fl_stage *stage, void *workspace)
{
    stage->workspace = workspace;
}

static void run_window(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                       const void *const *side, void *y)
{
    fl_window_pool_pass *pass = &stage->window;
    const ptrdiff_t earlier = pass->kernel - 1;
    const size_t step = (size_t)stage->input * size_of(network->dtype);
    const size_t state = (size_t)earlier * step, block = (size_t)steps * step;
    char *series = stage->workspace;
    double *counts = stage->state[1];
    (void)side;
    pass->steps = steps;
    pass->n_threads = network->n_threads;
    for (ptrdiff_t b = 0; b < network->batch; ++b) {
        char *kept = kept_steps(stage, state, b);
        const ptrdiff_t known = earlier > 0 ? (ptrdiff_t)counts[b] : 0; /* steps before, as far as they matter */
        if (earlier > 0) {
            memcpy(series, kept, state);
            counts[b] = (double)(known + steps < earlier ? known + steps : earlier);
        }
        memcpy(series + state, (const char *)x + (size_t)b * block, block);
        if (earlier > 0)
            memcpy(kept, series + block, state);
        pass->left = earlier - known;
        pass->time = known + steps;
        pass->x = series + (size_t)(earlier - known) * step;
        pass->y = (char *)y + (size_t)b * block;
        fl_window_pool_forward(network->dtype, pass);
    }
}

/* ---------------------------------------------------------------- normalisation */

static void run_batch_norm(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                           const void *const *side, void *y)
{
    (void)side;
    fl_unstandardize(network->dtype, network->dtype, network->batch * steps, stage->output, x, stage->scaling.mean,
                     stage->scaling.scale, y);
}

static void run_layer_norm(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                           const void *const *side, void *y)
{
    fl_layer_norm_pass *pass = &stage->layer_norm;
    (void)side;
    pass->batch = network->batch;
    pass->time = steps;
    pass->width = stage->input;
    pass->lengths = NULL;
    pass->n_threads = network->n_threads;
    pass->x = x;
    pass->y = y;
    fl_layer_norm_forward(network->dtype, pass);
}

/* ---------------------------------------------------------------- final steps */

static void run_final(const fl_network *network, fl_stage *stage, ptrdiff_t steps, const void *x,
                      const void *const *side, void *y)
{
    const size_t row = (size_t)stage->input * size_of(network->dtype);
    const size_t forward = (size_t)stage->directions.forward * size_of(network->dtype);
    (void)side;
    for (ptrdiff_t b = 0; b < network->batch; ++b) {
        const char *series = (const char *)x + (size_t)(b * steps) * row;
        char *to = (char *)y + (size_t)b * row;
        const int64_t valid = network->lengths ? network->lengths[b] : steps;
        if (valid == 0) {
            memset(to, 0, row);
            continue;
        }
        memcpy(to, series + (size_t)(valid - 1) * row, forward);
        memcpy(to + forward, series + forward, row - forward);
    }
}

/* ---------------------------------------------------------------- all kinds */

static const stage_functions kinds[FL_STAGE_KINDS] = {
    [FL_STAGE_STANDARDIZE] = {.prepare = prepare_standardize, .run = run_standardize},
    [FL_STAGE_UNSTANDARDIZE] = {.prepare = prepare_same, .run = run_unstandardize},
    [FL_STAGE_EMBEDDING] = {.prepare = prepare_embedding, .run = run_embedding},
    [FL_STAGE_LSTM] = {.prepare = prepare_lstm,
                       .state = state_lstm,
                       .packed = packed_lstm,
                       .pack = pack_lstm,
                       .workspace = workspace_lstm,
                       .bind = bind_lstm,
                       .run = run_lstm},
    [FL_STAGE_DENSE] = {.prepare = prepare_dense,
                        .packed = packed_dense,
                        .pack = pack_dense,
                        .workspace = workspace_dense,
                        .bind = bind_dense,
                        .run = run_dense},
    [FL_STAGE_CONV] = {.prepare = prepare_conv,
                       .state = state_conv,
                       .packed = packed_conv,
                       .pack = pack_conv,
                       .workspace = workspace_conv,
                       .bind = bind_conv,
                       .run = run_conv},
    [FL_STAGE_WINDOW_POOL] = {.prepare = prepare_window,
                              .state = state_window,
                              .workspace = workspace_window,
                              .bind = bind_window,
                              .run = run_window},
    [FL_STAGE_BATCH_NORM] = {.prepare = prepare_same, .run = run_batch_norm},
    [FL_STAGE_LAYER_NORM] = {.prepare = prepare_same, .run = run_layer_norm},
    [FL_STAGE_ACTIVATION] = {.prepare = prepare_same, .run = run_activation},
    [FL_STAGE_SOFTMAX] = {.prepare = prepare_same, .run = run_softmax},
    [FL_STAGE_POOL] = {.sides = 1, .prepare = prepare_pool, .state = state_pool, .run = run_pool},
    [FL_STAGE_ADD] = {.sides = 1, .prepare = prepare_same, .run = run_add},
    [FL_STAGE_MULTIPLY] = {.sides = 1, .prepare = prepare_same, .run = run_multiply},
    [FL_STAGE_TAKE] = {.prepare = prepare_take, .run = run_take},
    [FL_STAGE_MAGNITUDE] = {.prepare = prepare_magnitude, .run = run_magnitude},
    [FL_STAGE_FRAME_CONV] = {.prepare = prepare_frame_conv,
                             .packed = packed_conv,
                             .pack = pack_conv,
                             .run = run_frame_conv},
    [FL_STAGE_CONCAT] = {.sides = 1, .prepare = prepare_concat, .run = run_concat},
    [FL_STAGE_FINAL] = {.prepare = prepare_same, .run = run_final},
};

/* ---------------------------------------------------------------- the graph */

static int is_one_step(const fl_network *network, ptrdiff_t value)
{
    return value > 0 && network->stages[value - 1].one_step;
}

/* Steps of the main input of stage k, in a block of `steps` steps. */
static ptrdiff_t steps_read(const fl_network *network, ptrdiff_t k, ptrdiff_t steps)
{
    return is_one_step(network, k - network->stages[k].main) ? 1 : steps;
}

/* Mark that stage k reads a value. The stages come in order, so that the last mark remains. */
static void use(fl_network *network, ptrdiff_t value, ptrdiff_t k)
{
    if (value > 0)
        network->stages[value - 1].last_use = k;
}

/* If stage k is the last to read a value, put the value's buffer on the list of unused buffers; return the list's
 * head. */
static ptrdiff_t release(fl_network *network, ptrdiff_t value, ptrdiff_t k, ptrdiff_t unused)
{
    if (value == 0 || network->stages[value - 1].last_use != k)
        return unused;
    network->stages[value - 1].last_use = -1; /* so that it is released once, even if the stage reads the value twice */
    const ptrdiff_t buffer = network->stages[value - 1].buffer;
    network->stages[buffer].next_unused = unused;
    return buffer;
}

/* Set the sizes and buffers of all stages, which depend on the graph alone. */
static void prepare(fl_network *network)
{
    for (ptrdiff_t k = 0; k < network->count; ++k) {
        fl_stage *stage = &network->stages[k];
        stage->input = features(network, k - stage->main);
        stage->output = kinds[stage->kind].prepare(network, stage);
        stage->one_step = stage->last || is_one_step(network, k - stage->main);
        stage->width = 0;
        stage->last_use = k; /* if no stage reads it */
        use(network, k - stage->main, k);
        for (int s = 0; s < kinds[stage->kind].sides; ++s)
            use(network, k - stage->side[s], k);
    }
    ptrdiff_t unused = -1;
    for (ptrdiff_t k = 0; k < network->count - 1; ++k) {
        fl_stage *stage = &network->stages[k];
        stage->buffer = unused < 0 ? k : unused;
        if (unused >= 0)
            unused = network->stages[unused].next_unused;
        fl_stage *owner = &network->stages[stage->buffer];
        if (owner->width < stage->output)
            owner->width = stage->output;
        unused = release(network, k - stage->main, k, unused);
        for (int s = 0; s < kinds[stage->kind].sides; ++s)
            unused = release(network, k - stage->side[s], k, unused);
        unused = release(network, k + 1, k, unused);
    }
}

/* ---------------------------------------------------------------- memory */

/* A block of memory that is divided part by part. */
typedef struct {
    char *base;
    size_t used; /* SIZE_MAX: more than fits in memory */
} arena;

/* Take rows * bytes from the block, aligned to 64; bytes may be SIZE_MAX. */
static void *take(arena *from, ptrdiff_t rows, size_t bytes)
{
    const size_t most = SIZE_MAX / 4;
    if (from->used == SIZE_MAX || (bytes > 0 && (size_t)rows > most / bytes)) {
        from->used = SIZE_MAX;
        return NULL;
    }
    void *at = from->base && bytes > 0 ? from->base + from->used : NULL;
    from->used += ((size_t)rows * bytes + 63) / 64 * 64;
    if (from->used > most)
        from->used = SIZE_MAX;
    return at;
}

size_t fl_stage_state(const fl_network *network, ptrdiff_t stage, int which)
{
    const fl_stage *of = &network->stages[stage];
    return kinds[of->kind].state ? kinds[of->kind].state(network, of, which) : 0;
}

/* Lay out the states of `capacity` series; `bind`: store their addresses too. (A network may need no memory, so that
 * NULL cannot mean 'only measure'.) */
static size_t lay_out_state(fl_network *network, int bind, void *memory, ptrdiff_t capacity)
{
    arena from = {memory, 0};
    for (ptrdiff_t k = 0; k < network->count; ++k)
        for (int which = 0; which < FL_STAGE_STATES; ++which) {
            fl_stage *stage = &network->stages[k];
            void *state = take(&from, capacity, fl_stage_state(network, k, which));
            if (bind)
                stage->state[which] = state;
        }
    return from.used;
}

/* Lay out the values between the stages, then the packed weights that the caller has not given, and the workspaces of the
 * stages; `bind` as above. */
static size_t lay_out_workspace(fl_network *network, int bind, void *memory, ptrdiff_t steps)
{
    arena from = {memory, 0};
    const ptrdiff_t last = network->count - 1;
    if (steps > PTRDIFF_MAX / (network->batch + 1))
        return SIZE_MAX;
    for (ptrdiff_t k = 0; k < last; ++k) {
        fl_stage *stage = &network->stages[k];
        const size_t bytes = (size_t)stage->width * size_of(network->dtype);
        void *out =
            stage->buffer == k ? take(&from, network->batch * steps, bytes) : network->stages[stage->buffer].out;
        if (bind)
            stage->out = out;
    }
    for (ptrdiff_t k = 0; k <= last; ++k) {
        fl_stage *stage = &network->stages[k];
        const stage_functions *kind = &kinds[stage->kind];
        void *packed = kind->packed && !stage->packed ? take(&from, 1, kind->packed(network, stage)) : NULL;
        void *workspace =
            kind->workspace ? take(&from, 1, kind->workspace(network, stage, steps_read(network, k, steps))) : NULL;
        if (bind) {
            stage->own_packed = packed;
            stage->is_packed = 0;
        }
        if (bind && kind->bind)
            kind->bind(stage, workspace);
    }
    if (bind)
        network->stages[last].out = NULL;
    return from.used;
}

size_t fl_network_state(fl_network *network)
{
    prepare(network);
    return lay_out_state(network, 0, NULL, network->batch);
}

size_t fl_network_workspace(fl_network *network, ptrdiff_t steps)
{
    prepare(network);
    return lay_out_workspace(network, 0, NULL, steps);
}

void fl_network_bind(fl_network *network, void *state, void *workspace, ptrdiff_t steps)
{
    prepare(network);
    lay_out_state(network, 1, state, network->batch);
    lay_out_workspace(network, 1, workspace, steps);
    network->steps = steps;
    network->isa = fl_isa_active();
}

void fl_network_attach(fl_network *network, void *state, ptrdiff_t capacity)
{
    lay_out_state(network, 1, state, capacity);
}

/* Copy rows of all states between the network's own memory and memory with room for `capacity` series. */
static void copy_rows(const fl_network *network, char *other, ptrdiff_t capacity, const int64_t *rows, int load)
{
    arena from = {other, 0};
    for (ptrdiff_t k = 0; k < network->count; ++k)
        for (int which = 0; which < FL_STAGE_STATES; ++which) {
            const size_t bytes = fl_stage_state(network, k, which);
            char *theirs = take(&from, capacity, bytes), *own = network->stages[k].state[which];
            for (ptrdiff_t i = 0; bytes > 0 && i < network->batch; ++i) {
                char *row = theirs + (size_t)rows[i] * bytes;
                memcpy(load ? own + (size_t)i * bytes : row, load ? row : own + (size_t)i * bytes, bytes);
            }
        }
}

void fl_network_load_rows(fl_network *network, const void *from, ptrdiff_t capacity, const int64_t *rows)
{
    copy_rows(network, (char *)from, capacity, rows, 1);
}

void fl_network_store_rows(const fl_network *network, void *to, ptrdiff_t capacity, const int64_t *rows)
{
    copy_rows(network, to, capacity, rows, 0);
}

/* ---------------------------------------------------------------- runs */

void fl_network_reset(fl_network *network, const int64_t *rows, ptrdiff_t count)
{
    const ptrdiff_t n = rows ? count : network->batch;
    for (ptrdiff_t k = 0; k < network->count; ++k)
        for (int which = 0; which < FL_STAGE_STATES; ++which) {
            const fl_stage *stage = &network->stages[k];
            const size_t bytes = fl_stage_state(network, k, which);
            for (ptrdiff_t i = 0; bytes > 0 && i < n; ++i) {
                char *to = (char *)stage->state[which] + (size_t)(rows ? rows[i] : i) * bytes;
                if (stage->initial[which])
                    memcpy(to, stage->initial[which], bytes);
                else
                    memset(to, 0, bytes);
            }
        }
}

int fl_network_fits(const fl_network *network, ptrdiff_t steps)
{
    return steps <= network->steps && network->isa == fl_isa_active();
}

int fl_network_run(fl_network *network, const void *x, ptrdiff_t steps, void *y)
{
    if (!fl_network_fits(network, steps))
        return -1;
    const ptrdiff_t last = network->count - 1;
    for (ptrdiff_t k = 0; k <= last; ++k) {
        fl_stage *stage = &network->stages[k];
        const stage_functions *kind = &kinds[stage->kind];
        const void *side[FL_STAGE_SIDES] = {NULL};
        const void *read = k == stage->main ? x : network->stages[k - stage->main - 1].out;
        for (int s = 0; s < kind->sides; ++s)
            side[s] = k == stage->side[s] ? x : network->stages[k - stage->side[s] - 1].out;
        if (stage->own_packed && !stage->is_packed) {
            kind->pack(network, stage);
            stage->is_packed = 1;
        }
        kind->run(network, stage, steps_read(network, k, steps), read, side, k == last ? y : stage->out);
    }
    return 0;
}
