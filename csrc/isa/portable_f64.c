/* The kernels for portable, double. */
#define FL_ISA_PORTABLE 1
#define FL_REAL_F64 1
#define FL_TABLE fl_table_portable_f64
#include "../kernels/instantiate.h"
