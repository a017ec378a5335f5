/* dispatch.c - which instruction set runs, and the public functions that forward to it.
 *
 * The choice is made once, at the first call: the best set that both the processor (CPUID) and the operating system
 * (XCR0: are the wide registers saved on a context switch?) support, or the one that FASTLSTM_ISA names. This file is
 * compiled without any special instruction set, so that it runs anywhere.
 */
#include "fastlstm.h"
#include "kernels/table.h"
#include "philox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    const fl_table *tables[2]; /* by dtype */
    int (*supported)(void);
} isa_entry;

static int always(void)
{
    return 1;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

static uint64_t xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

/* Leaf 1 ECX: FMA bit 12, OSXSAVE bit 27, AVX bit 28. Leaf 7 EBX: AVX2 bit 5, AVX512F 16, DQ 17, BW 30, VL 31.
 * XCR0: bits 1, 2 the SSE and AVX state; 5, 6, 7 the AVX-512 state (Intel SDM vol. 1, 14.3 and 15.2). */
static int x86_supports(uint32_t leaf7_ebx, uint64_t state)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    const uint32_t needed = (1u << 12) | (1u << 27) | (1u << 28);
    if ((c & needed) != needed || (xcr0() & state) != state)
        return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    return (b & leaf7_ebx) == leaf7_ebx;
}

static int has_avx2(void)
{
    return x86_supports(1u << 5, 0x06);
}

static int has_avx512(void)
{
    return x86_supports((1u << 5) | (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31), 0xe6);
}
#endif

/* In the order of preference, best last. */
static const isa_entry entries[] = {
    {"portable", {&fl_table_portable_f32, &fl_table_portable_f64}, always},
#if defined(__x86_64__) && defined(__GNUC__)
    {"avx2", {&fl_table_avx2_f32, &fl_table_avx2_f64}, has_avx2},
    {"avx512", {&fl_table_avx512_f32, &fl_table_avx512_f64}, has_avx512},
#endif
#if defined(__aarch64__)
    {"neon", {&fl_table_neon_f32, &fl_table_neon_f64}, always},
#endif
};

enum { ENTRIES = sizeof entries / sizeof entries[0] };

static _Atomic(const isa_entry *) active_entry;

static const isa_entry *find(const char *name)
{
    for (int e = 0; e < ENTRIES; ++e)
        if (!strcmp(entries[e].name, name) && entries[e].supported())
            return &entries[e];
    return NULL;
}

static const isa_entry *active(void)
{
    const isa_entry *entry = atomic_load_explicit(&active_entry, memory_order_acquire);
    if (entry)
        return entry;
    const char *forced = getenv("FASTLSTM_ISA");
    if (forced)
        entry = find(forced);
    for (int e = ENTRIES - 1; !entry; --e) /* ends: the portable set is supported everywhere */
        if (entries[e].supported())
            entry = &entries[e];
    atomic_store_explicit(&active_entry, entry, memory_order_release);
    return entry;
}

static const fl_table *table(fl_dtype dtype)
{
    return active()->tables[dtype];
}

int fl_isa_count(void)
{
    int count = 0;
    for (int e = 0; e < ENTRIES; ++e)
        count += entries[e].supported();
    return count;
}

const char *fl_isa_name(int index)
{
    for (int e = 0; e < ENTRIES; ++e)
        if (entries[e].supported() && index-- == 0)
            return entries[e].name;
    return NULL;
}

const char *fl_isa_active(void)
{
    return active()->name;
}

int fl_isa_select(const char *name)
{
    const isa_entry *entry = find(name);
    if (!entry)
        return -1;
    atomic_store_explicit(&active_entry, entry, memory_order_release);
    return 0;
}

int fl_isa_lanes(fl_dtype dtype)
{
    return table(dtype)->lanes;
}

size_t fl_lstm_workspace(fl_dtype dtype, const fl_lstm_pass *pass)
{
    return table(dtype)->lstm_workspace(pass);
}

void fl_lstm_forward(fl_dtype dtype, const fl_lstm_pass *pass)
{
    table(dtype)->lstm_forward(pass);
}

void fl_lstm_backward(fl_dtype dtype, const fl_lstm_pass *pass, const fl_lstm_gradients *gradients)
{
    table(dtype)->lstm_backward(pass, gradients);
}

size_t fl_dense_workspace(fl_dtype dtype, const fl_dense_pass *pass)
{
    return table(dtype)->dense_workspace(pass);
}

void fl_dense_forward(fl_dtype dtype, const fl_dense_pass *pass)
{
    table(dtype)->dense_forward(pass);
}

