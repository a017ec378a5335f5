"""Search hyper-parameters with Optuna, and stop bad trials early: pip install 'fastlstm[sklearn]' optuna."""

import numpy as np
import optuna

import fastlstm as fl
from fastlstm.sklearn import LSTMClassifier


class Pruning(fl.Callback):
    """Report the validation loss of each epoch to a trial of Optuna, and end the trial if it is hopeless."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.trial.report(logs["val_loss"], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial: optuna.Trial) -> float:
    """Return the validation loss of one choice of hyper-parameters."""
    classifier = LSTMClassifier(
        hidden_size=trial.suggest_int("hidden_size", 8, 64, log=True),
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 3e-2, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        epochs=20,
        early_stopping=True,
        random_state=0,
    )
    classifier.fit(X, y, validation_data=(X_validation, y_validation), callbacks=[Pruning(trial)])
    return min(classifier.history_.history["val_loss"])


# Your data take the place of these: X (n, time) or (n, time, channels), y (n,).
vowels = fl.datasets.load_japanese_vowels()
train, validation = fl.split(len(vowels.X_train), (0.8, 0.2), seed=0)
X, y = [vowels.X_train[k] for k in train], np.asarray(vowels.y_train)[train]
X_validation, y_validation = [vowels.X_train[k] for k in validation], np.asarray(vowels.y_train)[validation]

if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner())
    study.optimize(objective, n_trials=15)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"best loss {study.best_value:.3f} with {study.best_params}; {pruned} of {len(study.trials)} trials pruned")
