"""Fits one peer to one fold in a process of its own, so that its memory and time are its own: fit_one.py PEER FOLD OUT THREADS.

Writes the predictions to OUT (columns `probability` and, for amounts, `expected_value`) and prints the seconds as JSON. Reading the
tables and importing the libraries is not timed."""

import importlib
import json
import sys
import time
import warnings

import pandas as pd

from peers import PEERS
from peers.problem import read_problem


def predict(model, problem):
    """A list of predictions for each thing that the model can predict of this problem."""
    predicted = {}
    if hasattr(model, "probability"):
        happened = problem.happened
        certain = happened.all() or not happened.any()
        predicted["probability"] = (
            happened[:1].repeat(len(problem.test)) * 1.0 if certain else model.probability(problem, happened)
        )
    if problem.kind != "churn":
        predicted["expected_value"] = model.expected(problem)
    return predicted


def main():
    name, folder, out, threads = sys.argv[1:]
    model = importlib.import_module(f"peers.{PEERS[name].module}")
    problem = read_problem(folder, int(threads))
    # Feature names with blanks, unseen categories: known, and handled where they matter.
    warnings.filterwarnings("ignore")
    wall, cpu = time.perf_counter(), time.process_time()
    predicted = predict(model, problem)
    pd.DataFrame(predicted).to_csv(out, index=False)
    print(json.dumps({"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
