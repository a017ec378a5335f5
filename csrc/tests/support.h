/* support.h - counts of checks, random numbers and memory of the tests of kernels, cells and networks.
 *
 * Each test is a program of its own, so the variables are its own too.
 */
#ifndef FASTLSTM_TESTS_SUPPORT_H
#define FASTLSTM_TESTS_SUPPORT_H

#include "../fastlstm.h"

#include <stdio.h>
#include <stdlib.h>

static int failures, checks;
static char where[300]; /* the case under test, for messages */
static uint64_t random_state = 1;

static void expect(int ok, const char *what)
{
    ++checks;
    if (!ok) {
        ++failures;
        printf("FAILED %s: %s\n", where, what);
    }
}

/* The generator is linear congruential, with the multiplier of Knuth's MMIX: the same numbers on every machine. */
static double uniform(double low, double high)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (double)(random_state >> 11) / 9007199254740992.0;
}

/* Memory for vectors. Sizes of workspaces are multiples of 64, so that it ends where they end. */
static inline void *allocate(size_t bytes)
{
    void *memory = aligned_alloc(64, bytes ? (bytes + 63) / 64 * 64 : 64);
    if (!memory) {
        puts("out of memory");
        exit(2);
    }
    return memory;
}

static size_t size_of(fl_dtype dtype)
{
    return dtype == FL_F32 ? sizeof(float) : sizeof(double);
}

#endif
