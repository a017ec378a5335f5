"""The mathematics of fastlstm in plain NumPy: the specification that the C kernels are tested against.

Read it together with the papers. Nothing here is optimized; every function takes and returns arrays and has no state.
Shapes use B (batch), T (time), I (input size), H (hidden size). Weights have PyTorch's layout: ``weight_ih`` (4H, I),
``weight_hh`` (4H, H), gates stacked in the order i, f, g, o.

References
----------
.. [1] S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
.. [2] F. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation
       12(10), 2000. (The forget gate; today's LSTM cell.)
.. [3] A. Graves, J. Schmidhuber, "Framewise phoneme classification with bidirectional LSTM", Neural Networks 18, 2005.
       (The full gradient through time; both directions.)
.. [4] N. Srivastava et al., "Dropout", JMLR 15, 2014.
.. [5] J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. (Philox.)
.. [6] D. Kingma, J. Ba, "Adam", ICLR 2015; I. Loshchilov, F. Hutter, "Decoupled weight decay", ICLR 2019.
.. [7] F. Gers, J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000. (Peepholes.)
.. [8] H. Sak, A. Senior, F. Beaufays, "Long short-term memory recurrent neural network architectures for large scale
       acoustic modeling", Interspeech 2014. (Recurrent projection; clipping of the cell.)
.. [9] K. Greff et al., "LSTM: A search space odyssey", arXiv:1503.04069. (Coupled input and forget gates, and a survey
       of the others.)
.. [10] J. Ba, J. Kiros, G. Hinton, "Layer normalization", arXiv:1607.06450, eqs. (20)-(22).
.. [11] S. Semeniuta, A. Severyn, E. Barth, "Recurrent dropout without memory loss", COLING 2016.
.. [12] Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS
        2016.
.. [13] D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017.
.. [14] ONNX operator LSTM, onnx.ai/onnx/operators/onnx__LSTM.html. (Choice of activations; clipping of their inputs.)
.. [15] A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist temporal classification", ICML 2006.
.. [16] S. Ioffe, C. Szegedy, "Batch normalization", arXiv:1502.03167.
.. [17] M. Luong, H. Pham, C. Manning, "Effective approaches to attention-based neural machine translation", EMNLP 2015.
"""

from .attention import attention_backward, attention_forward
from .bfloat16 import bfloat16
from .cells import any_cell_backward, any_cell_forward, layer_norm, layer_norm_backward
from .ctc import ctc
from .layers import (
    concat_pool_backward,
    concat_pool_forward,
    conv_backward,
    conv_forward,
    conv_padding,
    dense_backward,
    dense_forward,
    deviations_backward,
    deviations_forward,
    differences_backward,
    differences_forward,
    magnitude_backward,
    magnitude_forward,
    pad_backward,
    pad_forward,
    repeat_vector_backward,
    repeat_vector_forward,
    softmax,
    softmax_cross_entropy,
    stack_steps_backward,
    stack_steps_forward,
    standardize,
)
from .lstm import LSTMTrace, cell_backward, cell_forward, lstm_backward, lstm_forward, sigmoid
from .normalization import batch_norm_backward, batch_norm_forward, feature_norm_backward, feature_norm_forward
from .optimizers import adam, rmsprop, sgd
from .quantized import quantized_inputs, quantized_lstm_forward, quantized_product, quantized_weight
from .random import dropout_mask, philox4x32
from .windows import window_pool_backward, window_pool_forward

__all__ = [
    "LSTMTrace",
    "adam",
    "any_cell_backward",
    "any_cell_forward",
    "attention_backward",
    "attention_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "bfloat16",
    "cell_backward",
    "cell_forward",
    "concat_pool_backward",
    "concat_pool_forward",
    "conv_backward",
    "conv_forward",
    "conv_padding",
    "ctc",
    "dense_backward",
    "dense_forward",
    "deviations_backward",
    "deviations_forward",
    "differences_backward",
    "differences_forward",
    "dropout_mask",
    "feature_norm_backward",
    "feature_norm_forward",
    "layer_norm",
    "layer_norm_backward",
    "lstm_backward",
    "lstm_forward",
    "magnitude_backward",
    "magnitude_forward",
    "pad_backward",
    "pad_forward",
    "philox4x32",
    "quantized_inputs",
    "quantized_lstm_forward",
    "quantized_product",
    "quantized_weight",
    "repeat_vector_backward",
    "repeat_vector_forward",
    "rmsprop",
    "sgd",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "stack_steps_backward",
    "stack_steps_forward",
    "standardize",
    "window_pool_backward",
    "window_pool_forward",
]
