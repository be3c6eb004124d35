"""LightGBM as after an afternoon of tuning: 20 random settings, judged by inner cross-validation, the best one's models averaged."""

import lightgbm as lgb
import numpy as np

from peers.problem import SEED, as_categories, inner_folds, mean_over_inner_folds

N_TRIALS = 20
PATIENCE = 50
MOST_ROUNDS = 3000
# Trials see at most this many rows; the settings that win are then fitted to all.
MOST_TRIAL_ROWS = 15_000


def probability(problem, happened):
    """The chance of `happened` for each test row."""
    train, test = as_categories(problem)
    folds = inner_folds(problem, happened)
    rng = np.random.default_rng(SEED)
    trials = [_draw(rng) | {"num_threads": problem.threads} for _ in range(N_TRIALS)]
    best = min(trials, key=lambda settings: _held_out_loss(settings, train, happened, _thin(folds)))

    def fit_and_predict(learn, watch):
        return _fit(best, train, happened, learn, watch).predict(test)

    return mean_over_inner_folds(problem, happened, fit_and_predict)


def _draw(rng):
    """One setting; wide ranges around the defaults, on a log scale where the scale is unknown."""
    return {
        "objective": "binary",
        "verbose": -1,
        "seed": SEED,
        "deterministic": True,
        "learning_rate": float(np.exp(rng.uniform(np.log(0.015), np.log(0.15)))),
        "num_leaves": int(np.exp(rng.uniform(np.log(4), np.log(96)))),
        "min_data_in_leaf": int(np.exp(rng.uniform(np.log(5), np.log(100)))),
        "feature_fraction": rng.uniform(0.4, 1.0),
        "bagging_fraction": rng.uniform(0.5, 1.0),
        "bagging_freq": 1,
        "lambda_l2": float(np.exp(rng.uniform(np.log(1e-3), np.log(30)))),
        "cat_smooth": float(np.exp(rng.uniform(np.log(1), np.log(100)))),
    }


def _thin(folds):
    """The same folds with fewer rows to learn from and to judge by, where there are very many."""
    keep = max(1, -(-sum(map(len, folds[0])) // MOST_TRIAL_ROWS))
    return [(learn[::keep], watch[::keep]) for learn, watch in folds]


def _held_out_loss(settings, train, happened, folds):
    fits = (_fit(settings, train, happened, learn, watch) for learn, watch in folds)
    return np.mean([fit.best_score["valid_0"]["binary_logloss"] for fit in fits])


def _fit(settings, train, happened, learn, watch):
    learned = lgb.Dataset(train.iloc[learn], happened[learn])
    watched = lgb.Dataset(train.iloc[watch], happened[watch], reference=learned)
    return lgb.train(settings, learned, MOST_ROUNDS, [watched], callbacks=[lgb.early_stopping(PATIENCE, verbose=False)])
