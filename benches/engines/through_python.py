"""Times engines that are called through Python, in turns with ours in another process: `through_python.py FOLDER PROGRAM ROUNDS`.

Each library gets the rows in the form that it reads fastest, made before the clock starts: CatBoost a `Pool`, YDF a vertical
dataset, ONNX Runtime and XGBoost arrays in `f32`. YDF's own benchmark leaves Python and the dataset out, so it is asked as well.
Ours is timed inside its process. All times are of the processor. Answers are compared before anything is timed. Prints JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import catboost as cb  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
import xgboost as xgb  # noqa: E402
import ydf  # noqa: E402

# CatBoost and ours add up in `f64`. XGBoost adds up in `f32`; ONNX Runtime has thresholds in `f32` too: a row may go another way.
EXACT, SINGLE_PRECISION = 1e-12, 1e-5
MAX_ROWS_ELSEWHERE = 0.01
N_SINGLE_ROWS = 1_000


class Ours:
    """Our engine in a process of its own; it sleeps until it is asked."""

    def __init__(self, program: str, folder: Path, about: dict, library: str, model: str):
        command = [program, "serve", library, folder / model, folder / "rows.bin", str(about["n_features"])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, order: str) -> float:
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["ns"]

    def margins(self) -> np.ndarray:
        with tempfile.NamedTemporaryFile() as file:
            self.ask(f"margins {file.name}")
            return np.fromfile(file.name)

    def batch(self) -> float:
        return self.ask("batch")

    def single(self) -> float:
        return self.ask("single")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    """An engine behind a Python function."""

    def __init__(self, predict, rows: list, batch):
        self.predict, self.rows, self.all = predict, rows, batch

    def batch(self) -> float:
        start = time.process_time_ns()
        found = self.predict(self.all)
        return (time.process_time_ns() - start) / len(found)

    def single(self) -> float:
        start = time.process_time_ns()
        for row in self.rows:
            self.predict(row)
        return (time.process_time_ns() - start) / len(self.rows)

    def margins(self) -> np.ndarray:
        return np.asarray(self.predict(self.all), dtype=float).ravel()


class YdfBenchmark:
    """What YDF measures itself, in C++."""

    def __init__(self, model, dataset):
        self.model, self.dataset = model, dataset

    def batch(self) -> float:
        result = self.model.benchmark(self.dataset, benchmark_duration=0.3, warmup_duration=0.1, batch_size=1000, num_threads=1)
        return 1e9 * result.duration_per_example


def main():
    ydf.verbose(0)
    folder, program, n_rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    about = json.loads((folder / "about.json").read_text())
    rows = np.fromfile(folder / "rows.bin").reshape(about["n_rows"], about["n_features"])
    found = {str(n_trees): measure(folder, program, about, rows, n_trees, n_rounds) for n_trees in about["n_trees"]}
    print(json.dumps(found))


def measure(folder: Path, program: str, about: dict, rows: np.ndarray, n_trees: int, n_rounds: int) -> dict:
    in_f32 = rows.astype(np.float32)

    def ours(library: str, model: str) -> Ours:
        return Ours(program, folder, about, library, model)

    engines = {"retain": ours("lightgbm", f"lightgbm-{n_trees}.txt")}
    engines["ONNX Runtime"] = onnx_runtime(folder / f"lightgbm-{n_trees}.onnx", in_f32)
    ydf_model = ydf.load_model(str(folder / f"ydf-{n_trees}"))
    engines["YDF"], engines["YDF, its own benchmark"] = ydf_engines(ydf_model, in_f32)
    engines["retain, XGBoost's forest"] = ours("xgboost", f"xgboost-{n_trees}.json")
    engines["XGBoost"] = xgboost(folder / f"xgboost-{n_trees}.json", in_f32)
    for depth in about["depths"]:
        name = f"{n_trees}x{2**depth}"
        engines[f"retain, CatBoost's forest of depth {depth}"] = ours("catboost", f"catboost-{name}.json")
        engines[f"CatBoost, depth {depth}"] = catboost(folder / f"catboost-{name}.cbm", in_f32)
    differences = compare(engines, about)
    times = {name: {"batch": [], "single": []} for name in engines}
    for round_idx in range(n_rounds):
        for name, engine in engines.items():
            times[name]["batch"].append(engine.batch())
            # One row through Python takes so long that few rounds tell it.
            if round_idx % 4 == 0 and hasattr(engine, "single"):
                times[name]["single"].append(engine.single())
    for engine in engines.values():
        if isinstance(engine, Ours):
            engine.close()
    return {
        "engines": [
            {
                "name": name,
                "difference": differences.get(name),
                "batch_ns": statistics.median(timed["batch"]),
                "single_ns": statistics.median(timed["single"]) if timed["single"] else None,
            }
            for name, timed in times.items()
        ],
        "ydf_engine": ydf_model.list_compatible_engines()[0],
    }


def compare(engines: dict, about: dict) -> dict:
    """The largest differences between the libraries' answers and ours on the same forest; stops where one is too large."""
    lightgbm = engines["retain"].margins()
    difference = np.abs(engines["ONNX Runtime"].margins() - 1 / (1 + np.exp(-lightgbm)))
    n_elsewhere = int((difference > SINGLE_PRECISION).sum())
    check("ONNX Runtime", n_elsewhere / len(difference), MAX_ROWS_ELSEWHERE)
    found = {"ONNX Runtime": float(difference.max())}
    pairs = [("XGBoost", "retain, XGBoost's forest", SINGLE_PRECISION)]
    pairs += [(f"CatBoost, depth {depth}", f"retain, CatBoost's forest of depth {depth}", EXACT) for depth in about["depths"]]
    for theirs, ours, tolerance in pairs:
        expected = engines[theirs].margins()
        found[theirs] = float(np.abs(engines[ours].margins() - expected).max() / max(1.0, np.abs(expected).max()))
        check(theirs, found[theirs], tolerance)
    return found


