// A layer of oneDNN's LSTM behind five C functions, for ctypes. One layer, one direction, zero initial state, which is
// given: without it version 3.2 computes a wrong gradient of weight_hh in float32.
//
// Every weight is in the layout that the primitive asks for, in forward and in backward, and is put there once: what a
// trainer would pay after each update to bring new weights into two layouts is not counted. Gates are in the order
// i, f, g, o on both sides. Arrays are (time, batch, features). With `narrow`, operands of the products are bfloat16.

#include <cstdint>
#include <cstring>
#include <memory>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

using namespace dnnl;
using dims = memory::dims;
using type = memory::data_type;
using tag = memory::format_tag;

namespace {

struct Layer {
    engine cpu{engine::kind::cpu, 0};
    stream queue{cpu};
    int threads;
    bool training;
    primitive forward, backward;
    std::unordered_map<int, memory> forward_arguments, backward_arguments;
    memory y;                                                     // in float32, filled by `read`
    std::vector<std::pair<memory, memory>> answers;               // of the primitive, in float32 and a plain layout
    std::vector<memory> sums;                                     // the primitive adds to them

    memory filled(const memory::desc &wanted, const float *values, const memory::desc &plain) {
        memory from(plain, cpu, const_cast<float *>(values));
        memory to(wanted, cpu);
        reorder(from, to).execute(queue, from, to);
        queue.wait();
        return to;
    }

    memory zeros(const memory::desc &desc) {
        memory one(desc, cpu);
        std::memset(one.get_data_handle(), 0, desc.get_size());
        return one;
    }
};

memory::desc plain(const dims &sizes, type kind, tag format) { return memory::desc(sizes, kind, format); }

}  // namespace

