"""Training time and peak memory of `boosting` against LightGBM, on the same made-up rows, in one run.

    python3 -m venv target/training-venv
    target/training-venv/bin/pip install -r benches/training/requirements.txt
    target/training-venv/bin/python benches/training/compare.py [--rows 1000000] [--columns 40] [--repeats 3]

Both get the same columns of 64-bit numbers in memory, 255 bins, logistic loss, 100 trees, the same leaves, learning rate, least
rows of a leaf and threads, no sampling and no L2. What is timed is binning and training: `Boosting::fit` on one side, `Dataset`
and `train` on the other. Runs alternate, each in a process of its own; the ratio is that of the medians. Peak memory is the
highest resident size less that before the fit. CPU seconds tell how much work there was where others use the machine too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREES, LEARNING_RATE, MIN_LEAF_ROWS = 100, 0.1, 20


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--columns", type=int, default=40)
    arguments.add_argument("--leaves", type=int, nargs="+", default=[31, 63])
    arguments.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--lightgbm", metavar="TABLE", help=argparse.SUPPRESS)
    arguments = arguments.parse_args()
    if arguments.lightgbm:
        print(json.dumps(fit_lightgbm(arguments.lightgbm, arguments.columns, arguments.leaves[0], arguments.threads[0])))
        return
    bench = build()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.bin"
        write_table(table, arguments.rows, arguments.columns)
        floor = arguments.rows * (8 * -(-arguments.columns // 8) + 8)
        print(f"{arguments.rows} rows, {arguments.columns} columns; bins and 32-bit derivatives are {floor / 1e6:.0f} MB\n")
        print("| threads | leaves | learner | seconds | CPU seconds | peak MB | log loss | seconds, ratio | CPU, ratio |")
        print("|---|---|---|---|---|---|---|---|---|")
        for threads in arguments.threads:
            for leaves in arguments.leaves:
                report(measure(bench, table, arguments.columns, leaves, threads, arguments.repeats), threads, leaves)


def build():
    """The bench's executable, built by cargo."""
    command = ["cargo", "bench", "--locked", "--bench", "training", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    built = [message for message in map(json.loads, lines) if message.get("executable")]
    return built[-1]["executable"]


def write_table(path, n_rows, n_columns):
    """Columns one after the other, then the target; a quarter have few values, a fifth have gaps, a half say something."""
    import numpy as np

    rng = np.random.default_rng(1)
    margin = np.full(n_rows, -1.0)
    with open(path, "wb") as file:
        for number in range(n_columns):
            column = rng.standard_normal(n_rows)
            if number % 4 == 0:
                column = np.round(3 * column)
            informative = number % 2 == 0
            if informative:
                margin += 0.3 * np.sin(column + number) + 0.1 * column * previous if number else 0.2 * column
            previous = np.clip(column, -2, 2)
            if number % 5 == 0:
                column[rng.random(n_rows) < 0.1] = np.nan
            column.tofile(file)
        (rng.random(n_rows) < 1 / (1 + np.exp(-margin))).astype(float).tofile(file)


def measure(bench, table, columns, leaves, threads, repeats):
    """What the runs of both learners said."""
    environment = {
        "RETAIN_TRAINING_TABLE": str(table),
        "RETAIN_TRAINING_COLUMNS": str(columns),
        "RETAIN_TRAINING_LEAVES": str(leaves),
        "RETAIN_TRAINING_THREADS": str(threads),
    }
    numbers = ["--columns", str(columns), "--leaves", str(leaves), "--threads", str(threads)]
    commands = {"boosting": [bench], "LightGBM": [sys.executable, __file__, "--lightgbm", str(table), *numbers]}
    said = {learner: [] for learner in commands}
    for _ in range(repeats):
        for learner, command in commands.items():
            # Threads that wait for each other should sleep, or the CPU seconds are those of waiting.
            given = os.environ | environment | {"OMP_WAIT_POLICY": "passive"}
            out = subprocess.run(command, env=given, check=True, stdout=subprocess.PIPE, text=True).stdout
            said[learner].append(json.loads(out.splitlines()[-1]))
    return said


def report(said, threads, leaves):
    medians = {
        learner: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for learner, runs in said.items()
    }
    for learner, found in medians.items():
        ratios = [found[key] / medians["LightGBM"][key] for key in ("seconds", "cpu_seconds")]
        print(
            f"| {threads} | {leaves} | {learner} | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} "
            f"| {found['peak_bytes'] / 1e6:.0f} | {found['log_loss']:.4f} | {ratios[0]:.2f} | {ratios[1]:.2f} |",
            flush=True,
        )


def fit_lightgbm(table, n_columns, leaves, threads):
    import time

    import lightgbm
    import numpy as np

    numbers = np.fromfile(table)
    n_rows = len(numbers) // (n_columns + 1)
    features, target = numbers[: n_rows * n_columns].reshape(n_columns, n_rows).T, numbers[n_rows * n_columns :]
    params = {
        "objective": "binary",
        "num_leaves": leaves,
        "learning_rate": LEARNING_RATE,
        "max_bin": 255,
        "min_data_in_leaf": MIN_LEAF_ROWS,
        "num_threads": threads,
        "verbose": -1,
    }
    lightgbm.train(params, lightgbm.Dataset(features[:1000], target[:1000], params=params), 1)
    before, started, cpu_started = resident("VmRSS:"), time.perf_counter(), time.process_time()
    model = lightgbm.train(params, lightgbm.Dataset(features, target, params=params), TREES)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = resident("VmHWM:") - before
    probability, label = model.predict(features[::10]), target[::10]
    log_loss = -np.mean(np.log(np.where(label == 1, probability, 1 - probability)))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak, "log_loss": float(log_loss)}


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main()
