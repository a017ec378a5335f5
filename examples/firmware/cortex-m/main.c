/* main.c - the self-test of a model, and the instructions of a step under `qemu -icount shift=0`.
 *
 * The Makefile gives the header of the model (MODEL_H) and its prefix in small and in capital letters (MODEL, CAPITALS).
 */
#include MODEL_H

#include "start.h"

#define JOIN(a, b) a##b
#define EXPAND(a, b) JOIN(a, b)
#define OF(name) EXPAND(MODEL, name)

enum { STEPS = 10, LOOPS = 100000 };

static OF(_state) state;

/* The instructions of a piece of work, given its ticks and those of 2 LOOPS instructions. */
static uint32_t instructions(uint32_t ticks_of_work, uint32_t ticks_of_loop)
{
    return (uint32_t)((uint64_t)ticks_of_work * 2 * LOOPS / ticks_of_loop);
}

static uint32_t time_loop(void)
{
    const uint32_t before = (ticks_start(), ticks());
    __asm__ volatile(".syntax unified\n1: subs %0, %0, #1\n bne 1b" : : "l"(LOOPS) : "cc");
    return ticks() - before;
}

int main(void)
{
    static float y[EXPAND(CAPITALS, _OUTPUTS)];
    static X_TYPE x[EXPAND(CAPITALS, _INPUTS)];
    uint32_t before, loop, step;
    const int failed = OF(_check)(&state);
    print("self-test ");
    print_number((uint32_t)failed);
    print(failed == 0 ? ": every bit as on the server\n" : ": the first step that differs\n");
    if (failed != 0)
        return 1;
    loop = time_loop();
    OF(_init)(&state);
    ticks_start();
    before = ticks();
    for (int n = 0; n < STEPS; ++n)
        (void)OF(_step)(&state, x, y);
    step = ticks() - before;
    print("instructions of a step ");
    print_number(instructions(step, loop) / STEPS);
    print("\n");
    return 0;
}
