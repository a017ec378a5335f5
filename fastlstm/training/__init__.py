"""Training: settings, loop, state of a run, callbacks."""
