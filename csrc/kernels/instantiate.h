/* kernels/instantiate.h - all kernels for one instruction set and one dtype.
 *
 * A wrapper in ../isa defines FL_ISA_<NAME>, FL_REAL_F32 or FL_REAL_F64, and FL_TABLE, then includes this file. The
 * instruction set is switched on here for the functions that follow, not by compiler flags: every file of csrc compiles
 * with the same flags, and nothing outside the wrappers can contain instructions that the machine may lack.
 */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../machine.h"
#include "../normal.h"
#include "../philox.h"
#include "../scalar.h"
#include "../threads/calls.h"
#include "../threads/parallel.h"
#include "../threads/wait.h"
#include "../threads/wake.h"
#include "table.h"

#if defined(FL_ISA_AVX2) || defined(FL_ISA_AVX512)
#include <immintrin.h>
#elif defined(FL_ISA_NEON)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(FL_ISA_AVX2)
#define FL_TARGET "avx2,fma"
#elif defined(FL_ISA_AVX512)
#define FL_TARGET "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl"
#endif

#define FL_PRAGMA(text) _Pragma(#text)
#define FL_PRAGMA_TARGET(name) FL_PRAGMA(GCC target(name)) /* expands the macro, which a #pragma would not */
#if defined(FL_TARGET) && defined(__clang__)
#pragma clang attribute push(__attribute__((target(FL_TARGET))), apply_to = function)
#elif defined(FL_TARGET)
#pragma GCC push_options
FL_PRAGMA_TARGET(FL_TARGET)
#endif

#include "simd.h"
#include "vmath.h"
#include "activation.h"
#include "draw.h"
#include "tile.h"
#include "workspace.h"

#define FL_DEFINE_KERNELS
#include "list.h"
#undef FL_DEFINE_KERNELS

#define FL_KERNEL(type, name, parameters, arguments) .name = name,
const fl_table FL_TABLE = {
    .lanes = LANES,
    .fused = FUSED,
    .bf16_way = bf16_way,
#include "list.h"
};
#undef FL_KERNEL

#if defined(FL_TARGET) && defined(__clang__)
#pragma clang attribute pop
#elif defined(FL_TARGET)
#pragma GCC pop_options
#endif
