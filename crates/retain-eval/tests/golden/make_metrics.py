"""Writes metrics.json: small tables with the values that scikit-learn gives them.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
    venv/bin/python make_metrics.py > metrics.json

roc_auc, average_precision, log_loss and brier_score are scikit-learn's functions. The others have none there and are written out
row by row below, without the counts per distinct probability that the Rust code works on; slope and intercept are checked
against scikit-learn's unpenalised LogisticRegression.
"""

import json
import sys
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

EPS = np.finfo(float).eps


def ece_10(y, p):
    n = len(y)
    middle_rank = [np.sum(p < x) + np.sum(p == x) / 2 for x in p]
    bins = np.array([int(10 * rank // n) for rank in middle_rank])
    return sum(abs(p[bins == b].sum() - y[bins == b].sum()) for b in set(bins)) / n


def lift_at_10(y, p):
    n = len(y)
    # The share of each row in the top tenth, averaged over all orders of tied rows.
    inside = [np.clip((n / 10 - np.sum(p > x)) / np.sum(p == x), 0, 1) for x in p]
    return float(np.dot(inside, y) / (n / 10) / y.mean())


def recalibration(y, p):
    clipped = np.clip(p, EPS, 1 - EPS)
    x = np.column_stack([np.ones(len(p)), np.log(clipped) - np.log1p(-clipped)])
    beta = np.array([np.log(y.mean() / (1 - y.mean())), 0.0])
    for _ in range(100):
        rate = 1 / (1 + np.exp(-x @ beta))
        step = np.linalg.solve((x * (rate * (1 - rate))[:, None]).T @ x, x.T @ (y - rate))
        beta += step
        if np.abs(step).max() < 1e-14:
            break
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(x[:, 1:], y)
    assert np.allclose(beta, [check.intercept_[0], check.coef_[0, 0]], rtol=1e-6, atol=1e-6), (beta, check)
    return beta


def separated(y, p):
    return p[y == 1].min() >= p[y == 0].max() or p[y == 0].min() >= p[y == 1].max()


def table(name, y, p):
    y, p = np.asarray(y, float), np.asarray(p, float)
    both = 0 < y.sum() < len(y)
    brier = brier_score_loss(y, p)
    intercept, slope = recalibration(y, p) if both and not separated(y, p) else (None, None)
    metrics = {
        "roc_auc": roc_auc_score(y, p) if both else None,
        "average_precision": average_precision_score(y, p) if both else None,
        "log_loss": log_loss(y, p, labels=[0, 1]),
        "brier_score": brier,
        "brier_skill": 1 - brier / (y.mean() * (1 - y.mean())) if both else None,
        "ece_10": ece_10(y, p),
        "lift_at_10": lift_at_10(y, p) if both else None,
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "calibration_in_the_large": p.mean() - y.mean(),
    }
    metrics = {key: None if value is None else float(value) for key, value in metrics.items()}
    return {"name": name, "target": [int(label) for label in y], "probability": p.tolist(), "metrics": metrics}


def main():
    rng = np.random.default_rng(20260114)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    tables = [
        table("two rows", [0, 1], [0.25, 0.75]),
        table("two rows, wrong way round", [1, 0], [0.25, 0.75]),
        table("one row", [1], [0.3]),
        table("negatives only", [0, 0, 0], [0.1, 0.0, 0.9]),
        table("positives only", [1, 1, 1, 1], [0.1, 1.0, 0.9, 0.9]),
        table("all tied", [0, 1, 0, 0, 1, 0, 0], [0.3] * 7),
        table("certain and wrong", [0, 1, 1, 0, 1], [1.0, 0.0, 1.0, 0.0, 0.5]),
        table("tied at the border", [0, 1, 1, 0, 1, 0], [0.2, 0.5, 0.5, 0.5, 0.9, 0.1]),
    ]
    margin = rng.normal(-1, 1.5, 203)
    y = rng.random(203) < sigmoid(margin)
    tables.append(table("untied, odd number of rows", y, sigmoid(0.7 * margin + 0.3)))
    tables.append(table("rounded to tenths", y, np.round(sigmoid(margin), 1)))
    tables.append(table("three values", y, rng.choice([0.1, 0.4, 0.8], 203)))
    margin = rng.normal(-4.2, 1.2, 400)
    tables.append(table("imbalanced", rng.random(400) < sigmoid(margin), sigmoid(margin)))
    tables.append(table("overconfident", rng.random(150) < sigmoid(margin[:150] + 4), sigmoid(5 * (margin[:150] + 4))))
    tables.append(table("extreme", [0, 1, 0, 1, 1, 0], [1e-300, 1e-18, 1 - 1e-16, 1 - 1e-15, 0.5, 0.5]))
    json.dump(tables, sys.stdout, indent=None, separators=(",", ":"))
    print()


main()
