"""The comparison itself; run.py starts it inside the virtual environment. Prints Markdown; progress goes to standard error."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import report
import tasks
from cells import OURS, FitFailed, Fold, Setup, file_digest, predictions
from peers import PEERS, names_for
from scores import Result, judge

SLOW_MODELS = {"lightgbm-20"}


def main():
    arguments = read_arguments()
    chosen = choose(arguments.tasks, tasks.read_tasks(), "task")
    models = list(choose(arguments.models, dict.fromkeys([OURS, *PEERS]), "model"))
    if arguments.quick and not arguments.models:
        models = [model for model in models if model not in SLOW_MODELS]
    binary = find_binary(arguments, models)
    setup = Setup(arguments.cache.resolve(), arguments.threads, arguments.timeout, binary)
    results, skipped = [], []
    for name, task in chosen.items():
        result = compare(name, task, models, setup, arguments)
        if result is None:
            skipped.append(name)
            say(f"{name}: skipped, its table is not under {arguments.data or 'the data folder (--data or RETAIN_DATA_DIR)'}")
        else:
            results.append(result)
    if not results:
        raise SystemExit("no task could be measured: point --data or RETAIN_DATA_DIR at the tables that tasks.toml names")
    publish(results, skipped, arguments, binary)


def read_arguments():
    parser = argparse.ArgumentParser(prog="run.py", description="Compares retain with Python libraries on the same folds.")
    parser.add_argument("--tasks", help="names from tasks.toml, with commas; default: all")
    parser.add_argument("--models", help=f"with commas, of: {OURS}, {', '.join(PEERS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="the first fold of each task only, and not the slow models")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("RETAIN_DATA_DIR"), help="folder of the tables [RETAIN_DATA_DIR]"
    )
    parser.add_argument(
        "--retain", type=Path, default=os.environ.get("RETAIN_BIN"), help="the binary [RETAIN_BIN, target/release]"
    )
    parser.add_argument("--cache", type=Path, default=tasks.PROJECT / "target" / "accuracy", help="folder of the predictions")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for every model; default: one a core")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds after which a fit has failed")
    parser.add_argument(
        "--readme", type=Path, default=tasks.PROJECT / "benches" / "README.md", help="where the tables are written"
    )
    parser.add_argument("--write", action="store_true", help="write to the readme even where tasks, models or tables are missing")
    arguments = parser.parse_args()
    arguments.data = Path(arguments.data) if arguments.data else None
    return arguments


def choose(names, known, what):
    """The part of `known` that `names` lists; all of it without a list."""
    if not names:
        return known
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what} {', '.join(unknown)}; expected some of: {', '.join(known)}")
    return {name: known[name] for name in known if name in wanted}


def find_binary(arguments, models):
    """The `retain` to measure, or None: a missing default is a message, a missing choice an error."""
    if OURS not in models:
        return None
    binary = Path(arguments.retain) if arguments.retain else tasks.PROJECT / "target" / "release" / "retain"
    if binary.is_file():
        return binary.resolve()
    if arguments.retain:
        raise SystemExit(f"no binary at {binary}")
    say(f"no binary at {binary}: the peers are measured without `retain`; `cargo build --release --locked` makes it")
    return None


def compare(name, task, models, setup, arguments):
    """The result of one task, or None where its table is not there."""
    with tempfile.TemporaryDirectory(prefix="retain-accuracy-") as scratch:
        retain = {"binary": setup.binary, "scratch": scratch} if setup.binary else None
        loaded = tasks.load(name, task, arguments.data, retain)
        if loaded is None:
            return None
        cuts = tasks.folds(loaded)[: 1 if arguments.quick else None]
        judged = np.concatenate([test for _, test in cuts])
        control = task.get("control", False)
        result = Result(name, loaded.kind, control, len(loaded.table), len(judged), loaded.made_by)
        say(
            f"{name}: {len(loaded.table):,} rows, {len(loaded.categories) + len(loaded.numbers)} features, table {loaded.made_by}"
        )
        written = [write(loaded, number, cut, Path(scratch)) for number, cut in enumerate(cuts)]
        able = [OURS] * bool(setup.binary) + names_for(loaded.kind)
        predicted = {model: predict(result, setup, model, written) for model in models if model in able}
        judge(result, loaded, judged, {model: table for model, table in predicted.items() if table is not None})
        return result


def write(loaded, number, cut, scratch):
    folder = scratch / f"fold-{number}"
    digest = tasks.write_fold(loaded, *cut, folder)
    needed = "probability" if loaded.kind == "churn" else "expected_value"
    return Fold(loaded.name, number, folder, len(cut[1]), needed, digest)


def predict(result, setup, model, folds):
    """The model's predictions for all folds together, or None; costs and failures go into the result."""
    parts, costs = [], []
    for fold in folds:
        try:
            table, cost = predictions(setup, model, fold)
        except FitFailed as error:
            result.failures[model] = str(error)
            say(f"  {model}, fold {fold.number}: failed, {error}")
            return None
        for warning in cost.get("warnings", []):
            say(f"  {model}, fold {fold.number}: {warning}")
        parts.append(table)
        costs.append(cost)
    result.costs[model] = costs
    say(f"  {model}: {np.mean([cost['cpu_seconds'] for cost in costs]):.1f} CPU s a fit, {len(costs)} of them")
    return pd.concat(parts, ignore_index=True)


def publish(results, skipped, arguments, binary):
    """Prints the tables, keeps the figures with their intervals as JSON in the cache, and writes the readme after a whole run."""
    command = shlex.join(["python3", "benches/accuracy/run.py", *narrowing(arguments)])
    text = report.markdown(results, skipped, command, version_of(binary))
    print(text)
    save_figures(results, arguments.cache / "results.json")
    whole = not (skipped or narrowing(arguments) or binary is None)
    if whole or arguments.write:
        report.put(arguments.readme, text)
        say(f"written to {arguments.readme}")
    else:
        say(f"{arguments.readme} is left as it is: not all tasks and models were measured (--write writes nevertheless)")


def narrowing(arguments):
    """The options that make this less than the whole comparison."""
    named = [(f"--{option}", getattr(arguments, option)) for option in ("tasks", "models")]
    return [word for option, value in named if value for word in (option, value)] + ["--quick"] * arguments.quick


def version_of(binary):
    if binary is None:
        return None
    done = subprocess.run([binary, "--version"], check=False, capture_output=True, text=True)
    return f"{done.stdout.strip()} ({file_digest(binary)[:8]})"


def save_figures(results, path):
    """Every figure, interval, cost and failure of the report, unrounded."""
    as_list = [
        {
            "task": result.name,
            "rows": result.n_rows,
            "judged": result.n_judged,
            "table": result.made_by,
            "figures": [{"metric": title, "model": model, "value": value} for (title, model), value in result.figures.items()],
            "differences": [
                {"metric": title, "model": model, "low": low, "high": high}
                for (title, model), (low, high) in result.intervals.items()
            ],
            "costs": result.costs,
            "failures": result.failures,
        }
        for result in results
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_list, indent=1), encoding="utf-8")


def say(text):
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
