"""XGBoost with native categories: default trees, learning rate 0.05, stopped early; the mean over inner folds."""

import xgboost as xgb

from peers.problem import SEED, as_categories, mean_over_inner_folds

SETTINGS = {
    "n_estimators": 3000,
    "learning_rate": 0.05,
    "enable_categorical": True,
    "early_stopping_rounds": 50,
    "random_state": SEED,
}


def probability(problem, happened):
    """The chance of `happened` for each test row."""
    settings = SETTINGS | {"n_jobs": problem.threads}
    return _fit(problem, happened, happened, lambda: xgb.XGBClassifier(**settings))


def expected(problem):
    """The amount of each test row, by Tweedie deviance of power 1.5."""
    settings = SETTINGS | {"n_jobs": problem.threads, "objective": "reg:tweedie", "tweedie_variance_power": 1.5}
    return _fit(problem, problem.happened, problem.label, lambda: xgb.XGBRegressor(**settings))


def _fit(problem, happened, target, new_model):
    train, test = as_categories(problem)

    def fit_and_predict(learn, watch):
        model = new_model()
        model.fit(train.iloc[learn], target[learn], eval_set=[(train.iloc[watch], target[watch])], verbose=False)
        return model.predict_proba(test)[:, 1] if isinstance(model, xgb.XGBClassifier) else model.predict(test)

    return mean_over_inner_folds(problem, happened, fit_and_predict)
