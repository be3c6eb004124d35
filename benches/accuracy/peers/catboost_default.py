"""CatBoost with native categories and default trees, stopped early; the mean over inner folds."""

from catboost import CatBoostClassifier, CatBoostRegressor, Pool

from peers.problem import SEED, mean_over_inner_folds

# The library's own defaults: 1,000 trees and a learning rate that it picks by the number of rows.
SETTINGS = {"random_seed": SEED, "verbose": False, "allow_writing_files": False}
# It picks none for this loss.
TWEEDIE = {"loss_function": "Tweedie:variance_power=1.5", "learning_rate": 0.05}
PATIENCE = 100


def probability(problem, happened):
    """The chance of `happened` for each test row."""
    settings = SETTINGS | {"thread_count": problem.threads}

    def predict(model, test, _watched, _watch):
        return model.predict_proba(test)[:, 1]

    return fit(problem, happened, happened.astype(int), lambda: CatBoostClassifier(**settings), predict)


def expected(problem):
    """The amount of each test row, by Tweedie deviance of power 1.5."""
    settings = SETTINGS | TWEEDIE | {"thread_count": problem.threads}

    def predict(model, test, _watched, _watch):
        return model.predict(test, "Exponent")

    return fit(problem, problem.happened, problem.label, lambda: CatBoostRegressor(**settings), predict)


def fit(problem, happened, target, new_model, predict):
    """The mean over inner folds of `predict(model, test rows, watched rows, their numbers)`."""
    train, test = (_table(problem, rows) for rows in (problem.train, problem.test))

    def fit_and_predict(learn, watch):
        pools = [Pool(train.iloc[rows], target[rows], cat_features=problem.categories) for rows in (learn, watch)]
        model = new_model().fit(pools[0], eval_set=pools[1], early_stopping_rounds=PATIENCE)
        return predict(model, test, train.iloc[watch], watch)

    return mean_over_inner_folds(problem, happened, fit_and_predict)


def _table(problem, rows):
    """Categories as texts, which the library asks for; a missing one is a category of its own."""
    return rows.assign(**{column: rows[column].astype(object).fillna("(missing)").astype(str) for column in problem.categories})
