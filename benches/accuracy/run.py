#!/usr/bin/env python3
"""Compares `retain` with the Python libraries that a data scientist would use instead, on the same folds of the same tables.

    python3 benches/accuracy/run.py                       # what is in this repository
    python3 benches/accuracy/run.py --data ~/churn-data   # all tasks of tasks.toml whose tables are there

Makes a virtual environment in target/ with the packages of requirements.txt the first time, and leaves the system's Python alone.
`--help` tells the rest."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
MIN_PYTHON = (3, 11)


def environment():
    """The Python of the virtual environment for exactly these requirements; made if it is not there yet."""
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = HERE.parents[1] / "target" / f"accuracy-venv-{key}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        print(f"making the virtual environment {folder} (once, about a gigabyte)", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS], check=True)
        complete.touch()
    return python


def main():
    if sys.version_info < MIN_PYTHON:
        raise SystemExit(f"Python {sys.version.split()[0]} found, {'.'.join(map(str, MIN_PYTHON))} or newer expected")
    try:
        python = environment()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"cannot make the virtual environment: {error}") from error
    try:
        done = subprocess.run([python, HERE / "compare.py", *sys.argv[1:]], check=False)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; what was fitted is kept, and a rerun goes on from there") from None
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
