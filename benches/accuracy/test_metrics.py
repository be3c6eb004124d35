"""Tests of metrics.py against scikit-learn and scipy: target/accuracy-venv-*/bin/python -m unittest discover benches/accuracy"""

import unittest

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

import metrics


def rows(n=400, n_scores=40):
    """Labels, amounts, scores with many ties, and whole weights."""
    rng = np.random.default_rng(1)
    score = rng.integers(1, n_scores, n) / n_scores
    label = (rng.random(n) < score).astype(float)
    amount = np.where(rng.random(n) < 0.5, 0, rng.gamma(2, 50, n)) * score
    return label, amount, score, rng.integers(0, 4, n).astype(float)


class Metrics(unittest.TestCase):
    def check(self, metric, expected, actual, predicted, weight):
        ranked = metrics.Ranked(actual, predicted)
        self.assertAlmostEqual(metric(ranked, weight[ranked.order]), expected, places=10)

    def test_roc_auc_and_log_loss_are_those_of_scikit_learn(self):
        label, _, score, weight = rows()
        auc = sklearn_metrics.roc_auc_score(label, score, sample_weight=weight)
        self.check(metrics.roc_auc, auc, label, score, weight)
        loss = sklearn_metrics.log_loss(label, score, sample_weight=weight)
        self.check(metrics.log_loss, loss, label, score, weight)

    def test_spearman_is_that_of_scipy(self):
        _, amount, score, _ = rows()
        self.check(metrics.spearman, stats.spearmanr(amount, score).statistic, amount, score, np.ones(len(score)))

    def test_gini_of_labels_is_twice_the_auc_less_one(self):
        label, _, score, weight = rows()
        expected = 2 * sklearn_metrics.roc_auc_score(label, score, sample_weight=weight) - 1
        self.check(metrics.normalized_gini, expected, label, score, weight)

    def test_a_weight_of_two_is_a_row_twice(self):
        label, amount, score, weight = rows()
        twice = np.repeat(np.arange(len(score)), weight.astype(int))
        for metric in (metrics.roc_auc, metrics.log_loss, metrics.calibration_error):
            again = metrics.measure(metric, metrics.Ranked(label[twice], score[twice]))
            self.check(metric, again, label, score, weight)
        amounts = (
            metrics.normalized_gini,
            metrics.spearman,
            metrics.decile_mape,
            metrics.total_bias,
            metrics.mean_absolute_error,
        )
        for metric in amounts:
            again = metrics.measure(metric, metrics.Ranked(amount[twice], score[twice]))
            self.check(metric, again, amount, score, weight)

    def test_perfect_amounts_have_no_error(self):
        _, amount, _, _ = rows()
        perfect = metrics.Ranked(amount, amount)
        for metric, best in (
            (metrics.normalized_gini, 1),
            (metrics.spearman, 1),
            (metrics.decile_mape, 0),
            (metrics.total_bias, 0),
        ):
            self.assertAlmostEqual(metrics.measure(metric, perfect), best)

    def test_a_better_model_has_an_interval_above_zero_and_the_same_model_one_of_zero(self):
        label, _, score, _ = rows()
        noise = np.random.default_rng(2).random(len(score))
        models = {name: metrics.Ranked(label, s) for name, s in (("ours", noise), ("good", score), ("same", noise))}
        intervals = metrics.paired_intervals(metrics.roc_auc, models, "ours", np.arange(len(score)))
        self.assertGreater(intervals["good"][0], 0)
        self.assertEqual(intervals["same"], (0, 0))


if __name__ == "__main__":
    unittest.main()