void fl_dense_backward(fl_dtype dtype, const fl_dense_pass *pass, const void *dy, void *dx, void *dweight, void *dbias)
{
    table(dtype)->dense_backward(pass, dy, dx, dweight, dbias);
}

void fl_standardize(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean,
                    const double *scale, void *y)
{
    table(dtype)->standardize(rows, width, x, mean, scale, y);
}

void fl_unstandardize(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean,
                      const double *scale, void *y)
{
    table(dtype)->unstandardize(rows, width, x, mean, scale, y);
}

void fl_embedding_forward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *weights,
                          void *out, int n_threads)
{
    table(dtype)->embedding_forward(rows, width, index, weights, out, n_threads);
}

void fl_embedding_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *dout,
                           void *dtable, int n_threads)
{
    table(dtype)->embedding_backward(rows, width, index, dout, dtable, n_threads);
}

void fl_dropout(fl_dtype dtype, ptrdiff_t n, const void *x, void *y, double p, uint64_t seed, int n_threads)
{
    table(dtype)->dropout(n, x, y, p, seed, n_threads);
}

void fl_philox4x32(uint64_t seed, uint64_t counter, uint32_t out[4])
{
    philox4x32(seed, counter, 0, out);
}

void fl_activation(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x, void *y,
                   int n_threads)
{
    table(dtype)->activation(kind, alpha, beta, n, x, y, n_threads);
}

void fl_activation_backward(fl_dtype dtype, int kind, double alpha, double beta, ptrdiff_t n, const void *x,
                            const void *y, const void *dy, void *dx, int n_threads)
{
    table(dtype)->activation_backward(kind, alpha, beta, n, x, y, dy, dx, n_threads);
}

void fl_softmax(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits, void *out, int n_threads)
{
    table(dtype)->softmax(rows, classes, logits, out, n_threads);
}

void fl_softmax_backward(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *p, const void *dy, void *dx,
                         int n_threads)
{
    table(dtype)->softmax_backward(rows, classes, p, dy, dx, n_threads);
}

void fl_softmax_cross_entropy(fl_dtype dtype, ptrdiff_t rows, ptrdiff_t classes, const void *logits,
                              const int64_t *labels, const void *weights, void *dlogits, double *losses, int n_threads)
{
    table(dtype)->softmax_cross_entropy(rows, classes, logits, labels, weights, dlogits, losses, n_threads);
}

size_t fl_ctc_workspace(fl_dtype dtype, const fl_ctc_pass *pass)
{
    return table(dtype)->ctc_workspace(pass);
}

void fl_ctc(fl_dtype dtype, const fl_ctc_pass *pass)
{
    table(dtype)->ctc(pass);
}

void fl_pool_forward(fl_dtype dtype, const fl_pool_pass *pass)
{
    table(dtype)->pool_forward(pass);
}

void fl_pool_backward(fl_dtype dtype, const fl_pool_pass *pass, const void *dy, void *dx, void *dscores)
{
    table(dtype)->pool_backward(pass, dy, dx, dscores);
}

void fl_sgd(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, double lr, double momentum, int nesterov,
            double weight_decay, int n_threads)
{
    table(dtype)->sgd(n, p, g, m, lr, momentum, nesterov, weight_decay, n_threads);
}

void fl_rmsprop(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *v, void *m, double lr, double alpha,
                double eps, double momentum, double weight_decay, int n_threads)
{
    table(dtype)->rmsprop(n, p, g, v, m, lr, alpha, eps, momentum, weight_decay, n_threads);
}

void fl_adam(fl_dtype dtype, ptrdiff_t n, void *p, const void *g, void *m, void *v, double lr, double beta1,
             double beta2, double eps, double weight_decay, int decoupled, int64_t step, int n_threads)
{
    table(dtype)->adam(n, p, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, n_threads);
}

double fl_norm(fl_dtype dtype, ptrdiff_t n, const void *x, int n_threads)
{
    return table(dtype)->norm(n, x, n_threads);
}

void fl_scale(fl_dtype dtype, ptrdiff_t n, void *x, double factor, int n_threads)
{
    table(dtype)->scale(n, x, factor, n_threads);
}

void fl_clip(fl_dtype dtype, ptrdiff_t n, void *x, double limit, int n_threads)
{
    table(dtype)->clip(n, x, limit, n_threads);
}

ptrdiff_t fl_first_nonfinite(fl_dtype dtype, ptrdiff_t n, const void *x)
{
    return table(dtype)->first_nonfinite(n, x);
}
