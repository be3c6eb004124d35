"""scikit-learn's logistic regression: numbers imputed by the median and scaled, categories one-hot."""

from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def probability(problem, happened):
    """The chance of `happened` for each test row."""
    model = make_pipeline(encoder(problem), LogisticRegression(max_iter=2000))
    return model.fit(problem.train, happened).predict_proba(problem.test)[:, 1]


def encoder(problem, before_scaling=()):
    """Columns as a linear model needs them; `before_scaling` are steps for the numbers after imputing."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), *before_scaling, StandardScaler())
    fill = SimpleImputer(strategy="constant", fill_value="(missing)")
    categories = make_pipeline(fill, OneHotEncoder(handle_unknown="ignore"))
    return make_column_transformer((numbers, problem.numbers), (categories, problem.categories))
