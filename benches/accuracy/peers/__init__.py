"""The Python libraries beside which `retain` is measured, one module a model.

A module has `probability(problem, happened)`, the chance of `happened` for each test row, or `expected(problem)`, its amount, or
both. `PEERS` says what each of them is and which packages decide what it computes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """One model: its module here, what it is for churn and for amounts (None: not for these), and the packages that matter."""

    module: str
    churn: str | None
    values: str | None
    packages: tuple[str, ...]


_SKLEARN = ("scikit-learn", "numpy")

_EARLY = "default trees, learning rate 0.05, stopped early, mean of 5 inner folds"

PEERS = {
    "logistic": Peer("logistic", "scikit-learn: one-hot, scaled, median for missing", None, _SKLEARN),
    "ridge": Peer("ridge", None, "scikit-learn: logarithm of the amount, logistic for the event", _SKLEARN),
    "hist-boosting": Peer("hist_boosting", "scikit-learn: stopped early", "scikit-learn: Poisson, stopped early", _SKLEARN),
    "lightgbm": Peer("lightgbm_default", _EARLY, f"Tweedie, {_EARLY}", ("lightgbm",)),
    "xgboost": Peer("xgboost_default", _EARLY, f"Tweedie, {_EARLY}", ("xgboost",)),
    "catboost": Peer("catboost_default", "defaults, stopped early, mean of 5 inner folds", f"Tweedie, {_EARLY}", ("catboost",)),
    "catboost-log": Peer("catboost_log", None, "logarithm of the amount, stopped early, mean of 5 inner folds", ("catboost",)),
    "lightgbm-20": Peer("lightgbm_search", "best of 20 random settings by inner cross-validation", None, ("lightgbm",)),
    "past": Peer("past", None, "the past of the customer times one factor", ("numpy",)),
}


def names_for(kind):
    """The peers that can do tasks of this kind, in the order of the report."""
    return [name for name in PEERS if about(name, kind)]


def about(name, kind):
    """What a peer is for tasks of this kind, in words; None if it cannot do them."""
    return PEERS[name].churn if kind == "churn" else PEERS[name].values
