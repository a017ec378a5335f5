"""Objects that look like those of packages that may not be installed here."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

__all__ = ["NA", "CsrMatrix", "DataFrame", "DataFrameGroupBy", "LazyFrame", "PackedSequence", "Tensor"]


class NAType:
    """The missing value of pandas."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __float__(self) -> float:
        raise TypeError("float() argument must be a string or a real number, not 'NAType'")


NA = NAType()


class DataFrame:
    """A table of pandas."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    @property
    def columns(self) -> list[str]:
        return list(self._columns)

    @property
    def shape(self) -> tuple[int, int]:
        return self.to_numpy().shape  # type: ignore[return-value]

    def to_numpy(self) -> np.ndarray:
        return np.column_stack([np.asarray(column) for column in self._columns.values()])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.to_numpy()

    def __getitem__(self, names: list[str]) -> DataFrame:
        return DataFrame({name: self._columns[name] for name in names})

    def drop(self, columns: Any) -> DataFrame:
        gone = [columns] if isinstance(columns, str) else columns
        return DataFrame({name: column for name, column in self._columns.items() if name not in gone})

    def groupby(self, key: str) -> DataFrameGroupBy:
        return DataFrameGroupBy(self, key)


class DataFrameGroupBy:
    """The groups of a table of pandas."""

    def __init__(self, frame: DataFrame, keys: str) -> None:
        self._frame, self.keys = frame, keys

    def __iter__(self):
        of = np.asarray(self._frame._columns[self.keys])
        for value in np.unique(of):
            rows = of == value
            columns = {name: np.asarray(column)[rows] for name, column in self._frame._columns.items()}
            yield value, DataFrame(columns)


class LazyFrame:
    """A query of polars."""

    def __init__(self, frame: DataFrame) -> None:
        self._frame = frame

    def lazy(self) -> LazyFrame:
        return self

    def collect(self) -> DataFrame:
        return self._frame


class CsrMatrix:
    """A sparse matrix of SciPy."""

    def __init__(self, dense: np.ndarray) -> None:
        self._dense = dense

    def toarray(self) -> np.ndarray:
        return self._dense


PackedSequence = namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])


class DType(str):
    """A type of numbers of PyTorch."""

    is_floating_point = True


class Tensor:
    """A tensor of PyTorch that needs a gradient or is on another device, and so is no array."""

    def __init__(self, values: np.ndarray, device: str = "cuda:0", dtype: str = "torch.float32") -> None:
        self._values, self.device, self.dtype, self.layout = values, device, DType(dtype), "torch.strided"

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._values


for _kind, _module in (
    (NAType, "pandas._libs.missing"),
    (DataFrame, "pandas.core.frame"),
    (DataFrameGroupBy, "pandas.api.typing"),
    (LazyFrame, "polars.lazyframe.frame"),
    (CsrMatrix, "scipy.sparse._csr"),
    (PackedSequence, "torch.nn.utils.rnn"),
    (Tensor, "torch"),
):
    _kind.__module__ = _module
