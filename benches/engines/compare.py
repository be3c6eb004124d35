#!/usr/bin/env python3
"""Compares our scoring engine with others: the same forests and rows, one thread, one run, in turns; prints tables of medians.

    python3 benches/engines/compare.py

Times are processor times: on an idle machine the times that pass, on a busy one without waiting for others. p50, p99, p99.9 and
loading are times that pass, so those want an idle machine.

Needs cargo, a C compiler and Linux. The first run makes two virtual environments in target/ (lleaves and tl2cgen need an older
numpy), trains the forests and compiles them, which takes minutes; what is made is kept. `--help` tells the rest.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS, COMPILERS = HERE / "requirements.txt", HERE / "requirements-compilers.txt"
PREPARATION = [HERE / "prepare.py", HERE / "compile.py", PEERS, COMPILERS]
MIN_PYTHON = (3, 11)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TASK = """[task]
name = "engines"
kind = "churn"
definition = "made up"
horizon_days = 30

[table]
target = "churned"
positive = "1"
"""


def main():
    if sys.version_info < MIN_PYTHON:
        raise SystemExit(f"Python {platform.python_version()} found, {'.'.join(map(str, MIN_PYTHON))} or newer expected")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="rounds of single rows; a quarter of them of batches")
    parser.add_argument("--python-rounds", type=int, default=20, help="rounds of the engines behind Python")
    parser.add_argument("--loads", type=int, default=21, help="processes that load a model, for each library")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except subprocess.CalledProcessError as error:
        named = " ".join(Path(str(part)).name for part in error.cmd[:2])
        raise SystemExit(f"`{named}` ended with code {error.returncode}") from None


def run(arguments):
    retain, program = executable("retain-cli", "--bin", "retain"), executable("retain-import", "--example", "engines")
    peers, compilers = environment("peers", PEERS), environment("compilers", COMPILERS)
    folder = prepared(peers, compilers)
    about = json.loads((folder / "about.json").read_text())
    libraries = {
        "LightGBM": packages(peers) / "lightgbm/lib/lib_lightgbm.so",
        "XGBoost": packages(peers) / "xgboost/lib/libxgboost.so",
    }
    print_machine(about)
    contests = {}
    for n_trees in about["n_trees"]:
        command = [program, "compare", folder, about["n_features"], n_trees, *libraries.values(), arguments.rounds]
        contests[n_trees] = json.loads(output(command))
    print_contests(contests, about)
    command = [peers, HERE / "through_python.py", folder, program, arguments.python_rounds]
    print_python(json.loads(output(command).splitlines()[-1]), about)
    n_trees = max(about["n_trees"])
    print_loads(loads(retain, program, folder, libraries, about, n_trees, arguments.loads), n_trees)
    print(f"Load average when done: {os.getloadavg()[0]:.1f}.")


def executable(package: str, kind: str, name: str) -> Path:
    """What cargo builds, wherever it puts it."""
    command = ["cargo", "build", "--release", "--locked", "-p", package, kind, name, "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    built = [message["executable"] for message in map(json.loads, lines) if message.get("executable")]
    return Path(built[-1])


def environment(name: str, requirements: Path) -> Path:
    """The Python of the virtual environment for exactly these requirements; made if it is not there yet."""
    folder = ROOT / "target" / f"engines-venv-{name}-{key_of([requirements])}"
    python, complete = folder / "bin/python", folder / "complete"
    if not complete.exists():
        print(f"making the virtual environment {folder} (once)", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements], check=True)
        complete.touch()
    return python


def prepared(peers: Path, compilers: Path) -> Path:
    """The folder with forests, rows and compiled forests; made if it is not there yet."""
    folder = ROOT / "target" / f"engines-{key_of(PREPARATION)}"
    complete = folder / "complete"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # What the libraries have to say is no part of the tables.
        subprocess.run([peers, HERE / "prepare.py", folder], check=True, stdout=sys.stderr)
        subprocess.run([compilers, HERE / "compile.py", folder], check=True, stdout=sys.stderr)
        complete.touch()
    return folder


def key_of(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def packages(python: Path) -> Path:
    return next(python.parents[1].glob("lib/python3*/site-packages"))


def output(command: list) -> str:
    command = [str(part) for part in command]
    return subprocess.run(command, env=os.environ | ONE_THREAD, check=True, stdout=subprocess.PIPE, text=True).stdout


def loads(retain: Path, program: Path, folder: Path, libraries: dict, about: dict, n_trees: int, n_loads: int) -> dict:
    """What fresh processes said that loaded a model and scored a row, in turns."""
    bundle, task = folder / f"bundle-{n_trees}", folder / "task.toml"
    task.write_text(TASK)
    model, data = folder / f"lightgbm-{n_trees}.txt", folder / "rows.csv"
    source = ["--from", "lightgbm", "--file", model, "--config", task, "--data", data]
    output([retain, "import", "--quiet", *source, "--out", bundle])
    rows, n_features = folder / "rows.bin", about["n_features"]
    commands = {
        "retain": [program, "load", "retain", bundle, rows, n_features],
        "LightGBM": [program, "load", "lightgbm", model, rows, n_features, libraries["LightGBM"]],
        "XGBoost": [program, "load", "xgboost", folder / f"xgboost-{n_trees}.json", rows, n_features, libraries["XGBoost"]],
    }
    said = {name: [] for name in commands}
    for _ in range(n_loads):
        for name, command in commands.items():
            said[name].append(json.loads(output(command)))
    compiled = json.loads((folder / "compiled.json").read_text())
    return {"said": said, "compiled": {name: compiled[f"{name}-{n_trees}"] for name in ["lleaves", "tl2cgen"]}}


def print_machine(about: dict):
    pinned = [line for file in (PEERS, COMPILERS) for line in file.read_text().splitlines() if "==" in line]
    named = dict(line.split(";")[0].strip().split("==") for line in pinned)
    shown = ["lightgbm", "lleaves", "tl2cgen", "xgboost-cpu", "onnxruntime", "catboost", "ydf"]
    print(f"{cpu()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start; one thread.")
    print(", ".join(f"{name} {named[name]}" for name in shown) + ".")
    share = round(100 * about["share_of_rows_with_a_gap"])
    print(f"{about['n_rows']} rows of {about['n_features']} numbers, {share} % of them with a missing one.\n")


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}{' with AVX-512' if any('avx512bw' in line for line in lines) else ''}"


def print_contests(contests: dict, about: dict):
    for n_trees, contest in contests.items():
        print(f"**{n_trees} trees × {about['n_leaves']} leaves, C calls from one process**, nanoseconds a row\n")
        print("| engine | one row | × ours | p50 / p99 / p99.9 | p99 ÷ p50 | 10,000 rows | × ours | difference |")
        print("|---|---|---|---|---|---|---|---|")
        ours = None
        for engine in contest["engines"]:
            ours = engine if engine["name"].startswith("retain") else ours
            ratios = [engine[key] / ours[key] for key in ("single_ns", "batch_ns")]
            quantiles = " / ".join(f"{engine[key]:,.0f}" for key in ("p50_ns", "p99_ns", "p999_ns"))
            print(
                f"| {engine['name']} | {engine['single_ns']:,.0f} | {shown_ratio(engine, ratios[0])} | {quantiles} "
                f"| {engine['p99_ns'] / engine['p50_ns']:.2f} | {engine['batch_ns']:,.0f} | {shown_ratio(engine, ratios[1])} "
                f"| {shown_difference(engine)} |"
            )
        print(f"\nThe clock takes {contest['clock_ns']:.0f} ns, which p50, p99 and p99.9 are without.\n")
    print("| one explanation | retain | LightGBM, one row | × ours | LightGBM, 100 rows | × ours | difference |")
    print("|---|---|---|---|---|---|---|")
    for n_trees, contest in contests.items():
        found = contest["explanations"]
        ours, single, batch = found["retain_ns"], found["lightgbm_ns"], found["lightgbm_batch_ns"]
        print(
            f"| {n_trees} trees | {ours / 1e3:,.1f} µs | {single / 1e3:,.0f} µs | {single / ours:.1f} "
            f"| {batch / 1e3:,.0f} µs | {batch / ours:.1f} | {shown_difference(found)} |"
        )
    print()


def print_python(sizes: dict, about: dict):
    where = "in turns with ours, which is measured inside its own process"
    print(f"**Through Python, {where}**, nanoseconds a row\n")
    print("| trees | engine | 10,000 rows | × ours | one row | difference |")
    print("|---|---|---|---|---|---|")
    for n_trees, found in sizes.items():
        ours = None
        for engine in found["engines"]:
            ours = engine if engine["name"].startswith("retain") else ours
            # YDF and ONNX Runtime have no forest of ours between them: they stand beside that of LightGBM.
            single = f"{engine['single_ns']:,.0f}" if engine["single_ns"] else "–"
            ratio = shown_ratio(engine, engine["batch_ns"] / ours["batch_ns"])
            print(f"| {n_trees} | {engine['name']} | {engine['batch_ns']:,.0f} | {ratio} | {single} | {shown_difference(engine)} |")
    print(f"\nYDF's engine: {next(iter(sizes.values()))['ydf_engine']}.\n")


def print_loads(found: dict, n_trees: int):
    print(f"**{n_trees} trees from disk to the first prediction**, each in a fresh process\n")
    print("| | milliseconds | × ours | of the processor | × ours | peak memory for it |")
    print("|---|---|---|---|---|---|")
    medians = {
        name: [statistics.median(said[key] for said in runs) for key in ("seconds", "cpu_seconds", "peak_bytes")]
        for name, runs in found["said"].items()
    }
    for name, (seconds, cpu_seconds, peak) in medians.items():
        ratios = [f"{found / ours:.1f}" for found, ours in zip((seconds, cpu_seconds), medians["retain"])]
        shown = ["", ""] if name == "retain" else ratios
        print(f"| {name} | {1e3 * seconds:.2f} | {shown[0]} | {1e3 * cpu_seconds:.2f} | {shown[1]} | {peak / 1e6:.1f} MB |")
    for name, seconds in found["compiled"].items():
        print(f"| {name}, to compile | {1e3 * seconds:,.0f} | {seconds / medians['retain'][0]:,.0f} | | | |")
    print()


def shown_ratio(engine: dict, ratio: float) -> str:
    return "" if engine["name"].startswith("retain") else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"


def shown_difference(engine: dict) -> str:
    difference = engine.get("difference")
    return "" if difference is None or engine.get("name", "").startswith("retain") else f"{difference:.0e}" if difference else "0"


if __name__ == "__main__":
    main()
