/* kernels/table.h - the functions that every instruction set provides, once per dtype.
 *
 * The entries mirror fastlstm.h without the dtype; dispatch.c forwards to the active table.
 */
#ifndef FASTLSTM_TABLE_H
#define FASTLSTM_TABLE_H

#include "../fastlstm.h"

typedef struct {
    int lanes;
    size_t (*lstm_workspace)(const fl_lstm_pass *);
    void (*lstm_forward)(const fl_lstm_pass *);
    void (*lstm_backward)(const fl_lstm_pass *, const fl_lstm_gradients *);
    size_t (*dense_workspace)(const fl_dense_pass *);
    void (*dense_forward)(const fl_dense_pass *);
    void (*dense_backward)(const fl_dense_pass *, const void *dy, void *dx, void *dweight, void *dbias);
    void (*standardize)(ptrdiff_t, ptrdiff_t, const void *, const double *, const double *, void *);
    void (*unstandardize)(ptrdiff_t, ptrdiff_t, const void *, const double *, const double *, void *);
    void (*embedding_forward)(ptrdiff_t, ptrdiff_t, const int64_t *, const void *, void *, int);
    void (*embedding_backward)(ptrdiff_t, ptrdiff_t, const int64_t *, const void *, void *, int);
    void (*dropout)(ptrdiff_t, const void *, void *, double, uint64_t, int);
    void (*activation)(int, double, double, ptrdiff_t, const void *, void *, int);
    void (*activation_backward)(int, double, double, ptrdiff_t, const void *, const void *, const void *, void *, int);
    void (*softmax)(ptrdiff_t, ptrdiff_t, const void *, void *, int);
    void (*softmax_backward)(ptrdiff_t, ptrdiff_t, const void *, const void *, void *, int);
    void (*softmax_cross_entropy)(ptrdiff_t, ptrdiff_t, const void *, const int64_t *, const void *, void *, double *,
                                  int);
    size_t (*ctc_workspace)(const fl_ctc_pass *);
    void (*ctc)(const fl_ctc_pass *);
    void (*pool_forward)(const fl_pool_pass *);
    void (*pool_backward)(const fl_pool_pass *, const void *, void *, void *);
    void (*sgd)(ptrdiff_t, void *, const void *, void *, double, double, int, double, int);
    void (*rmsprop)(ptrdiff_t, void *, const void *, void *, void *, double, double, double, double, double, int);
    void (*adam)(ptrdiff_t, void *, const void *, void *, void *, double, double, double, double, double, int, int64_t,
                 int);
    double (*norm)(ptrdiff_t, const void *, int);
    void (*scale)(ptrdiff_t, void *, double, int);
    void (*clip)(ptrdiff_t, void *, double, int);
    ptrdiff_t (*first_nonfinite)(ptrdiff_t, const void *);
} fl_table;

extern const fl_table fl_table_portable_f32, fl_table_portable_f64;
extern const fl_table fl_table_avx2_f32, fl_table_avx2_f64;
extern const fl_table fl_table_avx512_f32, fl_table_avx512_f64;
extern const fl_table fl_table_neon_f32, fl_table_neon_f64;

#endif
