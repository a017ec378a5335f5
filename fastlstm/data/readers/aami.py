"""Classes of heart beats, and the parts into which the MIT-BIH Arrhythmia Database is divided by patients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._arguments import explain_arguments
from ..._arrays import strings
from ..._checks import one_of, short_repr

__all__ = ["AAMI_CLASSES", "MITBIH_DS1", "MITBIH_DS2", "MITBIH_PACED", "aami_class"]

AAMI_CLASSES = ("N", "S", "V", "F", "Q")
"""Classes of beats by ANSI/AAMI EC57; `aami_class` has the table."""

MITBIH_DS1 = (
    "101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122",
    "124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230",
)  # fmt: skip
"""Records of the MIT-BIH Arrhythmia Database for training, by de Chazal et al. 2004: no patient is in both parts."""

MITBIH_DS2 = (
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210",
    "212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234",
)  # fmt: skip
"""Records of the MIT-BIH Arrhythmia Database for the test, by de Chazal et al. 2004."""

MITBIH_PACED = ("102", "104", "107", "217")
"""Records of patients with pacemakers, which are in neither part."""

_BEATS = {
    symbol: name
    for name, symbols in {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}.items()
    for symbol in symbols
}
_NO_BEATS = frozenset("[!]x()ptu`'^|~+sT*D=\"@")


@explain_arguments
def aami_class(symbols: ArrayLike, *, extra: Mapping[str, str] | None = None) -> NDArray[np.str_]:
    """Map the beat symbols of the MIT-BIH Arrhythmia Database to the five classes of ANSI/AAMI EC57.

    ===== =============================== ==========================================================
    class beats                           symbols
    ===== =============================== ==========================================================
    N     not in another class            N L R (normal, bundle branch blocks), e j (escape beats)
    S     supraventricular ectopic        A a J S
    V     ventricular ectopic             V E
    F     fusion of ventricular, normal   F
    Q     paced, or unknown               / f Q
    ===== =============================== ==========================================================

    Parameters
    ----------
    symbols : array or list of str, shape (m,)
        Symbols of annotations, as `read_wfdb` gives them.
    extra : dict of str: str, optional
        Classes of other symbols, such as ``{"n": "S"}`` for a database that has supraventricular escape beats.

    Returns
    -------
    ndarray of str, shape (m,)
        "N", "S", "V", "F", "Q", or "" for an annotation that is no beat, such as a change of rhythm.

    Raises
    ------
    TypeError
        If the symbols are not strings.
    ValueError
        If a symbol is not in the table, such as the beats B, n, r and ?, which the MIT-BIH Arrhythmia Database does not
        have.

    References
    ----------
    de Chazal, O'Dwyer and Reilly, "Automatic classification of heartbeats using ECG morphology and heartbeat interval
    features", IEEE Transactions on Biomedical Engineering 51(7), 2004: the table of symbols, and the two parts
    `MITBIH_DS1` and `MITBIH_DS2`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.data.aami_class(["+", "N", "L", "V", "A"]).tolist()
    ['', 'N', 'N', 'V', 'S']
    """
    table = {**_BEATS, **dict.fromkeys(_NO_BEATS, "")}
    for symbol, name in (extra or {}).items():
        table[symbol] = name if name == "" else one_of(f"extra[{symbol!r}]", name, AAMI_CLASSES)
    if isinstance(symbols, (list, tuple)) and not symbols:
        symbols = np.zeros(0, np.str_)
    array = strings(symbols, "symbols")
    unknown = sorted(set(array.reshape(-1).tolist()) - set(table))
    if unknown:
        raise ValueError(
            f"got the symbol {short_repr(unknown[0])}, expected one of the MIT-BIH Arrhythmia Database, "
            f"{' '.join(sorted(_BEATS))} for beats: say its class, extra={{{unknown[0]!r}: 'Q'}}, or '' for no beat"
        )
    return np.array([table[symbol] for symbol in array.reshape(-1).tolist()], "U1").reshape(array.shape)
