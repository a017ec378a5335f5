/* embed.c - a trained model in a C program: weights out of plain arrays, fed step by step.
 *
 *   python examples/embed.py    writes embed_model.h: weights, a series, and what Python answers to it
 *   make -C csrc example        builds the program and runs it (`make check` does, under sanitizers)
 *
 * Or by hand:
 *   make -C csrc
 *   cc -std=c11 -Icsrc examples/embed.c csrc/build/libfastlstm.a -fopenmp -lm -o embed
 *
 * It prints the answers and exits with 1 if they are not Python's, bit for bit.
 */
#include "fastlstm.h"

#include "embed_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory aligned as a network asks for it. */
static void *allocate(size_t bytes)
{
    void *memory = bytes == SIZE_MAX ? NULL : aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

int main(void)
{
    fl_stage stages[] = {
        {.kind = FL_STAGE_STANDARDIZE, .scaling = {.mean = mean, .scale = scale}},
        {.kind = FL_STAGE_LSTM,
         .lstm = {.hidden = HIDDEN,
                  .weight_ih = layer0_weight_ih_l0,
                  .weight_hh = layer0_weight_hh_l0,
                  .bias_ih = layer0_bias_ih_l0,
                  .bias_hh = layer0_bias_hh_l0}},
        {.kind = FL_STAGE_DENSE, .dense = {.output = OUTPUTS, .weight = layer1_weight, .bias = layer1_bias}},
    };
    fl_network network = {
        .dtype = FL_F32,
        .batch = 1,
        .input = FEATURES,
        .stages = stages,
        .count = sizeof stages / sizeof stages[0],
        .n_threads = 1,
    };
    /* The instruction set whose bits are the same on all processors. Without this line the fastest one runs, and the
     * answers differ in their last bits. */
    fl_isa_select("portable");

    void *state = allocate(fl_network_state(&network));
    void *workspace = allocate(fl_network_workspace(&network, 1)); /* for 1 step at a time */
    fl_network_bind(&network, state, workspace, 1);
    fl_network_reset(&network, NULL, 0);

    int wrong = 0;
    for (int t = 0; t < STEPS; ++t) {
        float y[OUTPUTS];
        if (fl_network_run(&network, series + t * FEATURES, 1, y))
            return 1; /* the instruction set has changed since the network was bound */
        printf("step %2d:", t);
        for (int k = 0; k < OUTPUTS; ++k)
            printf(" % .7f", (double)y[k]);
        const int same = !memcmp(y, answers + t * OUTPUTS, sizeof y);
        puts(same ? "" : "  not what Python answers");
        wrong += !same;
    }
    free(workspace);
    free(state);
    return wrong > 0;
}
