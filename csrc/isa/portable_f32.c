/* The kernels for portable, float. */
#define FL_ISA_PORTABLE 1
#define FL_REAL_F32 1
#define FL_TABLE fl_table_portable_f32
#include "../kernels/instantiate.h"
