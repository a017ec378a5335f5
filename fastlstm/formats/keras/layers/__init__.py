"""Readers of Keras layers: the layers that replace each one, and its weights in this package's layout.

The functions that read a layer are registered under Keras's names of its class by `registry.reader`.
"""
