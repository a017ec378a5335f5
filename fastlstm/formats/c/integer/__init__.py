"""Models in integers: weights of 8 bits, activations of 16, sums that are exact.

A number v of a tensor with q fractional bits stands for v 2^-q. The arithmetic has no rounding but those written here,
so that the emulation in NumPy and the C have the same integers:

- ``rounded(v, n)``: v 2^-n, rounded to the nearest integer, halves up. (Rounding down, as a shift alone does, pulls a
  state to one side with every step.)
- a product of weights: sum_k w[k] x[k], exactly; then ``rounded(sum * multiplier, shift) + bias``, where multiplier
  2^-shift holds the scale of the row of weights
- net inputs of gates: 20 fractional bits; gates: 24; h: 15; the cell state: 32 bits, as many of them fractional as the
  calibration leaves, with two bits to spare
- tanh by cubic interpolation in a table of 129 numbers with 30 fractional bits, to about 2^-22; sigmoid(x) = (1 +
  tanh(x / 2)) / 2
- what does not fit is clipped to the largest number
"""
