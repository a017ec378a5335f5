/* crowd.h - whether other programs keep the processors so busy that a team of threads loses by it. */
#ifndef FASTLSTM_CROWD_H
#define FASTLSTM_CROWD_H

#include <stdatomic.h>
#include <stdint.h>

/* Whether work should be done on one thread for the time being. */
int fl_crowded(int64_t now);

/* Whether the team that starts now should be looked at: its threads then add their times to a fl_crowd_look. */
int fl_crowd_look_due(int64_t now);

typedef struct {
    int64_t start;           /* of the team */
    _Atomic int64_t used;    /* processor time of all its threads together, in ns */
} fl_crowd_look;

/* Processor time of the calling thread in ns; 0 where nobody tells. */
int64_t fl_thread_time(void);

/* Draws the conclusion from a team that has ended. */
void fl_crowd_looked(const fl_crowd_look *look, int64_t now);

#endif
