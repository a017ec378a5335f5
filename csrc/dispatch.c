/* dispatch.c - which instruction set runs, and the public functions that call its kernels.
 *
 * The choice is made once, at the first call: the best set that both the processor (CPUID) and the operating system
 * (XCR0: are the wide registers saved on a context switch?) support, or the one that FASTLSTM_ISA names. This file is
 * compiled without any special instruction set, so that it runs anywhere.
 */
#include "fastlstm.h"
#include "kernels/table.h"

#include <stdatomic.h>
#include <stdlib.h>

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

/* Whether a name that somebody has typed is that of a set, which is in small letters. (C has no strcasecmp.) */
static int is_called(const char *name, const char *typed)
{
    for (; *name; ++name, ++typed)
        if (*name != (*typed >= 'A' && *typed <= 'Z' ? *typed - 'A' + 'a' : *typed))
            return 0;
    return !*typed;
}

static const isa_entry *find(const char *name)
{
    for (int e = 0; e < ENTRIES; ++e)
        if (is_called(entries[e].name, name) && entries[e].supported())
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
    for (int e = ENTRIES - 1; !entry; --e) /* ends, since the portable set is supported everywhere */
        if (entries[e].supported())
            entry = &entries[e];
    atomic_store_explicit(&active_entry, entry, memory_order_release);
    return entry;
}

static const fl_table *active_table(fl_dtype dtype)
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
    return active_table(dtype)->lanes;
}

int fl_bf16_way(void)
{
    return active_table(FL_F32)->bf16_way();
}

int fl_isa_fused(void)
{
    return active_table(FL_F32)->fused;
}

/* The public function of each kernel. */
#define LIST(...) __VA_ARGS__
#define RETURN_void
#define RETURN_double return
#define RETURN_size_t return
#define RETURN_ptrdiff_t return
#define FL_KERNEL(type, name, parameters, arguments)                                                                   \
    type fl_##name(fl_dtype dtype, LIST parameters)                                                                    \
    {                                                                                                                  \
        RETURN_##type active_table(dtype)->name arguments;                                                             \
    }
#include "kernels/list.h"
#undef FL_KERNEL