def check(name: str, found: float, limit: float):
    if not found <= limit:
        raise SystemExit(f"{name} differs from our answers: {found:g}, where {limit:g} is expected: nothing to compare")


def onnx_runtime(path: Path, rows: np.ndarray) -> Theirs:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def predict(batch):
        return session.run(names[1:], {"rows": batch})[0][:, 1]

    return Theirs(predict, [rows[i : i + 1] for i in range(N_SINGLE_ROWS)], rows)


def ydf_engines(model, rows: np.ndarray) -> tuple[Theirs, YdfBenchmark]:
    names = model.input_feature_names()

    def dataset(part):
        columns = {name: part[:, int(name[1:])] for name in names}
        return ydf.create_vertical_dataset(columns, data_spec=model.data_spec(), required_columns=names)

    everything = dataset(rows)
    ones = [dataset(rows[i : i + 1]) for i in range(N_SINGLE_ROWS)]
    return Theirs(lambda part: model.predict(part, num_threads=1), ones, everything), YdfBenchmark(model, everything)


def xgboost(path: Path, rows: np.ndarray) -> Theirs:
    model = xgb.Booster(params={"nthread": 1}, model_file=path)
    ones = [rows[i : i + 1] for i in range(N_SINGLE_ROWS)]
    return Theirs(lambda part: model.inplace_predict(part, predict_type="margin"), ones, rows)


def catboost(path: Path, rows: np.ndarray) -> Theirs:
    model = cb.CatBoost().load_model(str(path))
    ones = [cb.Pool(rows[i : i + 1]) for i in range(N_SINGLE_ROWS)]

    def predict(part):
        return model.predict(part, prediction_type="RawFormulaVal", thread_count=1)

    return Theirs(predict, ones, cb.Pool(rows))


if __name__ == "__main__":
    main()
