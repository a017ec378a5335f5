"""Fingerprint of a data set: shape, type and a digest of every valid value."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import Cases
from .label_sequences import LabelSequences
from .sequences import ArraySequences, Sequences

__all__ = ["fingerprints"]

Fingerprint = dict[str, Any]


def fingerprints(cases: Cases) -> dict[str, Fingerprint]:
    """Compute the fingerprints of ``"X"``, ``"y"`` and, if there is one, ``"sample_weight"``, fit for JSON.

    All data are read once, in blocks. Values that training never reads, such as padding, are left out. Overlapping
    windows of one series are read as that series, so their fingerprint differs from that of a copy of the windows.
    """
    targets = cases.targets
    of_y = _of_labels(targets) if isinstance(targets, LabelSequences) else _of_sequences(targets.data)
    found = {"X": _of_sequences(cases.inputs), "y": of_y}
    if cases.weight is not None:
        weight, lengths = cases.weight, cases.inputs.lengths
        if weight.ndim == 2 and lengths is not None:
            weight = np.where(np.arange(weight.shape[1]) < lengths[:, None], weight, 0.0)
        found["sample_weight"] = {
            "shape": list(weight.shape),
            "dtype": "float64",
            "sha256": _sha256(np.ascontiguousarray(weight).data).hexdigest(),
        }
    return found


def _sha256(data: Any = b"") -> Any:
    import hashlib  # here, because `import fastlstm` should not load OpenSSL

    return hashlib.sha256(data)


def _of_labels(labels: LabelSequences) -> Fingerprint:
    digest = _sha256(np.ascontiguousarray(labels.numbers, "<i8").data)
    for block in labels.blocks():
        digest.update(np.ascontiguousarray(block, "<i8").data)
    return {"shape": [len(labels)], "dtype": "int64", "sha256": digest.hexdigest()}


def _of_sequences(data: Sequences) -> Fingerprint:
    digest = _sha256()
    dtype = None
    for values, _ in data.blocks():
        native = values.dtype.newbyteorder("=")
        dtype = native if dtype is None else np.promote_types(dtype, native)
        if values.size:
            digest.update(np.ascontiguousarray(values, native).data)
    if data.lengths is not None:
        digest.update(np.ascontiguousarray(data.lengths, "<i8").data)
    found: Fingerprint = {"shape": [len(data), data.time, data.features], "dtype": str(dtype)}
    if isinstance(data, ArraySequences) and data.hop is not None:
        found["windows_every"] = data.hop
        if data.rows is not None:
            digest.update(np.ascontiguousarray(data.rows, "<i8").data)
    return {**found, "sha256": digest.hexdigest()}
