"""Metrics of ranked rows with weights, and the paired bootstrap over customers that compares two models by them.

Every metric takes weights because that is how a bootstrap sample is told: a customer drawn twice has weight two. Rows are sorted
once, a thousand samples only re-weigh them."""

from functools import cached_property

import numpy as np

N_RESAMPLES = 1000
N_BINS = 10
SMALLEST_PROBABILITY = 1e-15


class Ranked:
    """Actuals beside predictions in rising order of the prediction. Rows of equal prediction are one rank, whatever their order."""

    def __init__(self, actual, predicted):
        actual, predicted = np.asarray(actual, float), np.asarray(predicted, float)
        self.order = np.argsort(predicted, kind="stable")
        self.actual, self.predicted = actual[self.order], predicted[self.order]
        self.starts = np.flatnonzero(np.r_[True, np.diff(self.predicted) > 0])
        self.tie_of_row = np.repeat(np.arange(len(self.starts)), np.diff(np.r_[self.starts, len(self.predicted)]))

    @cached_property
    def by_actual(self):
        """These rows in the perfect order; `by_actual.order` are positions in this one."""
        return Ranked(self.actual, self.actual)

    def sums(self, values):
        """Sums of `values`, one for each run of equal predictions."""
        return np.add.reduceat(values, self.starts)

    def middle_ranks(self, weight):
        """The share of weight below each run of equal predictions, the run itself counted half."""
        mass = self.sums(weight)
        return (np.cumsum(mass) - mass / 2) / weight.sum()

    def bins(self, weight):
        """The bin of each row, ten of equal weight; rows of equal prediction are in one bin."""
        return np.minimum((self.middle_ranks(weight) * N_BINS).astype(int), N_BINS - 1)[self.tie_of_row]

    def bin_sums(self, values, weight):
        """Weighted sums of `values`, one for each bin."""
        return np.bincount(self.bins(weight), weight * values, minlength=N_BINS)


def roc_auc(ranked, weight):
    """The chance that a positive row is ranked above a negative one; ties count half."""
    positive, negative = ranked.sums(weight * ranked.actual), ranked.sums(weight * (1 - ranked.actual))
    below = np.cumsum(negative) - negative / 2
    return (positive * below).sum() / max(positive.sum() * negative.sum(), np.finfo(float).tiny)


def log_loss(ranked, weight):
    """Mean negative log-likelihood of the outcome, in nats."""
    chance = np.where(ranked.actual == 1, ranked.predicted, 1 - ranked.predicted)
    return -np.average(np.log(np.maximum(chance, SMALLEST_PROBABILITY)), weights=weight)


def calibration_error(ranked, weight):
    """Mean distance between predicted and actual share of positives over ten bins of equal mass (ECE)."""
    return np.abs(ranked.bin_sums(ranked.predicted - ranked.actual, weight)).sum() / weight.sum()


def normalized_gini(ranked, weight):
    """How much of the value the order finds, over what the perfect order finds: 0 for chance, 1 for perfect."""
    return _gini(ranked, weight) / _gini(ranked.by_actual, weight[ranked.by_actual.order])


def _gini(ranked, weight):
    value = ranked.sums(weight * ranked.actual)
    return 2 * (ranked.middle_ranks(weight) * value).sum() / value.sum() - 1


def spearman(ranked, weight):
    """Rank correlation, with middle ranks for ties."""
    by_actual = ranked.by_actual
    actual_ranks = np.empty(len(weight))
    actual_ranks[by_actual.order] = by_actual.middle_ranks(weight[by_actual.order])[by_actual.tie_of_row]
    ranks = ranked.middle_ranks(weight)[ranked.tie_of_row]
    a, b = (values - np.average(values, weights=weight) for values in (actual_ranks, ranks))
    spread = np.sqrt((weight * a * a).sum() * (weight * b * b).sum())
    return (weight * a * b).sum() / spread if spread > 0 else 0.0


def decile_mape(ranked, weight):
    """Mean over ten bins of the prediction of |predicted - actual| / actual total; a bin where nothing came counts as 1, or as 0
    where nothing was predicted either. Bins that ties leave empty do not count."""
    filled = ranked.bin_sums(np.ones(len(weight)), weight) > 0
    actual, predicted = (ranked.bin_sums(values, weight)[filled] for values in (ranked.actual, ranked.predicted))
    nothing = actual <= 0
    error = np.where(nothing, predicted > 0, np.abs(predicted - actual) / np.where(nothing, 1, actual))
    return error.mean()


def total_bias(ranked, weight):
    """(predicted - actual) / actual, in total."""
    return (weight * (ranked.predicted - ranked.actual)).sum() / (weight * ranked.actual).sum()


def mean_absolute_error(ranked, weight):
    """Mean distance, in the unit of the amount."""
    return np.average(np.abs(ranked.predicted - ranked.actual), weights=weight)


def resampled_weights(groups, seed):
    """A thousand bootstrap samples of whole groups, each told as the weight of each row."""
    _, code = np.unique(groups, return_inverse=True)
    n_groups = code.max() + 1
    rng = np.random.default_rng(seed)
    for _ in range(N_RESAMPLES):
        yield np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)[code].astype(float)


def measure(metric, ranked):
    """The metric over all rows, each once."""
    return float(metric(ranked, np.ones(len(ranked.actual))))


def paired_intervals(metric, models, reference, groups, seed=0):
    """For each model the 95 % interval of its metric less the reference's, over the same samples. `models`: name to `Ranked`."""
    names = [name for name in models if name != reference]
    differences = np.empty((N_RESAMPLES, len(names)))
    for sample, weight in enumerate(resampled_weights(groups, seed)):
        base = metric(models[reference], weight[models[reference].order])
        differences[sample] = [metric(models[name], weight[models[name].order]) - base for name in names]
    low, high = np.percentile(differences, [2.5, 97.5], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}
