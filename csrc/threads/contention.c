/* contention.c - whether other programs keep the processors so busy that a team of threads is slower than one thread.
 *
 * Where several processes each start as many threads as there are processors, the threads of a team run at different
 * times, and all wait for the one that the system has just suspended (8 processes with 2 threads each on 2 processors:
 * 1.9 times the time of one thread each). A team of one waits for nobody, so under contention work is done on one
 * thread. The bits do not depend on it.
 *
 * A sample of a team compares the time that it took with the processor time of all its threads. With processors of its
 * own the team takes less time than that, however uneven the shares are: the work of all threads one after the other
 * would take as long. A team that takes LOSS times as long would have been faster on one undisturbed thread. Two
 * processes that share the processors have a ratio of 1, and less if a thread spins for a while after its work.
 *
 * Samples are taken every SAMPLE_INTERVAL, since asking for the processor time takes half a microsecond, and are added
 * up until they cover ENOUGH. After a bad verdict work is done on one thread for a while: LEAST_PAUSE at first, twice
 * that each time that the next team finds contention again, up to MOST_PAUSE.
 */
#include "contention.h"

/* In ns. */
#define SAMPLE_INTERVAL 1000000
#define ENOUGH 5000000
#define WAKE_TIME 100000 /* that a thread may take to come out of its sleep; counted once for each sample */
#define LEAST_PAUSE 20000000
#define MOST_PAUSE 1280000000
#define LOSS 1.5

/* Threads that start teams at the same time all write here, each a whole number; a sum may then miss a sample, which
 * does no harm. */
static _Atomic int64_t single_thread_until, next_sample, last_pause;
static _Atomic int64_t wall_time, processor_time; /* of the teams that were sampled since the last verdict */

int fl_contended(int64_t now)
{
    return now < atomic_load_explicit(&single_thread_until, memory_order_relaxed);
}

int fl_contention_sample_due(int64_t now)
{
    return now >= atomic_load_explicit(&next_sample, memory_order_relaxed);
}

void fl_contention_add(const fl_contention_sample *sample, int64_t now)
{
    const int64_t used = atomic_load_explicit(&sample->used, memory_order_relaxed), took = now - sample->start;
    atomic_store_explicit(&next_sample, now + SAMPLE_INTERVAL, memory_order_relaxed);
    if (used <= 0 || took <= 0)
        return;
    const int64_t wall = atomic_fetch_add_explicit(&wall_time, took, memory_order_relaxed) + took;
    const int64_t cpu =
        atomic_fetch_add_explicit(&processor_time, used + WAKE_TIME, memory_order_relaxed) + used + WAKE_TIME;
    if (wall < ENOUGH)
        return;
    atomic_store_explicit(&wall_time, 0, memory_order_relaxed);
    atomic_store_explicit(&processor_time, 0, memory_order_relaxed);
    int64_t pause = 0;
    if ((double)wall > LOSS * (double)cpu) {
        pause = 2 * atomic_load_explicit(&last_pause, memory_order_relaxed);
        pause = pause < LEAST_PAUSE ? LEAST_PAUSE : pause > MOST_PAUSE ? MOST_PAUSE : pause;
        atomic_store_explicit(&single_thread_until, now + pause, memory_order_relaxed);
    }
    atomic_store_explicit(&last_pause, pause, memory_order_relaxed);
}
