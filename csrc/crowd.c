/* crowd.c - whether other programs keep the processors so busy that a team of threads loses by it.
 *
 * Where several processes each start as many threads as there are processors, the threads of a team run at different times,
 * and everybody waits for the one that has just been put aside (8 processes with 2 threads each on 2 processors: 1.9 times the
 * time of one thread each). Threads that are not there to be waited for cost nothing, so a team in a crowd does its work on
 * one. The bits do not depend on it.
 *
 * A look at a team compares how long it took with the processor time of all its threads. With processors of its own the team
 * takes less than that, however uneven the shares are: the work of all threads one after the other would take as long. A team
 * that takes LOSS times as long would have done better as one thread that is not disturbed. Two processes that share the processors
 * come to 1, whatever spins for a while after its work to less.
 *
 * Looks are made now and then (EVERY), since asking for the processor time takes half a microsecond, and taken together until they
 * have seen ENOUGH. After a bad verdict there are no teams for a while: LEAST_REST at first, twice that each time that the next
 * team finds it crowded again, up to MOST_REST.
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* clock_gettime under -std=c11 */
#endif
#include "crowd.h"

#include <time.h>

/* In ns. */
#define EVERY 1000000
#define ENOUGH 5000000
#define WAKING 100000 /* what a thread may take to come out of its sleep; once for each look */
#define LEAST_REST 20000000
#define MOST_REST 1280000000
#define LOSS 1.5

/* Threads that start teams at the same time all write here, each a whole number; that a sum may then miss a look does no harm. */
static _Atomic int64_t alone_till, next_look, rest;
static _Atomic int64_t took, used; /* by the teams that were looked at since the last verdict */

int64_t fl_thread_time(void)
{
#if defined(CLOCK_THREAD_CPUTIME_ID)
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#endif
    return 0;
}

int fl_crowded(int64_t now)
{
    return now < atomic_load_explicit(&alone_till, memory_order_relaxed);
}

int fl_crowd_look_due(int64_t now)
{
    return now >= atomic_load_explicit(&next_look, memory_order_relaxed);
}

void fl_crowd_looked(const fl_crowd_look *look, int64_t now)
{
    const int64_t of_team = atomic_load_explicit(&look->used, memory_order_relaxed);
    atomic_store_explicit(&next_look, now + EVERY, memory_order_relaxed);
    if (of_team <= 0 || now <= look->start)
        return;
    const int64_t wall = atomic_fetch_add_explicit(&took, now - look->start, memory_order_relaxed) + now - look->start;
    const int64_t cpu = atomic_fetch_add_explicit(&used, of_team + WAKING, memory_order_relaxed) + of_team + WAKING;
    if (wall < ENOUGH)
        return;
    atomic_store_explicit(&took, 0, memory_order_relaxed);
    atomic_store_explicit(&used, 0, memory_order_relaxed);
    int64_t pause = 0;
    if ((double)wall > LOSS * (double)cpu) {
        pause = 2 * atomic_load_explicit(&rest, memory_order_relaxed);
        pause = pause < LEAST_REST ? LEAST_REST : pause > MOST_REST ? MOST_REST : pause;
        atomic_store_explicit(&alone_till, now + pause, memory_order_relaxed);
    }
    atomic_store_explicit(&rest, pause, memory_order_relaxed);
}
