"""CatBoost on the logarithm of the amount, the usual answer to long tails. For events it would be the same as catboost_default."""

import numpy as np
from catboost import CatBoostRegressor

from peers import catboost_default


def expected(problem):
    """The amount of each test row. Exponentials of mean logarithms are too small: a factor makes the held-out total right."""
    settings = catboost_default.SETTINGS | {"thread_count": problem.threads}
    largest = np.log1p(problem.label.max())

    def predict(model, test, watched, watch):
        asked, held_out = (np.expm1(model.predict(rows).clip(0, largest)) for rows in (test, watched))
        return asked * (problem.label[watch].sum() / max(held_out.sum(), 1e-9))

    return catboost_default.fit(
        problem, problem.happened, np.log1p(problem.label), lambda: CatBoostRegressor(**settings), predict
    )
