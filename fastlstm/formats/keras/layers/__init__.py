"""How each layer of Keras is read: the layers that replace it, and its weights in this package's layout.

The functions that read a layer are registered under Keras's names of its class by `registry.reader`.
"""
