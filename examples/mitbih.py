"""Classify heart beats of patients that the model has never seen: the MIT-BIH Arrhythmia Database.

    python -c "import wfdb; wfdb.dl_database('mitdb', 'mitdb')"     fetches the data from PhysioNet (ODC-By), 100 MB
    python examples/mitbih.py --data mitdb

--data is the folder of the records. The classes are those of AAMI; patients of the part DS1 train, those of DS2 test
(de Chazal, O'Dwyer & Reilly 2004). pip install 'fastlstm[sklearn,wfdb]'
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm.sklearn import LSTMClassifier


def beats(folder: Path, name: str) -> tuple[Any, Any, Any]:
    """Return the beats of a patient: the signal around each and the rhythm, their classes, and the patient's name."""
    record = fl.data.read_wfdb(folder / name)
    classes = fl.data.aami_class(record.symbols)
    peaks, classes = record.samples[classes != ""], classes[classes != ""]
    lead = record.signal[:, record.channels.index("MLII") if "MLII" in record.channels else 0]
    # Each fourth step is enough for an LSTM: 90 a second, averages of four.
    segments, kept = fl.data.segments((lead - np.median(lead)) / np.std(lead), peaks, before=100, after=160)
    short = segments.reshape(len(kept), -1, 4).mean(axis=2)
    # The rhythm: the time since the beat before and until the next one, relative to the patient's usual one.
    gaps = np.diff(peaks, prepend=peaks[0] - np.median(np.diff(peaks)), append=peaks[-1] + np.median(np.diff(peaks)))
    rhythm = np.stack([gaps[:-1], gaps[1:]], axis=1)[kept] / np.median(gaps)
    X = np.stack([short, *(np.broadcast_to(one[:, None], short.shape) for one in np.log(rhythm).T)], axis=2)
    return X, classes[kept], np.full(len(kept), name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the patients of DS1, and print sensitivity and +P of each class on those of DS2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args(arguments)
    if not (options.data / "100.hea").exists():
        command = f"python -c \"import wfdb; wfdb.dl_database('mitdb', '{options.data}')\""
        parser.error(f"there is no record 100 in {options.data}; to fetch the database: {command}")
    # Your own records: any signal with the positions of its events, and a label for each; groups are the patients.
    parts = [[beats(options.data, name) for name in names] for names in (fl.data.MITBIH_DS1, fl.data.MITBIH_DS2)]
    (X, y, patient), (X_test, y_test, _) = ([np.concatenate(one) for one in zip(*part, strict=True)] for part in parts)
    classifier = LSTMClassifier(
        32, dropout=0.3, class_weight="balanced", batch_size=128, epochs=options.epochs,
        early_stopping=True, validation_fraction=0.2, random_state=0, verbose=1,
    )  # fmt: skip
    classifier.fit(X.astype(np.float32), y, groups=patient)  # patients that are held out tell when to stop
    print(f"{len(y)} beats of {len(parts[0])} patients trained on, {len(y_test)} of {len(parts[1])} others tested")
    print(fl.metrics.classification_report(y_test, classifier.predict(X_test.astype(np.float32))))
    share = np.mean(y_test == "N")
    print(f'a classifier that always says "N": accuracy {share:.4f}, sensitivity 0 of all other classes')


if __name__ == "__main__":
    main()