extern "C" {

void layer_free(void *layer) { delete static_cast<Layer *>(layer); }

// weight_ih (4H, I), weight_hh (4H, H), bias (4H), x (T, B, I), dy (T, B, H). NULL if oneDNN has no such primitive.
void *layer_new(int64_t batch, int64_t steps, int64_t inputs, int64_t hidden, int training, int narrow, int threads,
                const float *weight_ih, const float *weight_hh, const float *bias, const float *x, const float *dy) {
    try {
        auto one = std::make_unique<Layer>();
        one->threads = threads;
        one->training = training;
        omp_set_num_threads(threads);
        const type operand = narrow ? type::bf16 : type::f32;
        const dims x_sizes{steps, batch, inputs}, y_sizes{steps, batch, hidden}, ih{1, 1, inputs, 4, hidden},
            hh{1, 1, hidden, 4, hidden}, b{1, 1, 4, hidden}, state{1, 1, batch, hidden};
        const memory::desc none, x_desc = plain(x_sizes, operand, tag::tnc), y_desc = plain(y_sizes, operand, tag::tnc),
            h_desc = plain(state, operand, tag::ldnc), c_desc = plain(state, type::f32, tag::ldnc),
            b_desc = plain(b, type::f32, tag::ldgo),
            any_ih = plain(ih, operand, tag::any), any_hh = plain(hh, operand, tag::any);
        const auto kind = training ? prop_kind::forward_training : prop_kind::forward_inference;
        const auto direction = rnn_direction::unidirectional_left2right;
        lstm_forward::primitive_desc forward(one->cpu, kind, direction, x_desc, h_desc, c_desc, any_ih, any_hh,
                                             b_desc, y_desc, none, none);
        // Rows of the given weights are (gate, unit), columns inputs: gates, then units, then inputs in memory.
        const memory::desc given_ih = plain(ih, type::f32, tag::ldgoi), given_hh = plain(hh, type::f32, tag::ldgoi);
        memory x_memory = one->filled(x_desc, x, plain(x_sizes, type::f32, tag::tnc)), y_memory = one->zeros(y_desc);
        memory bias_memory = one->filled(b_desc, bias, b_desc), h0 = one->zeros(h_desc), c0 = one->zeros(c_desc);
        one->forward_arguments = {{DNNL_ARG_SRC_LAYER, x_memory},
                                  {DNNL_ARG_SRC_ITER, h0},
                                  {DNNL_ARG_SRC_ITER_C, c0},
                                  {DNNL_ARG_WEIGHTS_LAYER, one->filled(forward.weights_layer_desc(), weight_ih, given_ih)},
                                  {DNNL_ARG_WEIGHTS_ITER, one->filled(forward.weights_iter_desc(), weight_hh, given_hh)},
                                  {DNNL_ARG_BIAS, bias_memory},
                                  {DNNL_ARG_DST_LAYER, y_memory}};
        one->forward = lstm_forward(forward);
        one->answers.emplace_back(y_memory, memory(plain(y_sizes, type::f32, tag::tnc), one->cpu));
        if (!training) return one.release();

        memory saved(forward.workspace_desc(), one->cpu);
        one->forward_arguments[DNNL_ARG_WORKSPACE] = saved;
        const memory::desc dx_desc = plain(x_sizes, type::f32, tag::tnc), dy_desc = plain(y_sizes, type::f32, tag::tnc),
            any_dih = plain(ih, type::f32, tag::any), any_dhh = plain(hh, type::f32, tag::any);
        lstm_backward::primitive_desc backward(one->cpu, prop_kind::backward, direction, x_desc, h_desc, c_desc, any_ih,
                                               any_hh, b_desc, y_desc, none, none, dx_desc, c_desc, c_desc, any_dih,
                                               any_dhh, b_desc, dy_desc, none, none, forward);
        memory dx(dx_desc, one->cpu), dih = one->zeros(backward.diff_weights_layer_desc()),
            dhh = one->zeros(backward.diff_weights_iter_desc()), db = one->zeros(b_desc);
        one->backward_arguments = {
            {DNNL_ARG_SRC_LAYER, x_memory},
            {DNNL_ARG_SRC_ITER, h0},
            {DNNL_ARG_SRC_ITER_C, c0},
            {DNNL_ARG_WEIGHTS_LAYER, one->filled(backward.weights_layer_desc(), weight_ih, given_ih)},
            {DNNL_ARG_WEIGHTS_ITER, one->filled(backward.weights_iter_desc(), weight_hh, given_hh)},
            {DNNL_ARG_BIAS, bias_memory},
            {DNNL_ARG_DST_LAYER, y_memory},
            {DNNL_ARG_WORKSPACE, saved},
            {DNNL_ARG_DIFF_DST_LAYER, one->filled(dy_desc, dy, dy_desc)},
            {DNNL_ARG_DIFF_SRC_LAYER, dx},
            {DNNL_ARG_DIFF_SRC_ITER, memory(c_desc, one->cpu)},
            {DNNL_ARG_DIFF_SRC_ITER_C, memory(c_desc, one->cpu)},
            {DNNL_ARG_DIFF_WEIGHTS_LAYER, dih},
            {DNNL_ARG_DIFF_WEIGHTS_ITER, dhh},
            {DNNL_ARG_DIFF_BIAS, db}};
        one->backward = lstm_backward(backward);
        one->sums = {dih, dhh, db};
        one->answers.emplace_back(dx, memory(dx_desc, one->cpu));
        one->answers.emplace_back(dih, memory(given_ih, one->cpu));
        one->answers.emplace_back(dhh, memory(given_hh, one->cpu));
        one->answers.emplace_back(db, memory(b_desc, one->cpu));
        return one.release();
    } catch (const dnnl::error &) {
        return nullptr;
    }
}

// Forward, and in training backward to the gradients of all weights and of x. Returns 0, or 1 after an error.
int layer_run(void *layer) {
    auto &one = *static_cast<Layer *>(layer);
    try {
        omp_set_num_threads(one.threads);
        one.forward.execute(one.queue, one.forward_arguments);
        if (one.training) {
            for (auto &sum : one.sums) std::memset(sum.get_data_handle(), 0, sum.get_desc().get_size());
            one.backward.execute(one.queue, one.backward_arguments);
        }
        one.queue.wait();
        return 0;
    } catch (const dnnl::error &) {
        return 1;
    }
}

// Answer 0 is y; in training 1 is dx, 2 dweight_ih, 3 dweight_hh, 4 dbias. In float32, in the layouts of layer_new.
const float *layer_read(void *layer, int number) {
    auto &one = *static_cast<Layer *>(layer);
    auto &[from, to] = one.answers[static_cast<size_t>(number)];
    reorder(from, to).execute(one.queue, from, to);
    one.queue.wait();
    return static_cast<const float *>(to.get_data_handle());
}

const char *library_version(void) {
    static char text[32];
    const auto *version = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", version->major, version->minor, version->patch);
    return text;
}
}
