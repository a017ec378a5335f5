/* calls.h - how many calls compute at the same time. */
#ifndef FASTLSTM_CALLS_H
#define FASTLSTM_CALLS_H

/* Note that a call begins whose work (multiply-adds) could be divided, or that it ends. Returns what the end needs. */
int fl_call_begins(double work);
void fl_call_ends(int counted);

/* Forget the calls of other threads, in a forked child that does not have them. */
void fl_calls_forget(void);

#endif
