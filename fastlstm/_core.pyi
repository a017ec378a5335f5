"""Types of the compiled extension; ``_core.pyx`` and ``csrc/fastlstm.h`` say what its functions do."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from .cell import Cell, CellWeights

Array = npt.NDArray[Any]

def isa() -> str: ...
def available_isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def fused() -> bool: ...
def total(x: Array, weights: Array | None = None) -> float: ...
def row_sums(x: Array, sums: Array) -> None: ...
def column_sums(x: Array, center: Array | None, sums: Array) -> None: ...
def exp(x: Array, y: Array) -> None: ...
def log(x: Array, y: Array) -> None: ...
def power(base: float, n: int) -> float: ...
def cosine(turns: float) -> float: ...
def lanes() -> dict[str, int]: ...
def openmp() -> bool: ...
def openmp_max_threads() -> int: ...
def set_openmp_max_threads(n: int) -> None: ...
def openmp_bound_processors() -> int: ...
def calls_at_once() -> int: ...
def always_wake(always: bool) -> None: ...
def allow_vnni(allow: bool) -> None: ...
def allow_byte_tiles(allow: bool) -> None: ...
def bf16_way() -> str: ...
def choose_bf16(way: str) -> None: ...
def compiler() -> str: ...

class Workspace:
    @property
    def nbytes(self) -> int: ...

class LSTMPass:
    @property
    def nbytes(self) -> int: ...
    def forward(
        self,
        x: Array,
        weight_ih: Array,
        weight_hh: Array,
        bias_ih: Array | None = None,
        bias_hh: Array | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        h0: Array | None = None,
        c0: Array | None = None,
        y: Array | None = None,
        hn: Array | None = None,
        cn: Array | None = None,
        reverse: bool = False,
        training: bool = False,
        recompute_every: int = 0,
        packed: PackedWeights | None = None,
        n_threads: int = 1,
        cell: Cell | None = None,
        cell_weights: CellWeights | None = None,
        seed: int = 0,
        first_row: int = 0,
        bf16: bool = False,
        quantized: bool = False,
        x_limits: Array | None = None,
    ) -> None: ...
    def backward(
        self,
        *,
        dy: Array | None = None,
        dhn: Array | None = None,
        dcn: Array | None = None,
        dx: Array | None = None,
        dx_add: bool = False,
        dweight_ih: Array | None = None,
        dweight_hh: Array | None = None,
        dbias_ih: Array | None = None,
        dbias_hh: Array | None = None,
        dh0: Array | None = None,
        dc0: Array | None = None,
        n_threads: int = 1,
        d_cell_weights: CellWeights | None = None,
    ) -> None: ...

class PackedWeights:
    @property
    def nbytes(self) -> int: ...

class Chain:
    @property
    def description(self) -> Sequence[Any]: ...
    @property
    def dtype_name(self) -> str: ...
    @property
    def one_step(self) -> bool: ...
    @property
    def packed(self) -> PackedWeights: ...
    @property
    def nbytes(self) -> int: ...
    def __init__(
        self,
        stages: Sequence[Any],
        input_size: int,
        dtype: npt.DTypeLike,
        packed: PackedWeights | None = None,
        whole: bool = False,
    ) -> None: ...
    def predict(
        self, x: Any, n_threads: int = 1, lengths: Any = None, most: int = 1048576
    ) -> Array | list[Array] | None: ...

class Stream:
    @property
    def chain(self) -> Chain: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def _series(self) -> int: ...
    @property
    def _threads(self) -> int: ...
    @property
    def _states(self) -> list[tuple[Array, Array]]: ...
    def __init__(self, chain: Chain, batch: int, n_threads: int = 1) -> None: ...
    def _reset(self, rows: Array | None) -> None: ...
    def _take_rows(self, rows: Array, capacity: int) -> None: ...
    def _append(self, count: int) -> None: ...
    def _numbers(self, rows: npt.ArrayLike) -> Array: ...
    def _numeric(self, x: npt.ArrayLike, dtype: str) -> Array: ...
    def _refusal(self, x: Array, position: int) -> str: ...
    def step(self, x: npt.ArrayLike, out: Array | None = None, rows: npt.ArrayLike | None = None) -> Array: ...
    def run(self, x: npt.ArrayLike, out: Array | None = None) -> Array: ...

def same_bytes(a: Array, b: Array) -> bool: ...
def standardize(x: Array, mean: Array, scale: Array, y: Array) -> None: ...
def standardize_missing(x: Array, mean: Array, scale: Array, missing: Array, y: Array) -> None: ...
def unstandardize(x: Array, mean: Array, scale: Array, y: Array) -> None: ...
def dense_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    y: Array,
    workspace: Workspace,
    n_threads: int = 1,
    packed: PackedWeights | None = None,
    quantized: bool = False,
    x_limits: Array | None = None,
) -> None: ...
def dense_backward(
    dy: Array,
    x: Array,
    weight: Array,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
    workspace: Workspace,
    n_threads: int = 1,
) -> None: ...
def conv_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    y: Array,
    workspace: Workspace,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: tuple[int, int] | None = (0, 0),
    lengths: Array | None = None,
    n_threads: int = 1,
    packed: PackedWeights | None = None,
) -> None: ...
def conv_backward(
    dy: Array,
    x: Array,
    weight: Array,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
    workspace: Workspace,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: tuple[int, int] | None = (0, 0),
    lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def batch_norm_statistics(
    x: Array,
    mean: Array,
    variance: Array,
    workspace: Workspace,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    n_threads: int = 1,
) -> int: ...
def batch_norm_forward(
    x: Array, mean: Array, scale: Array, shift: Array, y: Array, *, lengths: Array | None = None, n_threads: int = 1
) -> None: ...
def batch_norm_backward(
    dy: Array,
    x: Array,
    mean: Array,
    scale: Array,
    weight: Array | None,
    count: int,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
    workspace: Workspace,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def layer_norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    y: Array,
    *,
    lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def layer_norm_backward(
    dy: Array,
    x: Array,
    weight: Array | None,
    eps: float,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
    workspace: Workspace,
    *,
    lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def embedding_forward(index: Array, table: Array, out: Array, n_threads: int = 1) -> None: ...
def embedding_backward(index: Array, dout: Array, dtable: Array, n_threads: int = 1) -> None: ...
def dropout(x: Array, y: Array, p: float, seed: int, n_threads: int = 1, *, first_row: int = 0) -> None: ...
def noise(x: Array, y: Array, stddev: float, seed: int, n_threads: int = 1, *, first_row: int = 0) -> None: ...
def random_words(seed: int, first: int, n: int) -> Array: ...
def normals(seed: int, first: int, y: Array) -> None: ...
def philox(seed: int, counter: int) -> tuple[int, int, int, int]: ...
def activation(number: int, alpha: float, beta: float, x: Array, y: Array, n_threads: int = 1) -> None: ...
def activation_backward(
    number: int, alpha: float, beta: float, x: Array, y: Array, dy: Array, dx: Array, n_threads: int = 1
) -> None: ...
def softmax_backward(p: Array, dy: Array, dx: Array, n_threads: int = 1) -> None: ...
def softmax(logits: Array, out: Array, n_threads: int = 1) -> None: ...
def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None,
    dlogits: Array | None,
    losses: Array,
    n_threads: int = 1,
) -> None: ...
def ctc(
    logits: Array,
    labels: Array,
    label_lengths: Array,
    blank: int,
    weights: Array | None,
    dlogits: Array | None,
    losses: Array,
    workspace: Workspace,
    *,
    lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def ctc_beam_search(log_p: Array, blank: int, beam_width: int, workspace: Workspace) -> tuple[Array, float]: ...
def edit_distance(a: Array, b: Array) -> int: ...

POOL_KINDS: dict[str, int]
POOL_COUNTS: int
STAGE_KINDS: dict[str, int]

def pool_forward(
    kind: str,
    x: Array,
    counts: Array,
    sums: Array,
    y: Array,
    *,
    lengths: Array | None = None,
    scores: Array | None = None,
    index: Array | None = None,
    weights: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def pool_backward(
    kind: str,
    x: Array,
    y: Array,
    dy: Array,
    dx: Array | None,
    *,
    lengths: Array | None = None,
    scores: Array | None = None,
    index: Array | None = None,
    weights: Array | None = None,
    dscores: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def window_pool_forward(
    kind: str,
    x: Array,
    y: Array,
    *,
    kernel: int,
    stride: int = 1,
    padding: tuple[int, int] | None = (0, 0),
    count_include_pad: bool = False,
    lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def window_pool_backward(
    kind: str,
    dy: Array,
    x: Array,
    dx: Array,
    *,
    kernel: int,
    stride: int = 1,
    padding: tuple[int, int] | None = (0, 0),
    count_include_pad: bool = False,
    lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def attention_forward(
    query: Array,
    keys: Array,
    values: Array,
    weights: Array,
    y: Array,
    *,
    lengths: Array | None = None,
    query_lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def attention_backward(
    dy: Array,
    query: Array,
    keys: Array,
    values: Array,
    weights: Array,
    dscores: Array,
    dquery: Array,
    dkeys: Array,
    dvalues: Array,
    *,
    lengths: Array | None = None,
    query_lengths: Array | None = None,
    n_threads: int = 1,
) -> None: ...
def sgd_step(
    p: Array,
    g: Array,
    m: Array | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    n_threads: int = 1,
) -> None: ...
def rmsprop_step(
    p: Array,
    g: Array,
    v: Array,
    m: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    n_threads: int = 1,
) -> None: ...
def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    n_threads: int = 1,
) -> None: ...
def grad_norm(g: Array, n_threads: int = 1) -> float: ...
def scale(g: Array, factor: float, n_threads: int = 1) -> None: ...
def clip_value(g: Array, limit: float, n_threads: int = 1) -> None: ...
def first_nonfinite(x: Array) -> int: ...
