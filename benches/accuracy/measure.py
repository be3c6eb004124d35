"""Runs a command and prints as JSON how it ended, its time and its peak memory: measure.py TIMEOUT_SECONDS COMMAND...

A program of its own because a process inherits the peak memory of the one that started it until it has one itself: this one is
small."""

import json
import resource
import subprocess
import sys
import time

BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024
MOST_TEXT = 20_000
TIMED_OUT = 124


def run(command, timeout):
    """Exit code, standard output and standard error; a command that takes too long is ended."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        return TIMED_OUT, "", f"not done after {timeout:.0f} s"
    return done.returncode, done.stdout[-MOST_TEXT:], done.stderr[-MOST_TEXT:]


def main():
    started = time.perf_counter()
    code, stdout, stderr = run(sys.argv[2:], float(sys.argv[1]))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {
        "code": code,
        "stdout": stdout,
        "stderr": stderr,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * BYTES_PER_UNIT,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
