"""Fingerprint of a data set: shape, type and a digest of every valid value."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import Cases
from .dataset import DatasetCases
from .label_sequences import LabelSequences
from .sequences import ArraySequences, Sequences

__all__ = ["fingerprints"]

Fingerprint = dict[str, Any]


def fingerprints(cases: Cases) -> dict[str, Fingerprint]:
    """Compute the fingerprints of ``"X"``, ``"y"`` and, if there is one, ``"sample_weight"``, fit for JSON.

    All data are read once, in blocks. Values that training never reads, such as padding, are left out. Overlapping
    windows of one series are read as that series, so their fingerprint differs from that of a copy of the windows.

    Of an object that gives one case at a time there is one fingerprint, ``"cases"``: the number of cases, the first and
    the last case, and the object's attribute ``version`` if it has one. Not all cases are read.
    """
    if isinstance(cases, DatasetCases):
        return {"cases": _of_dataset(cases)}
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


def _of_dataset(cases: DatasetCases) -> Fingerprint:
    reader, version = cases.reader, getattr(cases.reader.source, "version", None)
    if version is not None and not isinstance(version, (str, int)):
        raise TypeError(
            f"the attribute version of {reader.name} is a {type(version).__name__}, expected a str or an int that "
            "changes with the data"
        )
    digest = _sha256()
    for case in (reader.first, reader.read(len(reader) - 1)):
        for part in case:
            if part is None or isinstance(part, str):
                digest.update(repr(part).encode())
                continue
            array = np.asarray(part)
            digest.update(repr((array.shape, array.dtype.newbyteorder("=").str)).encode())
            if array.dtype.kind == "U":
                digest.update(repr(array.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("=")).data)
    return {
        "shape": [len(reader), reader.features],
        "dtype": str(reader.first.x.dtype.newbyteorder("=")),
        "version": version,
        "sha256": digest.hexdigest(),
    }


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
