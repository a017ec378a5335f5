"""Inference: prediction, evaluation, streams, generation."""
