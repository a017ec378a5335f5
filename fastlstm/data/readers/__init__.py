"""Readers of files in which time series are published."""
