#!/usr/bin/env python3
"""Cross-validates `retain train` from outside: five stratified folds, each scored by a model that never saw it.

    python3 benches/accuracy/cross_validate.py --task crates/retain-cli/data/telco_churn.toml --data crates/retain-cli/data/telco_churn.csv

Plain Python 3.11 or newer, no packages. Prints the mean ROC AUC and log loss of the folds, and the expected calibration error of all
folds together (ten bins of equal mass). The task must not have dates: those tables are judged by time inside `retain train`."""

import argparse
import csv
import math
import random
import subprocess
import tempfile
import time
import tomllib
from pathlib import Path


def folds_of(labels, n_folds, seed):
    """The fold of each row: rows of each class are dealt out in random order."""
    fold = [0] * len(labels)
    rng = random.Random(seed)
    for label in (False, True):
        rows = [row for row, value in enumerate(labels) if value == label]
        rng.shuffle(rows)
        for position, row in enumerate(rows):
            fold[row] = position % n_folds
    return fold


def roc_auc(labels, scores):
    """The chance that a positive row is ranked above a negative one; ties count half."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    rank_sum, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        rank = (start + end + 1) / 2
        rank_sum += rank * sum(labels[row] for row in order[start:end])
        start = end
    positives = sum(labels)
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def log_loss(labels, scores):
    return -sum(math.log(max(p if y else 1 - p, 1e-15)) for y, p in zip(labels, scores)) / len(labels)


def calibration_error(labels, scores, n_bins=10):
    order, n = sorted(range(len(scores)), key=scores.__getitem__), len(scores)
    bins = [order[n * b // n_bins : n * (b + 1) // n_bins] for b in range(n_bins)]
    return sum(abs(sum(scores[r] for r in b) - sum(labels[r] for r in b)) for b in bins) / n


def write(path, rows, columns):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def retain(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"retain {arguments[0]} ended with {done.returncode}\n{done.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--retain", default="target/release/retain")
    parser.add_argument("--folds", default=5, type=int)
    parser.add_argument("--seed", default=0, type=int)
    arguments = parser.parse_args()

    table = tomllib.loads(arguments.task.read_text())["table"]
    with open(arguments.data, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    labels = [row[table["target"]] == str(table["positive"]) for row in rows]
    fold = folds_of(labels, arguments.folds, arguments.seed)
    scores, started = [0.0] * len(rows), time.time()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for number in range(arguments.folds):
            judged = [row for row in range(len(rows)) if fold[row] == number]
            write(folder / "train.csv", (rows[row] for row in range(len(rows)) if fold[row] != number), columns)
            write(folder / "test.csv", (rows[row] for row in judged), [c for c in columns if c != table["target"]])
            model = folder / f"model-{number}"
            retain(arguments.retain, "train", "--config", arguments.task, "--data", folder / "train.csv", "--out", model)
            retain(arguments.retain, "score", "--model", model, "--input", folder / "test.csv", "--output", folder / "scores.csv")
            with open(folder / "scores.csv", newline="") as file:
                for row, scored in zip(judged, csv.DictReader(file), strict=True):
                    scores[row] = float(scored["probability"])
    seconds = time.time() - started
    by_fold = [[row for row in range(len(rows)) if fold[row] == number] for number in range(arguments.folds)]
    mean = lambda metric: sum(metric([labels[r] for r in b], [scores[r] for r in b]) for b in by_fold) / arguments.folds
    print(
        f"{arguments.data.stem}: ROC AUC {mean(roc_auc):.4f}, log loss {mean(log_loss):.4f}, "
        f"calibration error {calibration_error(labels, scores):.4f}, {seconds / arguments.folds:.0f} s a fold"
    )


if __name__ == "__main__":
    main()
