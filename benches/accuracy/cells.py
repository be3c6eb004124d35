"""One cell of the comparison: one model fitted to one fold of one task, in processes of its own, and kept in the cache.

A cell is known by all it depends on: the rows, the model's code and package versions, or the `retain` binary. So a rerun does what
is missing, and nothing stale is shown."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from peers import PEERS

HERE = Path(__file__).resolve().parent
OURS = "retain"


@dataclass(frozen=True)
class Setup:
    """Where results go and with what they are made. `binary` is None where `retain` is not compared."""

    cache: Path
    threads: int
    timeout_seconds: float
    binary: Path | None


@dataclass(frozen=True)
class Fold:
    """Files that tasks.write_fold made, what identifies them, and the column that a prediction must have."""

    task: str
    number: int
    folder: Path
    n_test: int
    needed: str
    digest: str


class FitFailed(Exception):
    """A model could not be fitted or did not answer as it should; the text says why."""


def predictions(setup, model, fold):
    """The model's predictions for the fold's test rows and what they cost, from the cache or made now.

    Raises `FitFailed`; failures are not kept."""
    place = setup.cache / fold.task / f"{model}-{fold.number}-{_key(setup, model, fold)}"
    table, cost = place.with_suffix(".csv"), place.with_suffix(".json")
    if not (table.exists() and cost.exists()):
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = fold.folder / f"{model}.csv"
        spent = _run_retain(setup, fold, fresh) if model == OURS else _run_peer(setup, model, fold, fresh)
        _check(pd.read_csv(fresh), fold)
        # The table comes last, and whole: both are there or the cell is done again, also beside another run or after a break.
        cost.write_text(json.dumps(spent | {"threads": setup.threads}))
        part = place.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(fresh.read_bytes())
        part.replace(table)
    return pd.read_csv(table), json.loads(cost.read_text())


def versions(model):
    """The packages that decide what a peer computes, with their versions."""
    return [f"{package} {_version(package)}" for package in PEERS[model].packages]


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        # The build without GPU code has another name and the same module.
        return version(f"{package}-cpu")


def _key(setup, model, fold):
    """What the predictions depend on. Threads are not among it: they change the time, not the result."""
    if model == OURS:
        parts = [(fold.folder / "task.toml").read_text(encoding="utf-8"), file_digest(setup.binary)]
    else:
        parts = [*versions(model), _code("problem"), _code(PEERS[model].module)]
    return hashlib.sha256("\n".join([fold.digest, *parts]).encode()).hexdigest()[:16]


def file_digest(path):
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(module):
    """What a module does, with those of its siblings that it uses: their syntax without comments and layout."""
    syntax = ast.parse((HERE / "peers" / f"{module}.py").read_text(encoding="utf-8"))
    uses = [node for node in ast.walk(syntax) if isinstance(node, ast.ImportFrom)]
    siblings = [name.name for node in uses if node.module == "peers" for name in node.names]
    siblings += [node.module.removeprefix("peers.") for node in uses if (node.module or "").startswith("peers.")]
    return "\n".join([ast.dump(syntax), *map(_code, siblings)])


def _run_peer(setup, model, fold, out):
    report = _measured(setup, [sys.executable, HERE / "fit_one.py", model, fold.folder, out, setup.threads])
    return json.loads(report["stdout"].splitlines()[-1]) | {"peak_bytes": report["peak_bytes"]}


def _run_retain(setup, fold, out):
    """`retain train` and `retain score`, whole commands: reading the tables is part of the time."""
    bundle, scored, common = fold.folder / "bundle", fold.folder / "scored.csv", ["--threads", setup.threads]
    task, train, test = (fold.folder / name for name in ("task.toml", "train.csv", "test.csv"))
    fit = _measured(setup, [setup.binary, "train", "--config", task, "--data", train, "--out", bundle, *common])
    score = _measured(setup, [setup.binary, "score", "--model", bundle, "--input", test, "--output", scored, *common])
    table = pd.read_csv(scored)
    table[[column for column in ("probability", "expected_value") if column in table]].to_csv(out, index=False)
    summed = {part: fit[part] + score[part] for part in ("seconds", "cpu_seconds")}
    # Such as what the budget left no time for.
    warnings = [line for line in fit["stderr"].splitlines() if line.startswith("warning")]
    return summed | {"peak_bytes": max(fit["peak_bytes"], score["peak_bytes"]), "warnings": warnings}


def _measured(setup, command):
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(setup.threads))
    command = [sys.executable, HERE / "measure.py", setup.timeout_seconds, *command]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=os.environ | threads)
    report = json.loads(done.stdout)
    if report["code"] != 0:
        raise FitFailed(f"exit code {report['code']}: {_last_words(report['stderr'])}")
    return report


def _last_words(text):
    """What an error says: the message of `retain` with its causes and without its hint, the last line of a Python traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("error:", "caused by:"))] or lines[-1:] or ["nothing on standard error"]
    return re.sub(r"[^\s`]*/retain-accuracy-[^/]+/", "", "; ".join(said))


def _check(table, fold):
    if fold.needed not in table or len(table) != fold.n_test:
        raise FitFailed(f"{len(table)} rows of {', '.join(table)} found, {fold.n_test} with {fold.needed} expected")
    if not np.isfinite(table.to_numpy(float)).all():
        raise FitFailed("a prediction is not a finite number")
