"""Training: the loop, its settings, its state, callbacks."""
