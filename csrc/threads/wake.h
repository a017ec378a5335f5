/* wake.h - how many threads some work is worth, given that a team that sleeps must be woken. */
#ifndef FASTLSTM_WAKE_H
#define FASTLSTM_WAKE_H

#include <stdint.h>

/* n_threads, or fewer if `work` (multiply-adds, or elements touched) is too little to be worth waking a thread. */
int fl_worthwhile_threads(int n_threads, double work);

/* Whether the team still spins at time `now`, so that work reaches it at once. */
int fl_team_is_awake(int64_t now);

/* Note that the team finished some work at time `now`. */
void fl_team_rests(int64_t now);

#endif
