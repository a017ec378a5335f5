"""Recognise a chain of layers in a graph by symbolic execution.

The nodes run on symbols instead of values: a known array, a shape with variable sizes, a uniform fill, or the data
with a label for each axis. Exporters write a dozen nodes around an LSTM (to make its zero state, to transpose axes, to
drop the axis of directions); in terms of the symbols these only relabel an axis. An operation that is not understood
raises `symbols.NoChain`; the graph then becomes a single layer, `OnnxGraph`.
"""
