"""Models at work: prediction, evaluation, streams, generation."""
