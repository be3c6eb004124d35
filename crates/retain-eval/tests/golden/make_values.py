"""Writes values.json: small tables of amounts and counts with the values that scikit-learn, scipy and numpy give them.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
    venv/bin/python make_values.py > values.json

mae, rmse and poisson_d2 are scikit-learn's, spearman is scipy's. The others have none there and are written out row by row
below: ties are averaged by taking each row's place in the middle of its run, without the blocks that the Rust code works on. The
Gini coefficient is checked against the sum of cumulative shares that it is named after, from which it differs by 1/n before
division.
"""

import json
import sys

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import d2_tweedie_score, mean_absolute_error, root_mean_squared_error


def concentration(y, p):
    """Area between the concentration curve and the diagonal by trapezoids; tied predictions share their value evenly."""
    evened = np.array([y[p == x].mean() for x in p])
    order = np.argsort(-p, kind="stable")
    share = np.concatenate([[0], np.cumsum(evened[order]) / y.sum()])
    area = 2 * np.trapezoid(share, dx=1 / len(y)) - 1
    assert np.isclose(area + 1 / len(y), 2 * share[1:].sum() / len(y) - 1)
    return area


def bins(p):
    middle_rank = [np.sum(p < x) + np.sum(p == x) / 2 for x in p]
    return np.array([int(10 * rank // len(p)) for rank in middle_rank])


def decile_mape(y, p):
    b = bins(p)
    errors = []
    for k in sorted(set(b)):
        expected, actual = p[b == k].mean(), y[b == k].mean()
        errors.append(abs(expected - actual) / (actual if actual > 0 else y.mean()))
    return np.mean(errors)


def top_tenth_value(y, p):
    inside = [np.clip((len(y) / 10 - np.sum(p > x)) / np.sum(p == x), 0, 1) for x in p]
    return np.dot(inside, y) / y.sum()


def table(name, y, p, low=None, high=None):
    y, p = np.asarray(y, float), np.asarray(p, float)
    differ, positive = len(set(y)) > 1, y.sum() > 0
    is_poisson = differ and (y >= 0).all() and ((p > 0) | ((p == 0) & (y == 0))).all()
    # scikit-learn refuses a prediction of 0; where nothing came its deviance is 0, as that of a tiny one is.
    above_zero = np.maximum(p, 1e-300)
    metrics = {
        "normalized_gini": concentration(y, p) / concentration(y, y) if differ and y.sum() != 0 else None,
        "spearman": spearmanr(y, p).statistic if differ and len(set(p)) > 1 else None,
        "decile_mape": decile_mape(y, p) if positive else None,
        "total_bias": p.sum() / y.sum() - 1 if positive else None,
        "mae": mean_absolute_error(y, p),
        "rmse": root_mean_squared_error(y, p),
        "poisson_d2": d2_tweedie_score(y, above_zero, power=1) if is_poisson else None,
        "top_tenth_value": top_tenth_value(y, p) if positive and (y >= 0).all() else None,
        "interval_coverage": np.mean((low <= y) & (y <= high)) if low is not None else None,
        "interval_width": np.mean(high - low) if low is not None else None,
    }
    metrics = {key: None if value is None else float(value) for key, value in metrics.items()}
    interval = None if low is None else [low.tolist(), high.tolist()]
    return {"name": name, "actual": y.tolist(), "expected": p.tolist(), "interval": interval, "metrics": metrics}


def main():
    rng = np.random.default_rng(20260115)
    mean = np.exp(rng.normal(2, 1, 307))
    value = mean * rng.gamma(0.7, 1 / 0.7, 307) * (rng.random(307) < 0.4) * 2.5
    count = rng.poisson(np.minimum(mean, 28))
    expected = mean * np.exp(rng.normal(0, 0.3, 307))
    tables = [
        table("one row", [3.5], [2.0]),
        table("nothing came", [0, 0, 0], [1.0, 2.0, 0.5]),
        table("all the same", [2, 2, 2, 2], [1.0, 2.0, 3.0, 4.0]),
        table("one prediction", [0, 1, 5, 0, 2, 9, 0], [2.0] * 7),
        table("perfect", [0, 1, 5, 0.5, 2, 9, 7], [0, 1, 5, 0.5, 2, 9, 7]),
        table("upside down", [0, 1, 5, 0, 2, 9, 0], [9.0, 7.0, 2.0, 9.0, 3.0, 1.0, 9.0]),
        table("refunds", [-20.0, 0, 5, 30, -1, 9, 0], [-3.0, 0, 2, 20, 4, 1, 0.5]),
        table("amounts", value, expected, 0.3 * expected, 3.0 * expected),
        table("amounts in steps", np.round(value, -1), np.round(expected, -1)),
        table("counts", count, expected, np.floor(expected / 2), np.ceil(2 * expected)),
        table("counts in steps", count, np.ceil(expected / 5) * 5),
    ]
    json.dump(tables, sys.stdout, separators=(",", ":"))
    print()


main()
