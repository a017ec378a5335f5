/* kernels/list.h - every kernel once: the header that defines it, and its signature.
 *
 * This file is included several times, and each time gives another view of the same list:
 *
 *   FL_DEFINE_KERNELS defined   the headers themselves, for one instruction set and dtype (instantiate.h)
 *   FL_KERNEL defined           one FL_KERNEL(type, name, (parameters), (arguments)) for each kernel: the members of
 *                               the table (table.h), their values (instantiate.h), the public functions (../dispatch.c)
 *
 * A kernel is a static function of this name and signature. Its public function, fl_<name>, has a dtype in front and is
 * declared and described in ../fastlstm.h; where one of them disagrees with the list, the compiler reports it. To add a
 * kernel: write its header, name both here, and declare the public function.
 */
#if defined(FL_DEFINE_KERNELS)

/* In an order in which each finds what it needs of those before: ctc.h, pooling.h and attention.h use sums of
 * softmax.h. */
#include "bf16.h"
#include "bytes.h"
#include "lstm/lstm.h"
#include "lstm/layout.h"
#include "lstm/plan.h"
#include "lstm/masks.h"
#include "lstm/cells.h"
#include "lstm/forward_tile.h"
#include "lstm/forward_bytes.h"
#include "lstm/forward_bf16.h"
#include "lstm/norm.h"
#include "lstm/forward.h"
#include "lstm/cells_backward.h"
#include "lstm/backward_bf16.h"
#include "lstm/backward_walk.h"
#include "lstm/weight_gradient.h"
#include "lstm/weight_gradient_bf16.h"
#include "lstm/backward.h"
#include "dense.h"
#include "conv.h"
#include "normalize.h"
#include "elementwise.h"
#include "softmax.h"
#include "ctc.h"
#include "pooling.h"
#include "window_pool.h"
#include "attention.h"
#include "optimizers.h"

#elif defined(FL_KERNEL)
/* clang-format off */

FL_KERNEL(size_t, lstm_workspace, (const fl_lstm_pass *pass), (pass))
FL_KERNEL(size_t, lstm_packed_size, (const fl_lstm_pass *pass), (pass))
FL_KERNEL(void, lstm_pack, (const fl_lstm_pass *pass, void *packed), (pass, packed))
FL_KERNEL(void, lstm_forward, (const fl_lstm_pass *pass), (pass))
FL_KERNEL(void, lstm_backward, (const fl_lstm_pass *pass, const fl_lstm_gradients *gradients), (pass, gradients))

FL_KERNEL(size_t, dense_workspace, (const fl_dense_pass *pass), (pass))
FL_KERNEL(size_t, dense_packed_size, (const fl_dense_pass *pass), (pass))
FL_KERNEL(void, dense_pack, (const fl_dense_pass *pass, void *packed), (pass, packed))
FL_KERNEL(void, dense_forward, (const fl_dense_pass *pass), (pass))
FL_KERNEL(void, dense_backward, (const fl_dense_pass *pass, const void *dy, void *dx, void *dweight, void *dbias),
          (pass, dy, dx, dweight, dbias))

FL_KERNEL(size_t, conv_workspace, (const fl_conv_pass *pass), (pass))
FL_KERNEL(size_t, conv_packed_size, (const fl_conv_pass *pass), (pass))
FL_KERNEL(void, conv_pack, (const fl_conv_pass *pass, void *packed), (pass, packed))
FL_KERNEL(void, conv_forward, (const fl_conv_pass *pass), (pass))
FL_KERNEL(void, conv_backward, (const fl_conv_pass *pass, const void *dy, void *dx, void *dweight, void *dbias),
          (pass, dy, dx, dweight, dbias))

FL_KERNEL(ptrdiff_t, batch_norm_statistics, (const fl_batch_norm_pass *pass, double *mean, double *variance),
          (pass, mean, variance))
FL_KERNEL(void, batch_norm_forward,
          (const fl_batch_norm_pass *pass, const double *mean, const double *scale, const double *shift, void *y),
          (pass, mean, scale, shift, y))
FL_KERNEL(void, batch_norm_backward,
          (const fl_batch_norm_pass *pass, const double *mean, const double *scale, const void *weight, ptrdiff_t count,
           const void *dy, void *dx, void *dweight, void *dbias),
          (pass, mean, scale, weight, count, dy, dx, dweight, dbias))
FL_KERNEL(void, layer_norm_forward, (const fl_layer_norm_pass *pass), (pass))
FL_KERNEL(void, layer_norm_backward,
          (const fl_layer_norm_pass *pass, const void *dy, void *dx, void *dweight, void *dbias),
          (pass, dy, dx, dweight, dbias))

FL_KERNEL(void, standardize,
          (fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean, const double *scale,
           void *y),
          (x_dtype, rows, width, x, mean, scale, y))
