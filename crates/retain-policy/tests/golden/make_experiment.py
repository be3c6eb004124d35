"""Writes experiment.json: sample sizes, tests and intervals as statsmodels, scipy and numpy give them.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python make_experiment.py > experiment.json

Sample sizes are statsmodels' `samplesize_proportions_2indep_onetail` and `normal_sample_size_one_tail`. What has no function there
is written out below: CUPED, and variances of customers with several rows.
"""

import json
import sys

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportions_ztest,
    samplesize_proportions_2indep_onetail,
)


def sizes():
    rows = []
    for base, effect, power, alpha, ratio in [
        (0.05, -0.01, 0.8, 0.05, 1.0),
        (0.021, -0.005, 0.8, 0.05, 1.0),
        (0.19, 0.01, 0.9, 0.01, 1.0),
        (0.5, 0.1, 0.8, 0.05, 4.0),
        (0.3, 0.05, 0.95, 0.025, 0.5),
    ]:
        n = samplesize_proportions_2indep_onetail(effect, base, power, ratio, alpha, alternative="two-sided")
        rows.append({"base": base, "effect": effect, "power": power, "alpha": alpha, "ratio": ratio, "n": float(n)})
    amounts = []
    for sd, effect, power, alpha, ratio in [(10, 1, 0.8, 0.05, 1.0), (250, -12, 0.9, 0.01, 1.0), (3, 0.5, 0.8, 0.05, 3.0)]:
        std = sd * np.sqrt(1 + 1 / ratio)
        n = normal_sample_size_one_tail(effect, power, alpha / 2, std_null=std, std_alternative=std)
        amounts.append({"sd": sd, "effect": effect, "power": power, "alpha": alpha, "ratio": ratio, "n": float(n)})
    return {"rates": rows, "amounts": amounts}


def rate(arms):
    """Arms of (positives, rows); the first is the control."""
    comparisons = []
    for positives, n in arms[1:]:
        low, high = confint_proportions_2indep(positives, n, *arms[0], compare="diff", method="newcomb")
        z, p = proportions_ztest([positives, arms[0][0]], [n, arms[0][1]])
        comparisons.append({"difference": positives / n - arms[0][0] / arms[0][1], "low": low, "high": high, "p_value": p, "z": z})
    holm = multipletests([c["p_value"] for c in comparisons], method="holm")[1]
    for comparison, adjusted in zip(comparisons, holm):
        comparison["adjusted_p_value"] = adjusted
    shares = np.full(len(arms), 1 / len(arms))
    counts = np.array([n for _, n in arms])
    srm = stats.chisquare(counts, shares * counts.sum()).pvalue
    return {"arms": arms, "comparisons": comparisons, "sample_ratio_p_value": float(srm)}


def by_customer(customer, values):
    labels, inverse = np.unique(customer, return_inverse=True)
    return np.bincount(inverse, values), np.bincount(inverse)


def arm_moments(customer, values):
    sums, counts = by_customer(customer, values)
    mean = sums.sum() / counts.sum()
    n = len(sums)
    variance = ((sums - mean * counts) ** 2).sum() / counts.sum() ** 2 * n / (n - 1)
    return mean, variance, n


def welch(one, two):
    (m1, v1, n1), (m0, v0, n0) = one, two
    error = np.sqrt(v1 + v0)
    df = (v1 + v0) ** 2 / (v1**2 / (n1 - 1) + v0**2 / (n0 - 1))
    t = (m1 - m0) / error
    margin = stats.t.ppf(0.975, df) * error
    return {"difference": m1 - m0, "low": m1 - m0 - margin, "high": m1 - m0 + margin, "p_value": 2 * stats.t.sf(abs(t), df)}


def amounts(rng, n, rows_each, with_covariate):
    customer = np.repeat(np.arange(n), rows_each)
    arm = np.repeat(rng.integers(0, 2, n), rows_each)
    level = np.repeat(rng.gamma(2, 10, n), rows_each)
    covariate = level + np.repeat(rng.normal(0, 6, n), rows_each)
    value = level + rng.normal(0, 8, len(customer)) + 2.5 * arm
    adjusted = value
    if with_covariate:
        # Theta is estimated within arms, over customers' sums with their number of rows taken out.
        numerator = denominator = 0.0
        for a in [0, 1]:
            of = arm == a
            y, count = by_customer(customer[of], value[of])
            x, _ = by_customer(customer[of], covariate[of])
            y, x = y - count * y.sum() / count.sum(), x - count * x.sum() / count.sum()
            numerator, denominator = numerator + (x * y).sum(), denominator + (x * x).sum()
        adjusted = value - numerator / denominator * (covariate - covariate.mean())
    result = welch(*(arm_moments(customer[arm == a], adjusted[arm == a]) for a in [1, 0]))
    if rows_each == 1 and not with_covariate:
        test = stats.ttest_ind(value[arm == 1], value[arm == 0], equal_var=False)
        interval = test.confidence_interval(0.95)
        assert np.allclose([test.pvalue, interval.low, interval.high], [result["p_value"], result["low"], result["high"]])
    result = {key: float(x) for key, x in result.items()}
    table = {"customer": customer, "arm": arm, "value": value}
    table = {key: x.tolist() for key, x in table.items()}
    return {**table, "covariate": covariate.tolist() if with_covariate else None, **result}


def main():
    rng = np.random.default_rng(20260119)
    result = {
        "sizes": sizes(),
        # The first is cookie_cats: players of day 7 by the level of the gate.
        "rates": [
            rate([(8502, 44700), (8279, 45489)]),
            rate([(100, 1000), (131, 1000), (128, 980), (90, 1200)]),
            rate([(0, 40), (3, 41)]),
        ],
        "amounts": [amounts(rng, 60, 1, False), amounts(rng, 40, 3, False), amounts(rng, 80, 1, True), amounts(rng, 50, 2, True)],
    }
    json.dump(result, sys.stdout, separators=(",", ":"), default=float)
    print()


main()
