/* kernels/table.h - the functions that every instruction set provides, once for each dtype.
 *
 * The members are the kernels of list.h; ../dispatch.c calls those of the active table.
 */
#ifndef FASTLSTM_TABLE_H
#define FASTLSTM_TABLE_H

#include "../fastlstm.h"

#define FL_KERNEL(type, name, parameters, arguments) type(*name) parameters;
typedef struct {
    int lanes, fused;
    int (*bf16_way)(void);
#include "list.h"
} fl_table;
#undef FL_KERNEL

extern const fl_table fl_table_portable_f32, fl_table_portable_f64;
extern const fl_table fl_table_avx2_f32, fl_table_avx2_f64;
extern const fl_table fl_table_avx512_f32, fl_table_avx512_f64;
extern const fl_table fl_table_neon_f32, fl_table_neon_f64;

#endif
