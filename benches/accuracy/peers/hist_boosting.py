"""scikit-learn's histogram gradient boosting with native categories and its own early stopping on a tenth of the rows."""

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.preprocessing import TargetEncoder

from peers.problem import SEED, as_categories

# The library takes no more categories in a column than bins.
MOST_CATEGORIES = 255
SETTINGS = {
    "max_iter": 1000,
    "learning_rate": 0.05,
    "early_stopping": True,
    "categorical_features": "from_dtype",
    "random_state": SEED,
}


def probability(problem, happened):
    """The chance of `happened` for each test row."""
    train, test = _tables(problem, happened.astype(float))
    return HistGradientBoostingClassifier(**SETTINGS).fit(train, happened).predict_proba(test)[:, 1]


def expected(problem):
    """The amount of each test row, by Poisson deviance."""
    train, test = _tables(problem, problem.label)
    return HistGradientBoostingRegressor(loss="poisson", **SETTINGS).fit(train, problem.label).predict(test)


def _tables(problem, target):
    """Native categories, but columns with too many of them as cross-fitted means of the target."""
    train, test = as_categories(problem)
    large = [column for column in problem.categories if train[column].cat.categories.size > MOST_CATEGORIES]
    if not large:
        return train, test
    encode = make_column_transformer(
        (TargetEncoder(target_type="continuous", random_state=SEED), large),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    for rows in (train, test):
        rows[large] = rows[large].astype(object).where(rows[large].notna(), np.nan)
    return encode.fit_transform(train, target), encode.transform(test)
