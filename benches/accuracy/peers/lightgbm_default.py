"""LightGBM with native categories: default trees, learning rate 0.05, stopped early; the mean over inner folds."""

import lightgbm as lgb

from peers.problem import SEED, as_categories, mean_over_inner_folds

SETTINGS = {"n_estimators": 3000, "learning_rate": 0.05, "verbose": -1, "random_state": SEED, "deterministic": True}
PATIENCE = 50


def probability(problem, happened):
    """The chance of `happened` for each test row."""
    settings = SETTINGS | {"n_jobs": problem.threads}
    return _fit(problem, happened, happened, lambda: lgb.LGBMClassifier(**settings))


def expected(problem):
    """The amount of each test row, by Tweedie deviance of power 1.5."""
    settings = SETTINGS | {"n_jobs": problem.threads, "objective": "tweedie", "metric": "tweedie"}
    return _fit(problem, problem.happened, problem.label, lambda: lgb.LGBMRegressor(**settings))


def _fit(problem, happened, target, new_model):
    train, test = as_categories(problem)

    def fit_and_predict(learn, watch):
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        model = new_model()
        model.fit(train.iloc[learn], target[learn], eval_X=train.iloc[watch], eval_y=target[watch], callbacks=[stop])
        return model.predict_proba(test)[:, 1] if isinstance(model, lgb.LGBMClassifier) else model.predict(test)

    return mean_over_inner_folds(problem, happened, fit_and_predict)
