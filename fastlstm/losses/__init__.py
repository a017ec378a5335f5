"""Losses: value and gradient of a batch.

Shapes: `out` is (batch, features) or, with one output per step, (batch, time, features); float32 or float64. A
*position* is one sequence in the first case and one step of one sequence in the second. Every loss is a weighted mean
over the positions that count, ``sum(weight * loss) / sum(weight)``, as in torch.nn.CrossEntropyLoss with weights.

Padding, labels of -100 and positions of weight 0 do not count: their gradient is exactly zero. The `target` of such a
position is never used, nor is the `out` of padding; so a missing target may be NaN with weight 0. Where only some of
the values of a position are missing, the losses of values take a weight for each value, of the shape of `out`.

Totals are accumulated in float64. The gradient is written to a buffer that the loss object owns and reuses in the next
call, so one loss object serves one training loop at a time.
"""

from __future__ import annotations

from .base import Head as Head
from .base import Loss as Loss
from .batch import Batch as Batch
from .cross_entropy import CrossEntropy as CrossEntropy
from .ctc import CTC as CTC
from .decoding import ctc_decode as ctc_decode
from .elementwise import MAE as MAE
from .elementwise import MSE as MSE
from .elementwise import BinaryCrossEntropy as BinaryCrossEntropy
from .elementwise import Huber as Huber
from .elementwise import Quantile as Quantile
from .registry import get_loss as get_loss
from .registry import is_known as is_known
