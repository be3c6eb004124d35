"""Tables that are made from others: what was known on a day, and what came after it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

from peers.problem import read_table

DAY = pd.Timedelta(days=1)
SPEND_WINDOWS_DAYS = (7, 28, 91, 182)
OULAD_KEY = ["code_module", "code_presentation", "id_student"]
OULAD_WINDOWS_DAYS = (7, 14, 28)
OULAD_HORIZON_DAYS = 28
OULAD_ACTIVITIES = ("forumng", "oucontent", "homepage", "quiz", "resource", "subpage", "url")


def build(task, folder, retain):
    """The table of a task with a `builder`, and a note on how it was made. `retain` is the binary, or None."""
    paths = [folder / source for source in task["sources"]]
    return {"transactions": transactions, "ibm_clv": ibm_clv, "oulad": oulad}[task["builder"]](task, paths, retain)


def ibm_clv(task, paths, _retain):
    """The table with a column `twins`, equal for customers that are copies of each other in all that is random."""
    table = read_table(paths[0], [])
    table["twins"] = table.groupby(["Customer Lifetime Value", "Income", "Monthly Premium Auto"]).ngroup()
    return table, "as published"


def transactions(task, paths, retain):
    """One row a customer: features up to a date and labels of the days after it, by `retain data transactions` if it can."""
    log = task["log"]
    if retain is not None:
        try:
            return _transactions_by_retain(task, paths[0], retain), "`retain data transactions`"
        except ValueError as error:
            print(f"  no table by `retain data transactions`, so pandas makes it: {error}", file=sys.stderr)
    return _recency_frequency_spend(log, paths[0]), "recency, frequency and spend (pandas)"


def _transactions_by_retain(task, path, retain):
    """The table of `retain data transactions` without columns of one value. `ValueError` where the binary does not make it."""
    log = task["log"]
    columns = [f"--{role}={log[role]}" for role in ("customer", "date", "amount")]
    when = [f"--observe-at={log['observe_at']}", f"--horizon-days={log['horizon_days']}"]
    out = Path(retain["scratch"]) / f"{path.stem}.csv"
    command = [retain["binary"], "data", "transactions", "--file", path, *columns, *when, "--out", out, "--quiet"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise ValueError(f"exit code {done.returncode}: {done.stderr.strip().splitlines()[:1]}")
    table = read_table(out, [log["customer"]])
    missing = {task[role] for role in ("entity", "target", "past") if role in task} - set(table)
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} expected, found {', '.join(table)}")
    # As the table that pandas makes has them.
    booleans = table.select_dtypes("bool").columns
    table[booleans] = table[booleans].astype(int)
    if "value_next" in table:
        table["value_next"] = table["value_next"].clip(lower=0)
    return table[[column for column in table if table[column].nunique(dropna=False) > 1]]


def _recency_frequency_spend(log, path):
    """The same in pandas, from purchase days. Refunds are netted in spend and are no purchases; a value to come is not below zero."""
    lines = read_table(path, [log["customer"]])
    lines = lines.rename(columns={log["customer"]: "customer", log["date"]: "date", log["amount"]: "amount"})
    lines["date"] = pd.to_datetime(lines["date"]).dt.normalize()
    observed = pd.Timestamp(log["observe_at"])
    lines["age_days"] = (observed - lines["date"]) // DAY
    before, after = lines[lines.age_days >= 0], lines[lines.age_days.between(-log["horizon_days"], -1)]
    purchases = before[before.amount >= 0].groupby(["customer", "age_days"], as_index=False).amount.sum()
    table = _purchase_features(purchases).join(_spend_features(before), how="left")
    bought = after[after.amount >= 0].groupby("customer").date.nunique()
    table["purchases_next"] = bought.reindex(table.index).fillna(0).astype(int)
    table["churned_next"] = (table.purchases_next == 0).astype(int)
    table["value_next"] = after.groupby("customer").amount.sum().reindex(table.index).fillna(0).clip(lower=0)
    return table.rename_axis(log["customer"]).reset_index()


def _purchase_features(purchases):
    """Counts and times of purchase days, by customer."""
    by_customer = purchases.groupby("customer")
    first, last, days = by_customer.age_days.max(), by_customer.age_days.min(), by_customer.size()
    repeat = purchases[purchases.age_days < purchases.customer.map(first)]
    return pd.DataFrame(
        {
            "frequency": days - 1,
            "recency_days": first - last,
            "t_days": first,
            "days_since_last": last,
            "monetary": repeat.groupby("customer").amount.mean().reindex(days.index),
            "mean_amount": by_customer.amount.mean(),
            "max_amount": by_customer.amount.max(),
            "last_amount": purchases.sort_values("age_days").groupby("customer").amount.first(),
            "days_between_mean": (first - last) / (days - 1).where(days > 1),
        }
    )


def _spend_features(before):
    """Net spend and purchases in all and in the last days, by customer."""
    features = {"total_spend": before.groupby("customer").amount.sum()}
    for window in SPEND_WINDOWS_DAYS:
        recent = before[before.age_days < window]
        features[f"spend_last_{window}"] = recent.groupby("customer").amount.sum()
        features[f"count_last_{window}"] = recent[recent.amount >= 0].groupby("customer").age_days.nunique()
    table = pd.DataFrame(features)
    return table.fillna(0)


def oulad(task, paths, _retain):
    """One row for a student, a course and a day: who is registered then, the clicks so far, and the clicks and withdrawal to come."""
    info, registration, clicks, scores, sites = (read_table(path, []) for path in paths)
    clicks = clicks.merge(sites[["id_site", "activity_type"]], on="id_site", how="left")
    students = info.drop(columns="final_result").merge(registration, on=OULAD_KEY)
    rows = [_oulad_on_day(students, clicks, scores, day) for day in task["days"]]
    return pd.concat(rows, ignore_index=True).drop(columns="date_unregistration"), "clicks by window (pandas)"


def _oulad_on_day(students, clicks, scores, day):
    left, joined = students.date_unregistration, students.date_registration
    here = students[(left.isna() | (left > day)) & (joined <= day)].copy()
    here["day"] = day
    here["withdraws_next_28"] = here.date_unregistration.between(day + 1, day + OULAD_HORIZON_DAYS).astype(int)
    known = clicks[clicks.date <= day]
    to_come = clicks[clicks.date.between(day + 1, day + OULAD_HORIZON_DAYS)]
    handed_in = scores[(scores.date_submitted <= day) & (scores.is_banked == 0)].groupby(OULAD_KEY)
    features = _click_features(known, day)
    features["scores"] = handed_in.size()
    features["mean_score"] = handed_in.score.mean()
    features["clicks_next_28"] = to_come.groupby(OULAD_KEY).sum_click.sum()
    table = here.merge(pd.DataFrame(features).reset_index(), on=OULAD_KEY, how="left")
    counts = [name for name in features if name not in ("mean_score", "days_since_click")]
    return table.fillna(dict.fromkeys(counts, 0))


def _click_features(known, day):
    """Clicks and active days by window, by activity of the last four weeks, and how long ago the last click was."""
    by_student = known.groupby(OULAD_KEY)
    features = {
        "clicks_total": by_student.sum_click.sum(),
        "active_days_total": by_student.date.nunique(),
        "clicks_before_start": known[known.date < 0].groupby(OULAD_KEY).sum_click.sum(),
        "days_since_click": day - by_student.date.max(),
    }
    for window in OULAD_WINDOWS_DAYS:
        recent = known[known.date > day - window].groupby(OULAD_KEY)
        features[f"clicks_last_{window}"] = recent.sum_click.sum()
        features[f"active_days_last_{window}"] = recent.date.nunique()
    recent = known[known.date > day - OULAD_HORIZON_DAYS]
    for activity in OULAD_ACTIVITIES:
        features[f"clicks_{activity}"] = recent[recent.activity_type == activity].groupby(OULAD_KEY).sum_click.sum()
    return features
