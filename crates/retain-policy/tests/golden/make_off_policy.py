"""Writes off_policy.json: small logs with the values that the Open Bandit Pipeline's estimators give them.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 pandas tqdm pyyaml
    venv/bin/pip install --no-deps --ignore-requires-python obp==0.5.7
    venv/bin/python make_off_policy.py > off_policy.json

obp imports torch, plotting and policies, which are not used here: empty modules stand in for them. `direct_error` is
obp's estimate of the mean squared error without the upper bound on the bias, which presumes rewards of at most 1. Only obp's
private functions take fixed parameters and give that error.
"""

import json
import sys
from unittest import mock

import numpy as np
import scipy.stats  # noqa: F401  (looks for torch when it is first imported)
import sklearn.ensemble  # noqa: F401

TORCH = ["torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data"]
UNUSED = [*TORCH, "matplotlib", "matplotlib.pyplot", "seaborn", "pyieoe", "pyieoe.evaluator", "pyieoe.utils", "obp.policy", "obp.simulator"]
with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in UNUSED}):
    from obp.ope import estimators as obp
    from obp.ope.helper import estimate_bernstein_lower_bound


def simulated(rng, name, n_rows, n_actions, amounts, sharpness):
    """A log of random contexts; `sharpness` sets how far the two policies are apart."""
    logits = rng.normal(0, 1, (n_rows, n_actions))
    behavior = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    turned = np.exp(sharpness * np.roll(logits, 1, axis=1))
    policy = turned / turned.sum(1, keepdims=True)
    action = np.array([rng.choice(n_actions, p=p) for p in behavior])
    truth = 1 / (1 + np.exp(1.5 - logits))
    reward = (rng.random(n_rows) < truth[np.arange(n_rows), action]).astype(float)
    if amounts:
        reward *= np.exp(rng.normal(3, 1, n_rows)) * rng.choice([-1, 1], n_rows, p=[0.1, 0.9])
    model = truth + rng.normal(0, 0.2, truth.shape)
    return {
        "name": name,
        "n_actions": n_actions,
        "action": action.tolist(),
        "reward": reward.tolist(),
        "propensity": behavior[np.arange(n_rows), action].tolist(),
        "policy": policy.ravel().tolist(),
        "model": model.ravel().tolist(),
    }


def estimates(log):
    n_rows = len(log["action"])
    shape = (n_rows, log["n_actions"], 1)
    given = {
        "reward": np.array(log["reward"]),
        "action": np.array(log["action"]),
        "position": np.zeros(n_rows, int),
        "pscore": np.array(log["propensity"]),
        "action_dist": np.array(log["policy"]).reshape(shape),
        "estimated_rewards_by_reg_model": np.array(log["model"]).reshape(shape),
    }
    made = [("dm", None, obp.DirectMethod()), ("ips", None, obp.InverseProbabilityWeighting())]
    made += [("snips", None, obp.SelfNormalizedInverseProbabilityWeighting()), ("dr", None, obp.DoublyRobust())]
    made += [("sndr", None, obp.SelfNormalizedDoublyRobust())]
    for parameter in [0.5, 2.0, 10.0]:
        made += [("clipped_ips", parameter, obp.InverseProbabilityWeighting(lambda_=parameter))]
        made += [("switch_dr", parameter, obp.SwitchDoublyRobust(lambda_=parameter))]
        made += [("dr_os", parameter, obp.DoublyRobustWithShrinkage(lambda_=parameter))]
    rows = []
    for name, parameter, estimator in made:
        rounds = estimator._estimate_round_rewards(**given)
        row = {"name": name, "parameter": parameter, "value": float(rounds.mean())}
        if parameter is not None:
            row["direct_error"] = float(estimator._estimate_mse_score(**given, use_bias_upper_bound=False))
        rows.append(row)
    rounds = obp.InverseProbabilityWeighting()._estimate_round_rewards(**given)
    lower = estimate_bernstein_lower_bound(rounds, x_max=float(rounds.max()), delta=0.05)
    return {"estimates": rows, "ips_bernstein_lower": float(lower)}


def main():
    rng = np.random.default_rng(20260117)
    logs = [
        simulated(rng, "near", 150, 3, False, 0.3),
        simulated(rng, "far", 200, 4, False, 2.0),
        simulated(rng, "amounts", 120, 3, True, 1.0),
        simulated(rng, "two rows", 2, 2, False, 1.0),
    ]
    json.dump([{**log, **estimates(log)} for log in logs], sys.stdout, separators=(",", ":"))
    print()


main()
