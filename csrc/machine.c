/* machine.c - facts of the machine, remembered after the first call. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* _SC_LEVEL2_CACHE_SIZE, _SC_NPROCESSORS_ONLN */
#endif
#include "machine.h"
#include "fastlstm.h"

#include <stdatomic.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

/* A number above 0. Threads that ask at the same time get the same answer, so it does not matter which of them stores
 * it. */
static long known_once(_Atomic long *known, long (*ask)(void))
{
    long value = atomic_load_explicit(known, memory_order_relaxed);
    if (value == 0) {
        value = ask();
        atomic_store_explicit(known, value, memory_order_relaxed);
    }
    return value;
}

static long ask_second_level_cache(void)
{
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (bytes > 0)
        return bytes;
#endif
    return 512 * 1024;
}

static long ask_processors(void)
{
#if defined(_SC_NPROCESSORS_ONLN)
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors > 0)
        return processors;
#endif
    return 1 << 20;
}

static atomic_int without_vnni;

/* CPUID leaf 7, ECX, bit 11. 1: no, 2: yes. */
static long ask_vnni(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 1 + (c >> 11 & 1);
#endif
    return 1;
}

int fl_has_vnni(void)
{
    static _Atomic long known;
    return known_once(&known, ask_vnni) == 2 && !atomic_load_explicit(&without_vnni, memory_order_relaxed);
}

void fl_allow_vnni(int allow)
{
    atomic_store_explicit(&without_vnni, !allow, memory_order_relaxed);
}

double fl_second_level_cache(void)
{
    static _Atomic long known;
    return (double)known_once(&known, ask_second_level_cache);
}

long fl_online_processors(void)
{
    static _Atomic long known;
    return known_once(&known, ask_processors);
}
