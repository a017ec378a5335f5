"""The checks of scikit-learn, on arrays of two axes; those that cannot pass are listed with the reason."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastlstm.sklearn import LSTMAnomalyDetector, LSTMClassifier, LSTMFeatures, LSTMRegressor

ESTIMATORS = [
    LSTMClassifier(epochs=100),  # with "auto", 500 epochs of these small data, in the nightly tests
    LSTMRegressor(),
    LSTMRegressor(missing="mask-all", scaler="robust"),
    LSTMAnomalyDetector(),
    LSTMAnomalyDetector("reconstruction", epochs=3),
    LSTMFeatures(),
    LSTMFeatures(method="random", pooling="max"),
]
BATCHES = "batches are drawn at random, in which a case of weight 2 and two cases of weight 1 are in other company"


def expected_failures(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, (LSTMClassifier, LSTMRegressor)):
        return {"check_sample_weight_equivalence_on_dense_data": BATCHES}
    return {}


@pytest.mark.nightly
@parametrize_with_checks([LSTMClassifier()], expected_failed_checks=expected_failures)
def test_scikit_learn_with_the_defaults(estimator: Any, check: Any) -> None:
    check(estimator)


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
