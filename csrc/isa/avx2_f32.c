/* The kernels for avx2, float. */
#if defined(__x86_64__) && defined(__GNUC__)
#define FL_ISA_AVX2 1
#define FL_REAL_F32 1
#define FL_TABLE fl_table_avx2_f32
#include "../kernels/instantiate.h"
#else
typedef int fl_not_for_this_machine; /* ISO C requires a declaration in every unit */
#endif
