/* wait.h - how a thread waits for others in the middle of some work. */
#ifndef FASTLSTM_WAIT_H
#define FASTLSTM_WAIT_H

#include <stdatomic.h>

/* A barrier for waits of a microsecond between steps of a loop. It is zero before the team starts. */
typedef struct {
    _Atomic unsigned arrived, asleep;
} fl_barrier;

/* Wait until all threads of the team have called this. `round` is each thread's own count, zero at first. A thread
 * spins for a few microseconds, then yields its processor, then sleeps, so that a team makes progress even where there
 * are more threads than processors. */
void fl_wait(fl_barrier *barrier, unsigned *round, int team);

/* How often a thread checks, with fl_relax() between them, before it gives up its processor: for some 20
 * microseconds. */
enum { FL_SPINS = 2000 };

static inline void fl_relax(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
}

#endif
