/* The kernels for neon, double. */
#if defined(__aarch64__)
#define FL_ISA_NEON 1
#define FL_REAL_F64 1
#define FL_TABLE fl_table_neon_f64
#include "../kernels/instantiate.h"
#else
typedef int fl_not_for_this_machine; /* ISO C requires a declaration in every unit */
#endif
