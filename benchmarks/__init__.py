"""Benchmark fastlstm against the NumPy reference, PyTorch and ONNX Runtime.

    pip install '.[bench]'
    python -m benchmarks                      # all groups: results.md, results.json, results.png
    python -m benchmarks --quick              # the same in two minutes, with fewer shapes
    python -m benchmarks compare OLD NEW      # two builds of fastlstm: has a case become slower?
    python -m benchmarks sweep --count 50     # random shapes: where is a peer faster?
    python -m benchmarks ucr Coffee Beef      # accuracy of LSTMClassifier on sets of the UCR archive
    python -m benchmarks estimators           # its training time on ECG5000 beside skorch and Keras
    python -m benchmarks forecast             # errors of Forecaster beside naive forecasts and LightGBM
    python -m benchmarks paper1997            # the experiments of Hochreiter & Schmidhuber (1997), and later tasks

Every case is verified before it is timed: all peers get the same weights and data, and their answers (outputs, and in
training all gradients, that of the input, and the norm after clipping) must agree with the NumPy reference in float64.
A wrong answer ends the run. `benchmarks.timing` describes how the timing is kept fair, and `benchmarks.groups` what is
measured.
"""
