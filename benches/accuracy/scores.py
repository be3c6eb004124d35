"""What the predictions of all folds of a task are worth: metrics of each model, and intervals of its difference to `retain`."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import metrics
from cells import OURS


@dataclass(frozen=True)
class Measure:
    """A metric: the column it judges, whether more or less is better (0: near zero), and whether models are compared by it."""

    title: str
    metric: object
    column: str
    sign: int
    compared: bool = True
    digits: int = 4


CHURN = (
    Measure("ROC AUC", metrics.roc_auc, "probability", 1),
    Measure("log loss", metrics.log_loss, "probability", -1),
    Measure("calibration error (ECE)", metrics.calibration_error, "probability", -1, compared=False),
)
VALUES = (
    Measure("normalised Gini", metrics.normalized_gini, "expected_value", 1),
    Measure("Spearman", metrics.spearman, "expected_value", 1),
    Measure("decile MAPE", metrics.decile_mape, "expected_value", -1),
    Measure("mean absolute error", metrics.mean_absolute_error, "expected_value", -1, digits=2),
    Measure("total bias", metrics.total_bias, "expected_value", 0, compared=False),
    Measure("ROC AUC of the event (any value; no activity)", metrics.roc_auc, "probability", 1),
)


@dataclass
class Result:
    """One task: figures by (measure, model), intervals of the difference to `retain`, failures by model, costs by model."""

    name: str
    kind: str
    control: bool
    n_rows: int
    n_judged: int
    made_by: str
    figures: dict = field(default_factory=dict)
    intervals: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    costs: dict = field(default_factory=dict)

    def verdict(self, measure, model):
        """`better`, `worse` or `tie`: the model beside `retain`; None where there is nothing to compare."""
        low, high = self.intervals.get((measure.title, model), (None, None))
        if low is None:
            return None
        if low <= 0 <= high:
            return "tie"
        return "better" if (low > 0) == (measure.sign > 0) else "worse"


def measures_of(kind):
    """The metrics of tasks of this kind."""
    return CHURN if kind == "churn" else VALUES


def judge(result, loaded, rows, predicted):
    """Fills figures and intervals. `rows` were judged, in the order of each model's table in `predicted`."""
    label, groups = loaded.label[rows], loaded.groups[rows]
    event = {"churn": label == 1, "ltv": label > 0, "engagement": label <= 0}[loaded.kind].astype(float)
    for measure in measures_of(loaded.kind):
        actual = event if measure.column == "probability" else label
        if len(np.unique(actual)) == 1:
            continue
        ranked = {
            model: metrics.Ranked(actual, table[measure.column]) for model, table in predicted.items() if measure.column in table
        }
        for model, rows_of_model in ranked.items():
            result.figures[measure.title, model] = metrics.measure(measure.metric, rows_of_model)
        if measure.compared and OURS in ranked:
            for model, interval in metrics.paired_intervals(measure.metric, ranked, OURS, groups).items():
                result.intervals[measure.title, model] = interval


def ranks(result, measure):
    """The rank of each model, 1 for the best; equal figures share the mean of their ranks."""
    figures = {model: figure for (title, model), figure in result.figures.items() if title == measure.title}
    return pd.Series(figures, dtype=float).rank(ascending=measure.sign < 0).to_dict()
