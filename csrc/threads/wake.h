/* wake.h - how many threads some work is worth, given that a team that sleeps must be woken. */
#ifndef FASTLSTM_WAKE_H
#define FASTLSTM_WAKE_H

#include <stdint.h>

/* n_threads, or fewer if `work` (multiply-adds, or elements touched) is too little to be worth waking a thread. */
int fl_worthwhile_threads(int n_threads, double work);

/* Whether work that begins at time `now` should go to the team, even if that must be woken. */
int fl_worth_waking(double work, int64_t now);

/* Whether the team still spins at time `now`, so that work reaches it at once. */
int fl_team_is_awake(int64_t now);

/* Note that the team finished some work at time `now`. */
void fl_team_rests(int64_t now);

/* Note that a call ended at time `now`. Whatever its speed, the next one then counts as its successor: estimated from
 * its multiply-adds, work whose weights come from the third-level cache would seem to have ended long ago, and a series
 * of such calls would never wake the team (1 row, 35 steps, hidden 363, 2 threads: 1.7 ms rather than .5). */
void fl_single_thread_rests(int64_t now);

#endif
