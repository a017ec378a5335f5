/* clock.h - the two clocks that threads are judged by. Both give nanoseconds, and 0 where the system has no such
 * clock. */
#ifndef FASTLSTM_CLOCK_H
#define FASTLSTM_CLOCK_H

#include <stdint.h>

/* Time of a clock that never goes back. */
int64_t fl_now(void);

/* Processor time that the calling thread has used. */
int64_t fl_thread_time(void);

#endif
