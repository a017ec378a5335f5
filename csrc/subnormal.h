/* subnormal.h - a mode of the processor in which numbers below the smallest normal one count as 0.
 *
 * Arithmetic on them is slow on most processors (by a factor of a hundred on some), and vanishing gradients and fading
 * states pass through them on their way to 0. So the kernels work in this mode (fastlstm.h names the few functions that
 * do not): what they read or compute below 1.2e-38
 * (float) or 2.2e-308 (double) in magnitude is 0. Every part of the work sets the mode in the thread that does it, and
 * restores the mode that it found: neither the caller nor the number of threads makes a difference. The mode exists on
 * x86-64 and AArch64; other processors compute with such numbers.
 */
#ifndef FASTLSTM_SUBNORMAL_H
#define FASTLSTM_SUBNORMAL_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>

#define FL_FLUSHES 1

typedef uint32_t fl_float_mode;

static inline fl_float_mode fl_flush_subnormals(void)
{
    const fl_float_mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}

static inline void fl_restore_float_mode(fl_float_mode before)
{
    _mm_setcsr(before);
}
#elif defined(__aarch64__) && defined(__GNUC__)
#define FL_FLUSHES 1

typedef uint64_t fl_float_mode;

static inline fl_float_mode fl_flush_subnormals(void)
{
    fl_float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | UINT64_C(1) << 24) : "memory");
    return before;
}

static inline void fl_restore_float_mode(fl_float_mode before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
}
#else
#define FL_FLUSHES 0

typedef int fl_float_mode;

static inline fl_float_mode fl_flush_subnormals(void)
{
    return 0;
}

static inline void fl_restore_float_mode(fl_float_mode before)
{
    (void)before;
}
#endif

#endif
