"""Writes survival.json: small tables of censored times with the values that scikit-survival gives them.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-survival==0.28.0
    venv/bin/python make_survival.py > survival.json

Brier scores, the integrated score and Uno's C are scikit-survival's, with the censoring distribution of the same rows. Where days
are whole, an event, a censoring and a grid day may fall together; scikit-survival then takes the chance of being observed after
the day, and counts a row censored on the day as unknown. We count an event before a censoring of its day, and a row censored on
the day as having survived it, which is the same as its being censored half a day later: the script tells scikit-survival that.
Calibration errors use its Kaplan-Meier estimator; D-calibration is written out row by row, its p value is scipy's.
"""

import json
import sys

import numpy as np
from scipy.stats import chi2
from sksurv.metrics import brier_score, concordance_index_ipcw, integrated_brier_score
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv


def kaplan_meier(times, events, day):
    known, share = kaplan_meier_estimator(events, times)
    before = share[known <= day]
    return before[-1] if len(before) else 1.0


def at(curve, grid, day):
    return np.interp(day, np.concatenate([[0], grid]), np.concatenate([[1], curve]))


def bins(risk):
    middle_rank = [np.sum(risk < x) + np.sum(risk == x) / 2 for x in risk]
    return np.array([int(10 * rank // len(risk)) for rank in middle_rank])


def calibration_error(times, events, risk, later, day):
    b, gap, counted = bins(np.round(risk, 12)), 0.0, 0
    for k in sorted(set(b)):
        inside = b == k
        observed = kaplan_meier(times[inside], events[inside], day)
        if observed > 0 and not (later[inside] > day).any():
            continue
        gap += abs(risk[inside].sum() - inside.sum() * (1 - observed))
        counted += inside.sum()
    return gap / counted


def d_calibration_p(times, events, grid, curves):
    shares = np.zeros(10)
    for time, event, curve in zip(times, events, curves):
        own = at(curve, grid, min(time, grid[-1]))
        if event and time <= grid[-1]:
            before = own
            if time in grid:
                # Told in whole days, it came somewhere since the grid day before.
                position = int(np.flatnonzero(grid == time)[0])
                before = 1.0 if position == 0 else curve[position - 1]
            if before > own:
                for k in range(10):
                    shares[k] += max(0.0, min(before, (k + 1) / 10) - max(own, k / 10)) / (before - own)
            else:
                shares[min(int(own * 10), 9)] += 1
            continue
        if own == 0:
            shares[0] += 1
            continue
        for k in range(10):
            # Length of what [0, own] and the bin have in common, of all of [0, own].
            shares[k] += max(0.0, min(own, (k + 1) / 10) - k / 10) / own
    expected = len(times) / 10
    return chi2.sf(((shares - expected) ** 2 / expected).sum(), 9)


def table(name, times, events, grid, curves):
    grid = np.asarray(grid, float)
    # Half a day later, for whole days; where no two times are the same this changes nothing of the order.
    later = np.where(events, times, times + 0.5) if (times == np.round(times)).all() else times
    observed = Surv.from_arrays(events, later)
    # A row that scikit-survival may not reach past: it must have been followed to the last day.
    assert later.max() > grid[-1]
    metrics = {
        "uno_c": concordance_index_ipcw(observed, observed, 1 - curves[:, -1], tau=grid[-1])[0],
        "integrated_brier": integrated_brier_score(observed, observed, curves, grid)
        if len(grid) > 1
        else brier_score(observed, observed, curves, grid)[1][0],
        "d_calibration_p": d_calibration_p(times, events, grid, curves),
    }
    for day in (30, 90, 180):
        names = [f"survival_{what}_{day}d" for what in ("brier", "bias", "ece")]
        if day > grid[-1]:
            metrics |= dict.fromkeys(names)
            continue
        survival = np.array([at(curve, grid, day) for curve in curves])
        metrics[names[0]] = brier_score(observed, observed, survival[:, None], [day])[1][0]
        metrics[names[1]] = (1 - survival).mean() - (1 - kaplan_meier(times, events, day))
        metrics[names[2]] = calibration_error(times, events, 1 - survival, later, day)
    metrics = {key: None if value is None else float(value) for key, value in metrics.items()}
    return {
        "name": name,
        "times": times.tolist(),
        "events": [bool(event) for event in events],
        "grid_days": grid.tolist(),
        "survival": curves.ravel().tolist(),
        "metrics": metrics,
    }


def simulated(rng, n, grid, whole_days, last_day, noise=0.3):
    log_hazard = rng.normal(-5.0, 0.8, n)
    event, lost = rng.exponential(np.exp(-log_hazard)), np.minimum(rng.exponential(250, n), last_day)
    if whole_days:
        event, lost = np.ceil(event), np.ceil(lost)
    times, events = np.minimum(event, lost), event <= lost
    predicted = np.exp(log_hazard + rng.normal(0, noise, n))
    return np.round(times, 3), events, np.round(np.exp(-np.outer(predicted, grid)), 4)


def main():
    rng = np.random.default_rng(20260116)
    monthly = np.arange(30, 181, 30.0)
    uneven = np.array([7, 14, 45, 100, 200.0])
    tables = [
        table("continuous times", *(lambda t, e, s: (t, e, monthly, s))(*simulated(rng, 180, monthly, False, 400))),
        table("whole days", *(lambda t, e, s: (t, e, monthly, s))(*simulated(rng, 200, monthly, True, 400))),
        table("all lost on the last day", *(lambda t, e, s: (t, e, monthly, s))(*simulated(rng, 200, monthly, True, 180))),
        table("uneven grid", *(lambda t, e, s: (t, e, uneven, s))(*simulated(rng, 150, uneven, True, 260, 1.0))),
        table("one grid day", *(lambda t, e, s: (t, e, [90.0], s))(*simulated(rng, 120, [90.0], True, 120))),
    ]
    times, events, curves = simulated(rng, 160, monthly, True, 300)
    tables.append(table("tied curves", times, events, monthly, np.round(curves * 5) / 5))
    tables.append(table("one curve", times, events, monthly, np.repeat(curves[:1], 160, axis=0)))
    json.dump(tables, sys.stdout, separators=(",", ":"))
    print()


main()
