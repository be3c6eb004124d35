"""What a peer is given: the rows of one fold, read from the same CSV files as `retain` reads, and the inner folds for early stopping."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

MISSING_CELLS = ["", " "]
N_INNER_FOLDS = 5
SEED = 0


@dataclass(frozen=True)
class Problem:
    """One fold. `train` and `test` have the same feature columns; `label` is 0 or 1 for churn and an amount for the others."""

    kind: str
    train: pd.DataFrame
    test: pd.DataFrame
    label: np.ndarray
    groups: np.ndarray
    categories: list[str]
    numbers: list[str]
    past: str | None
    threads: int

    @property
    def happened(self):
        """The event whose chance is asked for: churn; any value (ltv); no activity (engagement)."""
        return {"churn": self.label == 1, "ltv": self.label > 0, "engagement": self.label <= 0}[self.kind]


def read_problem(folder, threads):
    """Reads `train.csv`, `test.csv` and `fold.json` as compare.py wrote them."""
    folder = Path(folder)
    about = json.loads((folder / "fold.json").read_text())
    features = about["categories"] + about["numbers"]
    text = about["categories"] + ([about["target"]] if about["kind"] == "churn" else [])
    train, test = (read_table(folder / name, text) for name in ("train.csv", "test.csv"))
    target = train[about["target"]]
    return Problem(
        kind=about["kind"],
        train=train[features],
        test=test[features],
        label=(target == about["positive"] if about["kind"] == "churn" else target).to_numpy(float),
        groups=np.array(about["groups"]),
        categories=about["categories"],
        numbers=about["numbers"],
        past=about["past"],
        threads=threads,
    )


def read_table(path, text_columns):
    """A CSV file; only blank cells are missing, so that a category called `None` stays one."""
    dtype = dict.fromkeys(text_columns, "str")
    return pd.read_csv(path, keep_default_na=False, na_values=MISSING_CELLS, dtype=dtype, low_memory=False)


def as_categories(problem):
    """Train and test with pandas categories of the training rows; a value first seen in the test rows becomes missing."""
    train, test = problem.train.copy(), problem.test.copy()
    for column in problem.categories:
        values = pd.CategoricalDtype(sorted(train[column].dropna().unique()))
        train[column] = train[column].astype(values)
        test[column] = test[column].where(test[column].isin(values.categories)).astype(values)
    return train, test


def inner_folds(problem, happened):
    """Five pairs of training row numbers: to learn from, and to stop by. Groups stay whole; the event has the same share in each."""
    if len(np.unique(problem.groups)) == len(problem.groups):
        folds = StratifiedKFold(N_INNER_FOLDS, shuffle=True, random_state=SEED)
    else:
        folds = StratifiedGroupKFold(N_INNER_FOLDS, shuffle=True, random_state=SEED)
    return list(folds.split(problem.train, happened, problem.groups))


def mean_over_inner_folds(problem, happened, fit_and_predict):
    """The mean prediction for the test rows of five models, each stopped early by a fifth of the training rows.

    One model stopped by one held-out part would waste these rows and depend on their luck; on the tables here the mean is clearly
    better, and a common way to use these libraries. `fit_and_predict` takes the rows to learn from and the rows to stop by."""
    return np.mean([fit_and_predict(learn, watch) for learn, watch in inner_folds(problem, happened)], axis=0)
