"""scikit-learn's ridge regression of the logarithm of the amount, on logarithms of the numbers."""

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from peers import logistic


def probability(problem, happened):
    """The chance of `happened` for each test row, by logistic regression."""
    return logistic.probability(problem, happened)


def expected(problem):
    """The amount of each test row; one factor makes the total of the training rows right, which exponentials of means miss."""
    encode = logistic.encoder(problem, [FunctionTransformer(_signed_log)])
    model = make_pipeline(encode, RidgeCV(np.logspace(-3, 4, 15))).fit(problem.train, np.log1p(problem.label))
    # The log of an amount far beyond all training amounts is an extrapolation of the line, and would be exponentiated.
    largest = np.log1p(problem.label.max())
    learned, asked = (np.expm1(model.predict(rows).clip(0, largest)) for rows in (problem.train, problem.test))
    return asked * (problem.label.sum() / max(learned.sum(), 1e-9))


def _signed_log(values):
    return np.sign(values) * np.log1p(np.abs(values))