FL_KERNEL(void, standardize_missing,
          (fl_dtype x_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean, const double *scale,
           const int64_t *missing, ptrdiff_t count, void *y),
          (x_dtype, rows, width, x, mean, scale, missing, count, y))
FL_KERNEL(void, unstandardize,
          (fl_dtype y_dtype, ptrdiff_t rows, ptrdiff_t width, const void *x, const double *mean, const double *scale,
           void *y),
          (y_dtype, rows, width, x, mean, scale, y))
FL_KERNEL(void, embedding_forward,
          (ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *table, void *out, int n_threads),
          (rows, width, index, table, out, n_threads))
FL_KERNEL(void, embedding_backward,
          (ptrdiff_t rows, ptrdiff_t width, const int64_t *index, const void *dout, void *dtable, int n_threads),
          (rows, width, index, dout, dtable, n_threads))
FL_KERNEL(void, dropout,
          (ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double p, uint64_t seed, ptrdiff_t first_row,
           int n_threads),
          (rows, size, x, y, p, seed, first_row, n_threads))
FL_KERNEL(void, noise,
          (ptrdiff_t rows, ptrdiff_t size, const void *x, void *y, double stddev, uint64_t seed, ptrdiff_t first_row,
           int n_threads),
          (rows, size, x, y, stddev, seed, first_row, n_threads))

FL_KERNEL(void, activation,
          (int kind, double alpha, double beta, ptrdiff_t n, const void *x, void *y, int n_threads),
          (kind, alpha, beta, n, x, y, n_threads))
FL_KERNEL(void, activation_backward,
          (int kind, double alpha, double beta, ptrdiff_t n, const void *x, const void *y, const void *dy, void *dx,
           int n_threads),
          (kind, alpha, beta, n, x, y, dy, dx, n_threads))

FL_KERNEL(void, softmax, (ptrdiff_t rows, ptrdiff_t classes, const void *logits, void *out, int n_threads),
          (rows, classes, logits, out, n_threads))
FL_KERNEL(void, softmax_backward,
          (ptrdiff_t rows, ptrdiff_t classes, const void *p, const void *dy, void *dx, int n_threads),
          (rows, classes, p, dy, dx, n_threads))
FL_KERNEL(void, softmax_cross_entropy,
          (ptrdiff_t rows, ptrdiff_t classes, const void *logits, const int64_t *labels, const void *weights,
           void *dlogits, double *losses, int n_threads),
          (rows, classes, logits, labels, weights, dlogits, losses, n_threads))

FL_KERNEL(size_t, ctc_workspace, (const fl_ctc_pass *pass), (pass))
FL_KERNEL(void, ctc, (const fl_ctc_pass *pass), (pass))

FL_KERNEL(void, pool_forward, (const fl_pool_pass *pass), (pass))
FL_KERNEL(void, pool_backward, (const fl_pool_pass *pass, const void *dy, void *dx, void *dscores),
          (pass, dy, dx, dscores))

FL_KERNEL(void, window_pool_forward, (const fl_window_pool_pass *pass), (pass))
FL_KERNEL(void, window_pool_backward, (const fl_window_pool_pass *pass, const void *dy, void *dx), (pass, dy, dx))

FL_KERNEL(void, attention_forward, (const fl_attention_pass *pass), (pass))
FL_KERNEL(void, attention_backward,
          (const fl_attention_pass *pass, const void *dy, void *dscores, void *dquery, void *dkeys, void *dvalues),
          (pass, dy, dscores, dquery, dkeys, dvalues))

FL_KERNEL(void, sgd,
          (ptrdiff_t n, void *p, const void *g, void *m, double lr, double momentum, int nesterov, double weight_decay,
           int n_threads),
          (n, p, g, m, lr, momentum, nesterov, weight_decay, n_threads))
FL_KERNEL(void, rmsprop,
          (ptrdiff_t n, void *p, const void *g, void *v, void *m, double lr, double alpha, double eps, double momentum,
           double weight_decay, int n_threads),
          (n, p, g, v, m, lr, alpha, eps, momentum, weight_decay, n_threads))
FL_KERNEL(void, adam,
          (ptrdiff_t n, void *p, const void *g, void *m, void *v, double lr, double beta1, double beta2, double eps,
           double weight_decay, int decoupled, int64_t step, int n_threads),
          (n, p, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, n_threads))
FL_KERNEL(double, norm, (ptrdiff_t n, const void *x, int n_threads), (n, x, n_threads))
FL_KERNEL(void, scale, (ptrdiff_t n, void *x, double factor, int n_threads), (n, x, factor, n_threads))
FL_KERNEL(void, clip, (ptrdiff_t n, void *x, double limit, int n_threads), (n, x, limit, n_threads))
FL_KERNEL(ptrdiff_t, first_nonfinite, (ptrdiff_t n, const void *x), (n, x))

/* clang-format on */
#endif
