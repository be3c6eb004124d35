"""Writes uplift.json: small randomised tables with the values that scikit-uplift gives them.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scikit-learn==1.9.1 scikit-uplift==0.5.1
    venv/bin/python make_uplift.py > uplift.json

qini and auuc are scikit-uplift's `qini_auc_score(negative_effect=True)` and `uplift_auc_score`, uplift_at_30 its
`uplift_at_k(strategy="overall", k=0.3)`; no table has a tie across the border of that list. An area is undefined where the perfect curve has
none. scikit-uplift refuses outcomes that are not 0 or 1: for amounts its Qini curve is written out below, row by row.
"""

import json
import sys
import warnings

import numpy as np
from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score

warnings.filterwarnings("ignore")


def qini_of_amounts(y, u, t):
    def area(score):
        heights, shares = [0.0], [0]
        for threshold in sorted(set(score), reverse=True):
            chosen = score >= threshold
            treated, controls = chosen & (t == 1), chosen & (t == 0)
            other = y[controls].sum() * treated.sum() / controls.sum() if controls.any() else 0.0
            heights.append(y[treated].sum() - other)
            shares.append(chosen.sum())
        return np.trapezoid(heights, shares) - shares[-1] * heights[-1] / 2

    return area(u) / area(y * t - y * (1 - t))


def defined(score, y, u, t):
    try:
        return score(y, u, t)
    except ZeroDivisionError:
        return None


def table(name, y, t, u):
    y, t, u = np.asarray(y, float), np.asarray(t, int), np.asarray(u, float)
    is_binary = set(y) <= {0.0, 1.0}
    average = y[t == 1].mean() - y[t == 0].mean()
    border = int(len(y) * 0.3)
    falling = np.sort(u)[::-1]
    first = np.argsort(-u, kind="stable")[:border]
    has_both = border > 0 and len(set(t[first])) == 2
    is_untied = border > 0 and falling[border - 1] != falling[border]
    at_30 = None
    if has_both and is_untied:
        at_30 = uplift_at_k(y, u, t, strategy="overall", k=0.3) if is_binary else (
            y[first][t[first] == 1].mean() - y[first][t[first] == 0].mean())
    metrics = {"average_effect": average, "effect_bias": u.mean() - average}
    differ = len(set(y)) > 1
    metrics["qini"] = (qini_auc_score(y, u, t, negative_effect=True) if is_binary else qini_of_amounts(y, u, t)) if differ else None
    metrics["auuc"] = defined(uplift_auc_score, y, u, t) if differ and is_binary else None
    metrics["uplift_at_30"] = at_30
    if is_binary and differ:
        assert np.isclose(qini_of_amounts(y, u, t), metrics["qini"])
    metrics = {key: None if value is None else float(value) for key, value in metrics.items()}
    return {"name": name, "actual": y.tolist(), "treated": (t == 1).tolist(), "effect": u.tolist(), "metrics": metrics}


def main():
    rng = np.random.default_rng(20260201)
    n = 420
    x = rng.normal(size=n)
    t = (rng.random(n) < 0.4).astype(int)
    effect = 0.1 + 0.2 * x
    y = (rng.random(n) < np.clip(0.3 + t * effect, 0, 1)).astype(int)
    noisy = effect + rng.normal(0, 0.2, n)
    # More controls with the outcome than treated rows without, which changes what is perfect for AUUC.
    common = (rng.random(n) < np.clip(0.8 + t * 0.15, 0, 1)).astype(int)
    spend = y * rng.gamma(2, 20, n)
    tables = [
        table("a table", y, t, noisy),
        table("the truth", y, t, effect),
        table("upside down", y, t, -effect),
        table("common outcomes", common, t, noisy),
        # Steps whose borders lie at three tenths: no tie lies across.
        table("steps", y, t, np.floor(10 * (np.argsort(np.argsort(noisy)) / n)) / 100),
        table("amounts", spend, t, 30 * noisy),
        table("amounts in steps", np.round(spend, -1), t, np.floor(10 * (np.argsort(np.argsort(noisy)) / n))),
        table("nothing came", [0, 0, 0, 0], [1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]),
        table("one row each", [1, 0], [1, 0], [0.5, 0.2]),
    ]
    json.dump(tables, sys.stdout, separators=(",", ":"))
    print()


main()
