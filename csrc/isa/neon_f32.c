/* The kernels for neon, float. */
#if defined(__aarch64__)
#define FL_ISA_NEON 1
#define FL_REAL_F32 1
#define FL_TABLE fl_table_neon_f32
#include "../kernels/instantiate.h"
#else
typedef int fl_not_for_this_machine; /* ISO C requires a declaration in every unit */
#endif
