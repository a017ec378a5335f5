/* crew.h - the team of a thread that has come through fork(): threads without OpenMP. */
#ifndef FASTLSTM_CREW_H
#define FASTLSTM_CREW_H

#include "parallel.h"

/* Runs body for each part of up to n_threads, on the calling thread and on those of its crew, and waits for all; 0 if the
 * calling thread has come through no fork and OpenMP can be trusted with it. */
int fl_crew_run(int n_threads, fl_body body, void *context);

#endif
