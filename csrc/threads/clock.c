/* clock.c - the two clocks that threads are judged by. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* clock_gettime under -std=c11 */
#endif
#include "clock.h"

#include <time.h>

int64_t fl_now(void)
{
#if defined(CLOCK_MONOTONIC)
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) == 0)
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#endif
    return 0;
}

int64_t fl_thread_time(void)
{
#if defined(CLOCK_THREAD_CPUTIME_ID)
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#endif
    return 0;
}
