/* machine.c - facts of the machine, remembered after the first call. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* _SC_LEVEL2_CACHE_SIZE, _SC_NPROCESSORS_ONLN */
#endif
#include "machine.h"
#include "fastlstm.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
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

/* Instructions for narrow numbers: a sum of these, not 0. Intel's dot products of bfloat16 take longer than multiply-adds
 * of float32. */
enum { ASKED = 1, HAS_VNNI = 2, HAS_DOTS = 4, HAS_FAST_DOTS = 8, HAS_TILES = 16, HAS_BYTE_TILES = 32 };

/* CPUID leaf 7: ECX bit 11 (VNNI), EDX bits 22, 24, 25 (AMX-BF16, AMX-TILE, AMX-INT8); subleaf 1: EAX bit 5
 * (AVX512-BF16). The registers of AMX are large, and Linux gives them to processes that ask. */
static long ask_narrow(void)
{
    long found = ASKED;
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return found;
    const int amx = (d >> 24 & 1) ? (d >> 22 & 1) * HAS_TILES + (d >> 25 & 1) * HAS_BYTE_TILES : 0;
    found += (c >> 11 & 1) * HAS_VNNI;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1)) {
        found += HAS_DOTS;
        if (__get_cpuid(0, &a, &b, &c, &d) && b != signature_INTEL_ebx)
            found += HAS_FAST_DOTS;
    }
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_COMPONENT = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM */
    if (amx && syscall(SYS_arch_prctl, REQUEST_COMPONENT, TILE_DATA) == 0)
        found += amx;
#endif
    (void)amx;
#endif
    return found;
}

static long narrow(void)
{
    static _Atomic long known;
    return known_once(&known, ask_narrow);
}

static atomic_int without_vnni, without_byte_tiles;

int fl_has_vnni(void)
{
    return (narrow() & HAS_VNNI) && !atomic_load_explicit(&without_vnni, memory_order_relaxed);
}

void fl_allow_vnni(int allow)
{
    atomic_store_explicit(&without_vnni, !allow, memory_order_relaxed);
}

int fl_has_byte_tiles(void)
{
    return (narrow() & HAS_BYTE_TILES) && !atomic_load_explicit(&without_byte_tiles, memory_order_relaxed);
}

void fl_allow_byte_tiles(int allow)
{
    atomic_store_explicit(&without_byte_tiles, !allow, memory_order_relaxed);
}

/* The way that FASTLSTM_BF16 names, "wide", "dots" or "tiles", else the best one. */
static long ask_bf16_choice(void)
{
    const char *name = getenv("FASTLSTM_BF16");
    if (name && strcmp(name, "wide") == 0)
        return FL_BF16_WIDE;
    if (name && strcmp(name, "dots") == 0)
        return FL_BF16_DOTS;
    return FL_BF16_TILES;
}

static _Atomic long bf16_choice;

int fl_has_bf16(int way)
{
    const long choice = known_once(&bf16_choice, ask_bf16_choice), found = narrow();
    if (way == FL_BF16_TILES)
        return choice == way && found & HAS_TILES;
    return found & HAS_DOTS && (choice == way || (choice > way && found & HAS_FAST_DOTS));
}

void fl_bf16_choose(int way)
{
    atomic_store_explicit(&bf16_choice, way, memory_order_relaxed);
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
