"""Optional packages, imported where they are used; the error names the extra to install."""

from __future__ import annotations

from typing import Any

__all__ = ["holidays_package", "narwhals_package", "pandas_package"]


def pandas_package() -> Any:
    """Return pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("forecasting needs pandas: pip install 'fastlstm[forecast]'") from error
    return pandas


def narwhals_package(what: str) -> Any:
    """Return narwhals, which `what` needs."""
    try:
        import narwhals.stable.v1 as narwhals
    except ImportError as error:
        raise ImportError(f"{what} needs narwhals: pip install 'fastlstm[forecast]', or pass df.to_pandas()") from error
    return narwhals


def holidays_package(country: str) -> Any:
    """Return the package holidays, which knows the holidays of a country."""
    try:
        import holidays
    except ImportError as error:
        raise ImportError(
            f"holidays={country!r} needs the package holidays: pip install 'fastlstm[holidays]', or pass a list of "
            "dates"
        ) from error
    return holidays
