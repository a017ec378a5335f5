/* calls.c - how many calls compute at the same time.
 *
 * Where several threads of a program call at the same time, as those of a server do, each of their calls would use all
 * processors, and the teams would wait for each other's threads (2 callers, 32 rows, 100 steps, hidden 64, on 2
 * processors: half the rate of calls with one thread each). So the caller of this library divides its threads by
 * fl_calls_at_once(). A call knows of those that compute at this moment. As two callers also prepare their calls, and
 * then seem to be alone, a number that was seen holds for REMEMBERED.
 */
#include "calls.h"
#include "../fastlstm.h"
#include "clock.h"
#include "wake.h"

#include <stdatomic.h>

#define LEAST_WORK 200e3    /* multiply-adds; less work is never divided (wake.c) */
#define REMEMBERED 10000000 /* ns */

static atomic_int in_flight, seen;
static _Atomic int64_t seen_until;

int fl_call_begins(double work)
{
    if (work < LEAST_WORK)
        return 0;
    const int calls = atomic_fetch_add_explicit(&in_flight, 1, memory_order_relaxed) + 1;
    if (calls > 1) {
        const int64_t now = fl_now();
        if (calls >= atomic_load_explicit(&seen, memory_order_relaxed) ||
            now >= atomic_load_explicit(&seen_until, memory_order_relaxed)) {
            atomic_store_explicit(&seen, calls, memory_order_relaxed);
            atomic_store_explicit(&seen_until, now + REMEMBERED, memory_order_relaxed);
        }
    }
    return 1;
}

void fl_call_ends(int counted)
{
    if (!counted)
        return;
    atomic_fetch_sub_explicit(&in_flight, 1, memory_order_relaxed);
    fl_single_thread_rests(fl_now());
}

void fl_calls_forget(void)
{
    atomic_store_explicit(&in_flight, 0, memory_order_relaxed);
    atomic_store_explicit(&seen_until, 0, memory_order_relaxed);
}

int fl_calls_at_once(void)
{
    const int others = atomic_load_explicit(&in_flight, memory_order_relaxed);
    const int remembered = atomic_load_explicit(&seen, memory_order_relaxed);
    if (others + 1 >= remembered || fl_now() >= atomic_load_explicit(&seen_until, memory_order_relaxed))
        return others + 1;
    return remembered;
}
